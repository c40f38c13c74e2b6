"""What can go wrong over the protocol: stable codes with their remedies, and the codes that a socket is closed with."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ...errors import ProtocolError

MOST_MESSAGE = 1000
MOST_PARAM = 200

CLOSE_CODES: Mapping[int, str] = MappingProxyType(
    {
        1000: "done: session.close was carried out, or nothing happened for too long",
        1001: "the server is going away; come back later",
        1003: "a message of a kind that is not understood, such as frames that are no frames",
        1008: "the token, the page's origin or the host is not allowed, or there were too many errors",
        1009: "a message is too big",
        1011: "the server failed",
        1013: "the server has no room, or you do not read what it sends",
        4001: "the first event did not come in time",
        4002: "another connection took the session over",
        4003: "the session cannot be resumed",
    }
)
"""Why a socket is closed.  RFC 6455's codes keep their meaning; those from 4000 are the protocol's own."""


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """Describe an error code.

    meaning: what it says, for the documentation.  remedy: what to do about it, sent where nothing better is known.
    retryable: whether the same may work later.  fatal: whether the socket is closed behind it.  close: the code that
    it is closed with, also where an error that is not fatal by itself is made so.
    """

    meaning: str
    remedy: str
    retryable: bool = False
    fatal: bool = False
    close: int = 1008


ERRORS: Mapping[str, ErrorKind] = MappingProxyType(
    {
        "invalid_json": ErrorKind("a text message is not one JSON object", "send one JSON object a message, in UTF-8"),
        "invalid_event": ErrorKind(
            "an event lacks a field, or a field has a wrong type or value", "mend the field that `param` names"
        ),
        "unknown_event": ErrorKind("there is no event of that type", "look the type up in docs/protocol.md"),
        "unknown_field": ErrorKind(
            "an event has a field that is not known", "leave out the field that `param` names; it may be misspelt"
        ),
        "bad_frame": ErrorKind(
            "a binary message does not begin with a frame's header",
            "put the 24-byte header of docs/protocol.md before the picture",
            close=1003,
        ),
        "bad_image": ErrorKind("a picture cannot be read", "send a still JPEG, PNG or WebP picture"),
        "frame_too_big": ErrorKind(
            "a picture has more bytes or pixels than `limits` in session.created allow",
            "send smaller pictures; the model looks at less than a megapixel",
            close=1009,
        ),
        "rate_limited": ErrorKind(
            "too many events a second", "send less often; wait for retry_after_ms", retryable=True
        ),
        "busy": ErrorKind(
            "too many questions are waiting, or the server is at another of its limits",
            "wait for an answer, then ask again",
            retryable=True,
            close=1013,
        ),
        "too_many_sessions": ErrorKind(
            "the server has as many sessions or connections as it may have",
            "close a session, or come back later",
            retryable=True,
            fatal=True,
            close=1013,
        ),
        "out_of_memory": ErrorKind(
            "there was not enough memory on the device",
            "ask with a shorter range, or later",
            retryable=True,
            close=1013,
        ),
        "settings_locked": ErrorKind(
            "settings cannot change once a frame was seen", "start a new session with the settings you want"
        ),
        "unknown_response": ErrorKind(
            "there is no such response, or it has ended", "use a response_id of response.created that is not done"
        ),
        "unknown_watch": ErrorKind("there is no such standing question", "use a watch_id of watch.list"),
        "unknown_source": ErrorKind(
            "there is no such source", "use a name of source.list, or leave source out to push frames yourself"
        ),
        "source_read_only": ErrorKind(
            "the session looks at a camera of the operator's: frames and memory.clear are refused",
            "open a session without source to push frames of your own",
        ),
        "empty_question": ErrorKind("there is no question", "ask something, such as 'what is on the screen now?'"),
        "bad_question": ErrorKind(
            "a question is too long, has no words, or asks about an empty range", "ask a shorter question in words"
        ),
        "storage_error": ErrorKind(
            "the memory's disk failed", "see the server's log; the operator may need to free space", close=1011
        ),
        "model_error": ErrorKind("the model failed on this request", "ask again; see the server's log", close=1011),
        "session_expired": ErrorKind(
            "the session was closed, as nobody came back to it in time",
            "start a new session, without resume",
            fatal=True,
            close=4003,
        ),
        "resume_refused": ErrorKind(
            "the session is not known, or the token is not its newest",
            "start a new session, without resume",
            fatal=True,
            close=4003,
        ),
        "session_taken": ErrorKind(
            "another connection resumed the session",
            "close one of the two; a session has one connection",
            fatal=True,
            close=4002,
        ),
        "not_authorized": ErrorKind(
            "the token, the page's origin or the host is not allowed",
            "use the token that the server printed when it started",
            fatal=True,
        ),
        "hello_timeout": ErrorKind(
            "the first event did not come in time",
            "send session.update at once",
            retryable=True,
            fatal=True,
            close=4001,
        ),
        "slow_reader": ErrorKind(
            "you do not read what the server sends",
            "read without pause, then resume the session",
            retryable=True,
            fatal=True,
            close=1013,
        ),
        "idle": ErrorKind(
            "nothing happened for too long",
            "start a new session when there is something to see",
            fatal=True,
            close=1000,
        ),
        "going_away": ErrorKind(
            "the server is shutting down", "resume the session in a while", retryable=True, fatal=True, close=1001
        ),
        "internal": ErrorKind(
            "the server failed in a way that it did not foresee",
            "resume the session; see the server's log",
            retryable=True,
            fatal=True,
            close=1011,
        ),
    }
)
"""Every error code.  None is ever taken away or given another meaning; new ones may come."""


class EventError(ProtocolError):
    """Say why a message was not taken.

    code: a key of ERRORS.  remedy: what to do about it.  param: the field that is wrong, such as "item.role".
    event_id: of the message, where it could be read.  retry_after_ms: how much later it may work.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        remedy: str | None = None,
        event_id: str | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        self.code, self.message = code, message
        self.remedy = ERRORS[code].remedy if remedy is None else remedy
        self.param, self.event_id, self.retry_after_ms = param, event_id, retry_after_ms
        super().__init__(f"{message}; {self.remedy}")


def quoted(value: object, most: int = 40) -> str:
    """Show a value that a stranger sent, on one line of at most `most` characters."""
    if isinstance(value, str):
        text = ascii(value[: most + 1])
    elif isinstance(value, bool | float) or value is None:
        text = repr(value)
    elif isinstance(value, int):
        text = repr(value) if value.bit_length() <= 64 else f"a number of {value.bit_length()} bits"
    else:
        text = f"a JSON {'object' if isinstance(value, dict) else 'array'}"
    return text if len(text) <= most else text[: most - 1] + "…"
