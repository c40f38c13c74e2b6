"""The server's side of one connection, as a state machine without input or output of its own."""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from . import client_events
from .client_events import (
    ClientEvent,
    ConversationItemCreate,
    InputText,
    MemoryClear,
    ResponseCreate,
    SessionClose,
    SessionUpdate,
    WatchCreate,
)
from .errors import ERRORS, EventError
from .frame_header import HEADER_BYTES, FrameHeader, read_header
from .limits import Limits
from .picture import Picture, read_picture
from .rates import TokenBucket
from .replay import Replay
from .server_events import Error, FrameDropped, ServerEvent

REPORT_S = 1.0
"""Drops of one reason are told at most this often, and so is an error about pictures."""

MOST_REASON_BYTES = 123
"""Of a close frame (RFC 6455, 5.5.1)."""


class State(enum.Enum):
    """Say where a connection stands."""

    WAIT_HELLO = "wait_hello"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Received:
    """Hand an event to the application.  first: it is the session.update that opens or resumes the session."""

    event: ClientEvent
    first: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class FrameReceived:
    """Hand a frame to the application.  image: the encoded picture, whose size was checked and which is not decoded."""

    header: FrameHeader
    picture: Picture
    image: memoryview


@dataclass(frozen=True, slots=True)
class Send:
    """Ask the application to send an event as it is, without a number."""

    event: ServerEvent


@dataclass(frozen=True, slots=True)
class Close:
    """Ask the application to close the socket, after what was to be sent before."""

    code: int
    reason: str


Result = Received | FrameReceived | Send | Close


@dataclass(slots=True)
class _Drops:
    """Count drops of one reason that were not told yet."""

    count: int = 0
    last_sequence: int = 0
    told: float | None = None


@dataclass(slots=True)
class Tally:
    """Count what came over a connection.  frames_dropped: by this connection, by reason."""

    events: int = 0
    frames: int = 0
    frames_dropped: dict[str, int] = field(default_factory=dict)
    refused: int = 0


