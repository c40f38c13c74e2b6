"""The client's side of a conversation, over as many connections as it takes, without input or output of its own."""

import dataclasses
from dataclasses import dataclass

from . import client_events, server_events
from .client_events import CLIENT_EVENTS, ClientEvent, ResponseCancel, Resume, SessionUpdate, WatchDelete
from .server_events import (
    BOUNDS,
    Error,
    ResponseCreated,
    ResponseDone,
    Sequenced,
    ServerEvent,
    SessionClosed,
    SessionCreated,
    WatchCleared,
    WatchCreated,
    WatchDeleted,
    WatchFired,
    WatchListed,
)

FINAL_CODES = frozenset(
    {"session_expired", "resume_refused", "session_taken", "not_authorized", "unknown_source", "idle"}
)
"""Fatal errors behind which it is of no use to connect again."""

FINAL_CLOSES = {1003: "invalid_event", 1008: "not_authorized", 4002: "session_taken", 4003: "resume_refused"}
"""Codes of a close behind which it is of no use to connect again, with the error that they stand for by themselves."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Hold what a message brought.

    event: None for one that is not for the application: a repeated one, or one of an unknown type.  resend: messages
    to send now, as the server never got them.
    """

    event: ServerEvent | None
    resend: tuple[str, ...] = ()


