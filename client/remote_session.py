"""A session that lives on a server, with the methods that an engine's session has."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from ..answer import Answer
from ..errors import OnlookerError, ProtocolError, SettingsError, SourceError
from ..frame import Frame
from ..stream.protocol import client_events as asked
from ..stream.protocol import server_events as told
from ..stream.protocol.shape import MOST_EXACT
from .call import Call
from .event_queue import EventQueue
from .failures import failure_of
from .inquiry import RemoteInquiry
from .link import Link
from .outbox import WaitingFrame
from .pictures import checked_picture
from .records import MemoryState, RemoteEvent, RemoteStats
from .switchboard import Listener, Switchboard

CALL_S = 30.0
FORGET_S = 300.0

R = TypeVar("R", bound=told.ServerEvent)

_logger = logging.getLogger(__name__)


class RemoteSession:
    """Feed and ask one stream on a server.  Made by onlooker.client.connect(); may be used from any threads.

    When the connection breaks it comes back by itself and misses nothing but frames; calls raise only when the session
    is gone: closed, expired, taken over by another connection, or refused.
    """

    def __init__(self, link: Link, board: Switchboard, fetch: Callable[[str], bytes], *, thumbnails: bool) -> None:
        self._link, self._board, self._fetch = link, board, fetch
        self._thumbnail = fetch if thumbnails else _no_picture
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._sequence = 0
        self._seen = 0
        self._last_unix_us = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def id(self) -> str:
        """Its name on the server."""
        return self._opened.session_id

    @property
    def source(self) -> str:
        """What it looks at: "frames" that are pushed, or a camera of the operator's."""
        return self._opened.source

    @property
    def model(self) -> str:
        """The name of the model that answers."""
        return self._opened.model.name

    @property
    def origin_unix_us(self) -> int:
        """The wall clock at stream time 0, µs since 1970."""
        return self._opened.origin_unix_us

    @property
    def config(self) -> told.Config:
        """The settings in effect."""
        return self._board.config or self._opened.config

    @property
    def limits(self) -> told.SessionLimits:
        """What may be sent."""
        return self._opened.limits

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._link.connected

    @property
    def closed(self) -> bool:
        """Whether the session is over."""
        return self._link.over is not None

    @property
    def stats(self) -> RemoteStats:
        """Figures as they are now; the server's are about a second old.  Never waits."""
        link = self._link
        return RemoteStats(
            connected=link.connected,
            seen=self._seen,
            replaced=link.outbox.replaced,
            sent=link.sent,
            unsent=link.unsent,
            reconnects=link.reconnects,
            gaps=link.gaps,
            waiting=self._board.waiting,
            server=self._board.stats,
        )

    def see(
        self,
        frame: Frame | ArrayLike | bytes,
        time_us: int | None = None,
        *,
        captured_unix_us: int | None = None,
        copy: bool = True,
    ) -> bool:
        """Hand over the next frame and return at once; say whether it was accepted.

        It waits in a slot to be encoded and sent; a newer one that comes first takes its place.  frame: a Frame, a
        picture [H, W], [H, W, 1, 3 or 4] (uint8, or float in 0..1), or the bytes of a JPEG, PNG or WebP.  Its stream
        time is time_us, else captured_unix_us (µs since 1970) less the origin, else a Frame's own, else that of now.
        copy: False where its array is not written to any more.  Not accepted: a time that is not later than the last
        one's, or a session that is over.  Raises SourceError for what is no picture, is too big for the server, or
        where the session looks at a camera of the operator's.
        """
        if self.closed:
            return False
        if self.source != "frames":
            raise SourceError(f"the session looks at {self.source!r}; connect with source='frames' to push frames")
        if isinstance(frame, Frame):
            time_us = frame.time_us if time_us is None and captured_unix_us is None else time_us
            frame = frame.image
        image = checked_picture(frame, self.limits)
        lent = False
        if copy and isinstance(image, np.ndarray):
            lent = image.dtype == np.uint8
            image = self._link.outbox.lend(image.view(np.uint8)) if lent else image.copy()
        clocked = time_us is None and captured_unix_us is None
        if time_us is not None:
            captured_unix_us = self.origin_unix_us + time_us
        elif captured_unix_us is None:
            captured_unix_us = time.time_ns() // 1000
        with self._lock:
            if clocked and captured_unix_us <= self._last_unix_us:
                captured_unix_us = self._last_unix_us + 1  # two threads within a microsecond, or a clock set back
            if not self._last_unix_us < captured_unix_us <= MOST_EXACT:
                return False
            waiting = WaitingFrame(image, captured_unix_us, self._sequence, lent)
            if not self._link.outbox.put_frame(waiting):
                return False
            self._sequence = (self._sequence + 1) % (1 << 32)
            self._last_unix_us = captured_unix_us
            self._seen += 1
        return True

    def ask(
        self,
        question: str,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
        evidence: int = 4,
        max_tokens: int | None = None,
        temperature: float | None = None,
        deadline_s: float | None = None,
    ) -> Answer:
        """Answer a question about what was seen so far; waits for it, over broken connections too.

        since_us, until_us: read only this stretch of stream time.  evidence: most pieces of it.  deadline_s: the
        answer ends then, as far as it came.  Raises SettingsError for an empty question or range, BusyError where too
        many wait, ProtocolError where the session is over, OnlookerError where answering fails.
        """
        inquiry = self.ask_stream(
            question,
            since_us=since_us,
            until_us=until_us,
            evidence=evidence,
            max_tokens=max_tokens,
            temperature=temperature,
            deadline_s=deadline_s,
        )
        try:
            return inquiry.answer
        except BaseException:
            inquiry.cancel()  # a Ctrl-C here must not leave it decoding
            raise

    def ask_stream(
        self,
        question: str,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
        evidence: int = 4,
        max_tokens: int | None = None,
        temperature: float | None = None,
        deadline_s: float | None = None,
    ) -> RemoteInquiry:
        """Put a question and return at once: iterate over the inquiry for the text, then read its `answer`.

        Raises SettingsError for what no server takes; what the server says comes with the inquiry.
        """
        self._check_thread()
        if not question.strip():
            raise SettingsError("the question is empty; ask something, such as 'what is on the screen now?'")
        inquiry = RemoteInquiry(self._name("q"), question, deadline_s, self._cancel, self._thumbnail)
        event = asked.ResponseCreate(
            event_id=inquiry.id,
            question=question.encode("utf-8", "replace").decode(),
            since_us=since_us,
            until_us=until_us,
            evidence=evidence,
            max_tokens=max_tokens,
            temperature=temperature,
            deadline_ms=None if deadline_s is None else max(1, round(deadline_s * 1e3)),
        )
        self._board.add_inquiry(inquiry)
        try:
            self._link.send(event)
        except BaseException:
            self._board.drop(inquiry.id)
            raise
        return inquiry

    def watch(
        self, condition: str, *, cooldown_s: float = 10.0, look_s: float = 0.0, listener: Listener | None = None
    ) -> str:
        """Watch for a condition; give the id by which WatchFired names it.

        cooldown_s: it does not fire again sooner.  look_s: as an engine's session takes it.  listener: called with
        WatchFired and WatchCleared, from a thread that must not be held up; else they come with events().  Raises
        SettingsError, BusyError as the server says.
        """
        event = asked.WatchCreate(
            event_id=self._name("w"),
            condition=condition,
            cooldown_ms=round(cooldown_s * 1e3),
            look_ms=round(look_s * 1e3),
        )
        return self._call(event, told.WatchCreated, self._listening(listener)).watch_id

    def unwatch(self, watch_id: str) -> None:
        """Stop watching for a condition.  Raises SettingsError for one that is not watched for."""
        self._call(asked.WatchDelete(event_id=self._name("u"), watch_id=watch_id), told.WatchDeleted)
        self._board.unlisten(watch_id)

    def watches(self) -> tuple[told.ListedWatch, ...]:
        """What is watched for."""
        return self._call(asked.WatchList(event_id=self._name("l")), told.WatchListed).watches

    def sources(self) -> tuple[told.ListedSource, ...]:
        """Give the cameras that the server's operator declared."""
        return self._call(asked.SourceList(event_id=self._name("s")), told.SourceListed).sources

    def memory(self) -> MemoryState:
        """Look at what is remembered; waits for it."""
        state = self._call(asked.MemoryGet(event_id=self._name("m")), told.MemoryState)
        return MemoryState(
            keyframes=state.keyframes,
            tokens=state.tokens,
            used_bytes=state.used_bytes,
            cap_bytes=state.cap_bytes,
            disk_bytes=state.disk_bytes,
            disk_cap_bytes=state.disk_cap_bytes,
            span_us=state.span_us,
            timeline=state.timeline,
            marks=state.marks,
        )

    def mark(self, label: str, time_us: int | None = None) -> told.Mark:
        """Put a label to a moment of the stream, by default to now."""
        event = asked.MemoryMark(event_id=self._name("k"), label=label, time_us=time_us)
        made = self._call(event, told.MemoryMarked)
        return told.Mark(label=made.label, time_us=made.time_us)

    def forget(self, since_us: int | None = None, until_us: int | None = None, *, everything: bool = False) -> int:
        """Forget all that was seen in [since_us, until_us), on the disk too; give the number of keyframes that went.

        everything: in place of a range.  Raises SettingsError for an empty range or none, SourceError where the memory
        belongs to a camera of the operator's.
        """
        event = asked.MemoryClear(event_id=self._name("f"), since_us=since_us, until_us=until_us, everything=everything)
        return self._call(event, told.MemoryCleared, timeout_s=FORGET_S).keyframes

    def image(self, path: str) -> bytes:
        """Fetch the picture that an event names, such as WatchFired.image; empty where it is gone.  Waits for it."""
        return self._fetch(path)

    def events(self, timeout_s: float | None = None) -> Iterator[RemoteEvent]:
        """Iterate over what happens from now on, until the session is over, or nothing happens for timeout_s."""
        queue = EventQueue()
        self._board.add_queue(queue)  # at once, not at the first next()
        return self._drain(queue, timeout_s)

    def close(self, *, forget: bool = False, timeout_s: float = 10.0) -> None:
        """End the session for good; what the server then knows of it, it keeps only where memories are kept.

        forget: delete that too.  Waits at most timeout_s for the server.  Does nothing when it is over.
        """
        if not self.closed and not self._link.is_current:
            if self._link.connected:
                try:
                    self._call(
                        asked.SessionClose(event_id=self._name("c"), forget=forget),
                        told.SessionClosed,
                        timeout_s=timeout_s,
                    )
                except OnlookerError as error:
                    _logger.info("the session was not closed in order: %s", error)
            self._link.stop()

    @property
    def _opened(self) -> told.SessionCreated:
        created = self._board.created
        assert created is not None  # connect() gives nobody a session before
        return created

    def _name(self, kind: str) -> str:
        return f"{kind}{next(self._numbers)}"

    def _listening(self, listener: Listener | None) -> Callable[[told.ServerEvent], None] | None:
        """Make what sets a watch's listener before anything can fire."""
        if listener is None:
            return None

        def listen(event: told.ServerEvent) -> None:
            if isinstance(event, told.WatchCreated):
                self._board.listen(event.watch_id, listener)

        return listen

    def _call(
        self,
        event: asked.ClientEvent,
        wanted: type[R],
        at_once: Callable[[told.ServerEvent], None] | None = None,
        timeout_s: float = CALL_S,
    ) -> R:
        """Send a request and wait for its reply."""
        self._check_thread()
        assert event.event_id is not None
        call = Call(at_once)
        self._board.add_call(event.event_id, call)
        try:
            self._link.send(event)
            reply = call.wait(timeout_s, event.TYPE)
        finally:
            self._board.drop(event.event_id)
            self._link.forget(event.event_id)
        if isinstance(reply, told.Error):
            raise failure_of(reply)
        if not isinstance(reply, wanted):
            raise ProtocolError(f"the server answered {event.TYPE} with {reply.TYPE}; its version may be another")
        return reply

    def _check_thread(self) -> None:
        if self._link.is_current:
            raise SettingsError("a listener cannot wait for the server; hand over to another thread")

    def _cancel(self, inquiry: RemoteInquiry) -> None:
        """Ask the server to stop, once it has taken the question."""
        if inquiry.response_id is not None and not self.closed:
            event = asked.ResponseCancel(event_id=self._name("x"), response_id=inquiry.response_id)
            try:
                self._link.send(event)
            except OnlookerError as error:
                _logger.info("%s was not cancelled: %s", inquiry.id, error)

    def _drain(self, queue: EventQueue, timeout_s: float | None) -> Iterator[RemoteEvent]:
        try:
            while not (self.closed and queue.empty):
                event = queue.take(timeout_s)
                if event is None:
                    return
                yield event
        finally:
            self._board.drop_queue(queue)


def _no_picture(path: str) -> bytes:
    return b""