class ServerConnection:
    """Read what one client sends, and say what becomes of it.

    Every receive_ method and tick() gives a list of results for the application to carry out in order; none of them
    raises, whatever a client sends.  now: seconds of a clock that does not go back; each connection may have its own.
    For one thread.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self.tally = Tally()
        self._state = State.WAIT_HELLO
        self._began = now
        self._events = TokenBucket(limits.message_rate, limits.message_burst)
        self._frames = TokenBucket(limits.max_fps, max(2.0, limits.max_fps))
        self._errors_in_a_row = 0
        self._replay: Replay | None = None
        self._takes_frames = True
        self._locked = False
        self._each = False
        self._drops: dict[str, _Drops] = {}
        self._picture_error_at: float | None = None

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    def opened(self, replay: Replay, *, takes_frames: bool = True, locked: bool = False) -> None:
        """Tell that the application has opened or resumed the session that the first event asked for.

        replay: the session's; event_ids that come are noted there.  takes_frames: False for a camera of the operator's.
        locked: whether a frame was seen before, so that settings cannot change.
        """
        self._replay, self._takes_frames, self._locked = replay, takes_frames, locked

    def limit_fps(self, fps: float) -> None:
        """Take at most so many frames a second from here on, never more than limits.max_fps."""
        rate = min(fps, self.limits.max_fps)
        self._frames = TokenBucket(rate, max(2.0, rate))

    def report_each(self, each: bool) -> None:
        """Tell every drop at once instead of once a second."""
        self._each = each

    def receive_text(self, text: str, now: float) -> list[Result]:
        """Take a text message."""
        if self._state in (State.CLOSING, State.CLOSED):
            return []
        try:
            if not self._events.take(now):
                wait_ms = max(1, round(self._events.wait_s(now) * 1e3))
                rate = self.limits.message_rate
                raise EventError("rate_limited", f"more than {rate:g} events came a second", retry_after_ms=wait_ms)
            event = client_events.read(text, self.limits)
            first = self._admit(event)
        except EventError as refusal:
            return self._refused(refusal)
        self._errors_in_a_row = 0
        self.tally.events += 1
        if self._replay is not None and event.event_id is not None:
            self._replay.note_received(event.event_id)
        if isinstance(event, SessionUpdate):
            if event.frame_reports is not None:
                self._each = event.frame_reports == "each"
            if event.fps is not None:
                self.limit_fps(event.fps)
        if isinstance(event, SessionClose):
            self._state = State.CLOSING
        return [Received(event, first)]

    def receive_bytes(self, data: bytes, now: float) -> list[Result]:
        """Take a binary message."""
        if self._state in (State.CLOSING, State.CLOSED):
            return []
        try:
            if self._state is State.WAIT_HELLO:
                raise EventError("invalid_event", "a frame came first", remedy="send session.update first")
            header = read_header(data)
        except EventError as refusal:
            return self._refused(refusal)
        self._errors_in_a_row = 0
        self.tally.frames += 1
        try:
            if not self._takes_frames:
                raise EventError("source_read_only", "the session looks at a camera, and takes no frames")
            size = len(data) - HEADER_BYTES
            if size > self.limits.max_frame_bytes:
                limit = self.limits.max_frame_bytes
                raise EventError("frame_too_big", f"the picture has {size} bytes, over the limit of {limit}")
            if not self._frames.take(now):
                return self._dropped("rate", header.sequence, now)
            image = memoryview(data)[HEADER_BYTES:]
            picture = read_picture(image)
            if picture.pixels > self.limits.max_pixels:
                raise EventError(
                    "frame_too_big",
                    f"the picture has {picture.width} × {picture.height} pixels, over the limit of "
                    f"{self.limits.max_pixels}",
                )
        except EventError as refusal:
            return self._picture_refused(refusal, header.sequence, now)
        self._locked = True
        return [FrameReceived(header, picture, image)]

    def tick(self, now: float) -> list[Result]:
        """Let time pass; call it about once a second."""
        if self._state is State.WAIT_HELLO and now - self._began >= self.limits.hello_s:
            return self.fail("hello_timeout", f"no session.update came within {self.limits.hello_s:g} s")
        if self._state is not State.OPEN:
            return []
        return [told for reason, drops in self._drops.items() for told in self._told(reason, drops, now)]

    def fail(
        self,
        code: str,
        message: str = "",
        *,
        remedy: str | None = None,
        param: str | None = None,
        event_id: str | None = None,
        retry_after_ms: int | None = None,
        fatal: bool | None = None,
    ) -> list[Result]:
        """Give what to do about an error of the application's: an error event, and a close where it is fatal.

        fatal: instead of what the code says by itself.
        """
        if self._state is State.CLOSED:
            return []
        error = Error.of(
            code, message, remedy=remedy, param=param, event_id=event_id, retry_after_ms=retry_after_ms, fatal=fatal
        )
        if not error.fatal:
            return [Send(error)]
        return [Send(error), *self.close(ERRORS[code].close, code)]

    def close(self, code: int = 1000, reason: str = "") -> list[Result]:
        """End the connection; nothing is read from it any more."""
        if self._state is State.CLOSED:
            return []
        self._state = State.CLOSED
        return [Close(code, reason.encode()[:MOST_REASON_BYTES].decode("utf-8", "ignore"))]

    def disconnected(self) -> None:
        """Tell that the socket is gone."""
        self._state = State.CLOSED

    def _admit(self, event: ClientEvent) -> bool:
        """Say whether an event is the first.  Raises EventError where it may not come now."""
        if self._state is State.WAIT_HELLO:
            if not isinstance(event, SessionUpdate):
                raise EventError(
                    "invalid_event",
                    f"{event.TYPE} came first",
                    param="type",
                    remedy="send session.update first",
                    event_id=event.event_id,
                )
            self._state = State.OPEN
            return True
        if isinstance(event, SessionUpdate):
            for name in ("source", "resume"):
                if getattr(event, name) is not None:
                    raise EventError(
                        "invalid_event",
                        f"{name} came after the first event",
                        param=name,
                        remedy="open another connection for another session",
                        event_id=event.event_id,
                    )
            if event.settings is not None and (self._locked or not self._takes_frames):
                raise EventError(
                    "settings_locked",
                    "settings came after the first frame",
                    param="settings",
                    event_id=event.event_id,
                )
        if isinstance(event, MemoryClear) and not self._takes_frames:
            raise EventError(
                "source_read_only", "the memory belongs to a camera of the operator's", event_id=event.event_id
            )
        for param, question in _questions(event):
            if len(question) > self.limits.question_chars:
                raise EventError(
                    "bad_question",
                    f"the question has {len(question)} characters, over the limit of {self.limits.question_chars}",
                    param=param,
                    event_id=event.event_id,
                )
        return False

    def _refused(self, refusal: EventError) -> list[Result]:
        """Answer a message that cannot be taken; close behind too many of them."""
        self._errors_in_a_row += 1
        self.tally.refused += 1
        last = self._errors_in_a_row >= self.limits.errors_in_a_row
        return self.fail(
            refusal.code,
            refusal.message,
            remedy=refusal.remedy,
            param=refusal.param,
            event_id=refusal.event_id,
            retry_after_ms=refusal.retry_after_ms,
            fatal=True if last else None,
        )

    def _picture_refused(self, refusal: EventError, sequence: int, now: float) -> list[Result]:
        """Drop a frame for what is in it: told as an error now and then, and always counted."""
        reason = {"frame_too_big": "too_big", "source_read_only": "read_only"}.get(refusal.code, "bad_image")
        results = self._dropped(reason, sequence, now)
        if self._picture_error_at is None or now - self._picture_error_at >= REPORT_S:
            self._picture_error_at = now
            results[:0] = self.fail(refusal.code, refusal.message, remedy=refusal.remedy, param=refusal.param)
        return results

    def _dropped(self, reason: str, sequence: int, now: float) -> list[Result]:
        self.tally.frames_dropped[reason] = self.tally.frames_dropped.get(reason, 0) + 1
        drops = self._drops.setdefault(reason, _Drops())
        drops.count += 1
        drops.last_sequence = sequence
        return list(self._told(reason, drops, now))

    def _told(self, reason: str, drops: _Drops, now: float) -> Sequence[Send]:
        due = self._each or drops.told is None or now - drops.told >= REPORT_S
        if drops.count == 0 or not due:
            return ()
        told = FrameDropped(reason=reason, count=drops.count, last_sequence=drops.last_sequence)
        drops.count, drops.told = 0, now
        return (Send(told),)


def _questions(event: ClientEvent) -> Iterator[tuple[str, str]]:
    """Give the texts in an event that a model will read, with their places."""
    if isinstance(event, ResponseCreate) and event.question is not None:
        yield "question", event.question
    elif isinstance(event, WatchCreate):
        yield "condition", event.condition
    elif isinstance(event, ConversationItemCreate):
        for at, part in enumerate(event.item.content):
            if isinstance(part, InputText):
                yield f"item.content[{at}].text", part.text