class ClientConnection:
    """Keep what a client must keep: its session, the newest number, requests that are not answered, standing questions.

    A server that was restarted has the session's memory and none of its standing questions: they are put again, and
    keep the names that they had.
    hello: the session.update that opens the session; each further connection sends it with resume.
    For one thread at a time.
    """

    def __init__(self, hello: SessionUpdate | None = None) -> None:
        self._hello = hello or SessionUpdate()
        self._created: SessionCreated | None = None
        self._last_seq = 0
        self._pending: dict[str, str] = {}
        self._responses: dict[str, str] = {}
        self._cancels: dict[str, str] = {}
        self._watches: dict[str, tuple[str, str]] = {}  # by the name they got first: the request's event_id and text
        self._first_names: dict[str, str] = {}  # by the name that they have now
        self._ended: Error | SessionClosed | None = None
        self._error: Error | None = None
        self._replay_to: int | None = None
        self._received: tuple[str, ...] = ()
        self._gaps = 0

    @property
    def created(self) -> SessionCreated | None:
        """What the server said about the session, newest; None before the first time."""
        return self._created

    @property
    def last_seq(self) -> int:
        """The newest number that came."""
        return self._last_seq

    @property
    def gaps(self) -> int:
        """How often events were lost for good."""
        return self._gaps

    @property
    def ended(self) -> Error | SessionClosed | None:
        """Why the session is over; None while it may go on."""
        return self._ended

    @property
    def error(self) -> Error | None:
        """The fatal error that the newest connection ended with."""
        return self._error

    @property
    def pending(self) -> tuple[str, ...]:
        """The event_id of each request that is not answered yet, in order."""
        return tuple(self._pending)

    @property
    def replaying(self) -> bool:
        """Whether what was missed is still coming; what is asked meanwhile is in the last Heard.resend of it."""
        return self._replay_to is not None

    def connect(self) -> str:
        """Give the first message of a new connection.  Raises EventError for settings that no server takes."""
        self._error, self._replay_to = None, None
        hello = self._hello
        if self._created is not None:
            resume = Resume(
                session_id=self._created.session_id, token=self._created.resume_token, last_seq=self._last_seq
            )
            hello = dataclasses.replace(hello, resume=resume, source=None, settings=None)
        return _checked(hello)

    def send(self, event: ClientEvent) -> str:
        """Give an event's message; one with event_id is kept until it is answered.

        A change of settings is sent again on further connections.  Raises EventError for what no server takes.
        """
        if isinstance(event, WatchDelete):
            event = dataclasses.replace(event, watch_id=self._name_now(event.watch_id))
        text = _checked(event)
        if event.event_id is not None:
            self._pending[event.event_id] = text
            if isinstance(event, ResponseCancel):
                self._cancels[event.response_id] = event.event_id
        if isinstance(event, SessionUpdate):
            named = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
            changed = {name: value for name, value in named.items() if value is not None and name != "event_id"}
            self._hello = dataclasses.replace(self._hello, **changed)
        return text

    def forget(self, event_id: str) -> None:
        """Wait no longer for an answer to a request."""
        self._pending.pop(event_id, None)

    def receive(self, text: str) -> Heard:
        """Take a message.  Raises EventError for one that is no event."""
        event = server_events.read(text)
        if event is None:
            return Heard(None)
        if isinstance(event, SessionCreated):
            self._open(event)
            return Heard(event, self._after_replay())
        if isinstance(event, Sequenced) and event.seq is not None:
            if event.seq <= self._last_seq:
                return Heard(None)
            if self._last_seq and event.seq > self._last_seq + 1:
                self._gaps += 1
            self._last_seq = event.seq
        event = self._renamed(event)
        self._note(event)
        return Heard(event, self._after_replay())

    def disconnected(self, close_code: int | None = None) -> bool:
        """Take note that the connection is gone, and say whether to connect again.  None: without a close."""
        if self._ended is None and close_code in FINAL_CLOSES:
            message = f"the server closed the connection with code {close_code}"
            self._ended = self._error or Error.of(FINAL_CLOSES[close_code], message, fatal=True)
        return self._ended is None

    def _open(self, event: SessionCreated) -> None:
        again, self._created = self._created is not None, event
        if again and (not event.resumed or (event.gap and event.last_seq < self._last_seq)):  # the server was restarted
            self._first_names.clear()
            self._pending |= dict(self._watches.values())
        if not event.resumed:
            self._last_seq = event.last_seq
            self._gaps += again
        elif event.gap:
            self._last_seq = 0  # numbers may have begun anew, where the server did
            self._gaps += 1
        if again:
            self._replay_to, self._received = event.last_seq, event.received

    def _after_replay(self) -> tuple[str, ...]:
        """Give what must be sent again, once all that was missed has come."""
        if self._replay_to is None or self._last_seq < self._replay_to:
            return ()
        self._replay_to = None
        return tuple(text for event_id, text in self._pending.items() if event_id not in self._received)

    def _note(self, event: ServerEvent) -> None:
        event_id: str | None = getattr(event, "event_id", None)
        if isinstance(event, ResponseCreated):
            if event_id is not None:
                self._responses[event.response_id] = event_id
        elif isinstance(event, ResponseDone):
            self._pending.pop(self._responses.pop(event.response_id, ""), None)
            self._pending.pop(self._cancels.pop(event.response_id, ""), None)
        elif event_id is not None:
            text = self._pending.pop(event_id, None)
            if isinstance(event, WatchCreated) and text is not None:
                self._watches[event.watch_id] = event_id, text
            elif isinstance(event, WatchDeleted):
                self._watches.pop(event.watch_id, None)
        if isinstance(event, SessionClosed):
            self._ended = event
        elif isinstance(event, Error) and event.fatal:
            self._error = event
            if event.code in FINAL_CODES:
                self._ended = event

    def _name_now(self, first: str) -> str:
        return next((now for now, name in self._first_names.items() if name == first), first)

    def _renamed(self, event: ServerEvent) -> ServerEvent:
        """Give standing questions the names that they had first."""
        if isinstance(event, WatchCreated):
            for first, (event_id, _) in self._watches.items():
                if event_id == event.event_id and first != event.watch_id:
                    self._first_names[event.watch_id] = first
        if isinstance(event, WatchCreated | WatchDeleted | WatchFired | WatchCleared):
            return dataclasses.replace(event, watch_id=self._first_names.get(event.watch_id, event.watch_id))
        if isinstance(event, WatchListed):
            named = [
                dataclasses.replace(one, watch_id=self._first_names.get(one.watch_id, one.watch_id))
                for one in event.watches
            ]
            return dataclasses.replace(event, watches=tuple(named))
        return event


def _checked(event: ClientEvent) -> str:
    text = client_events.write(event)
    CLIENT_EVENTS.read(text, BOUNDS)
    return text
