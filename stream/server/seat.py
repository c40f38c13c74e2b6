"""A seat: one client's place at a session, which outlives its sockets."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ...errors import BusyError, OnlookerError, SettingsError
from ...models.backbone import Sampling
from ..engine.events import (
    AnswerBegun,
    AnswerEnded,
    AnswerPiece,
    FramesDropped,
    Listener,
    MemoryForgot,
    SessionEvent,
    SessionFailed,
    SourceChanged,
    WatchCleared,
    WatchFired,
)
from ..engine.inquiry import Inquiry
from ..engine.live_session import LiveSession
from ..engine.stats import Mark
from ..live.status import SourceStatus
from ..protocol import client_events as asked
from ..protocol import server_events as told
from ..protocol.errors import ERRORS, EventError
from ..protocol.replay import Replay
from . import translation
from .client_clock import ClientClock
from .images import ImageRing
from .intake import CodedFrame, Intake
from .keys import Keys
from .metrics import ServerMetrics
from .pacing import Pacer
from .settings import ServerSettings
from .wishes import Wishes

FRAMES = "frames"
"""The source of own sessions: what the client pushes."""

MOST_SHARED_MARKS = 16
"""Marks that one client may put to a session it shares: they are kept, and it cannot take them away again."""

FAILURE_EVERY_S = 5.0  # a session that fails fails with every frame


class Link(Protocol):
    """What a seat needs of the socket that is attached to it."""

    def fail(self, code: str, message: str = "") -> None:
        """End the connection with a fatal error."""

    def send(self, text: str) -> None:
        """Send a message."""

    def send_transient(self, event: told.ServerEvent) -> None:
        """Send an event that may be merged with a later one, or left out."""


@dataclass(slots=True, eq=False)
class _Asked:
    """Follow a question.  evidence: how many pieces are wanted."""

    inquiry: Inquiry
    evidence: int
    began: float
    waiting: bool = True
    first: bool = True


@dataclass(slots=True, eq=False)
class Seat:
    """Hold a client's conversation with a session, for the event loop's thread.

    live: the session it looks at; its own, or a camera's that others look at too.  source: "frames", or the camera's
    name.  link: the socket that is attached now.  left: when the last one went, by time.monotonic().  dismissed: it was
    idle, and is not waited for.  closing: nobody can come to it any more.  working: carries out what came over the
    newest socket.  storing: held while its ticket is written, or its session is changed or closed.  away: the client
    dropped, and has sent no frame since.  clock: the client's.  intake: where its pictures go; None for a camera's.
    never: frames that connections dropped before the session heard of them, by reason.
    """

    id: str
    live: LiveSession
    source: str
    settings: ServerSettings
    metrics: ServerMetrics
    replay: Replay
    chosen: Mapping[str, str | int | float] = field(default_factory=dict)
    keys: Keys = field(default_factory=Keys)
    link: Link | None = None
    intake: Intake | None = None
    wishes: Wishes = field(init=False)
    images: ImageRing = field(init=False)
    pacer: Pacer = field(init=False)
    left: float = field(init=False)
    active: float = field(init=False)
    closed: bool = False
    closing: bool = False
    working: asyncio.Task[None] | None = None
    storing: asyncio.Lock = field(default_factory=asyncio.Lock)
    dismissed: bool = False
    away: bool = False
    clock: ClientClock = field(default_factory=ClientClock)
    saw_frames: bool = False
    marks: int = 0
    seen_us: int | None = None
    laid_down: str = ""
    never: dict[str, int] = field(default_factory=dict)
    watches: dict[str, told.ListedWatch] = field(default_factory=dict)
    _questions: dict[str, _Asked] = field(default_factory=dict)
    _failures: dict[str, float] = field(default_factory=dict)
    _early: dict[str, list[SessionEvent]] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _leave: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.wishes = Wishes(self.settings.limits.max_fps)
        self.images = ImageRing(self.settings.images, self.settings.image_bytes)
        self.pacer = Pacer(self.settings.limits.max_fps)
        self.left = self.active = time.monotonic()
        if self.own:
            self._leave = self.live.subscribe(self.listener)

    @property
    def own(self) -> bool:
        """Whether the session is this client's alone."""
        return self.source == FRAMES

    @property
    def questions(self) -> int:
        """How many of its questions wait or are being answered."""
        return len(self._questions)

    @property
    def listener(self) -> Listener:
        """What the engine's threads call; it brings events to the loop."""
        loop, hear = self._loop, self.hear

        def bring(event: SessionEvent) -> None:
            try:
                loop.call_soon_threadsafe(hear, event)
            except RuntimeError:  # the loop is closed: the server has gone
                pass

        return bring

    def config(self) -> told.Config:
        """Tell the settings in effect."""
        return told.Config(
            settings=translation.kept_settings(self.live.settings),
            fps=min(self.wishes.fps, self.settings.limits.max_fps),
            max_tokens=self.wishes.max_tokens,
            temperature=self.wishes.temperature,
            frame_reports="each" if self.wishes.each else "summary",
            stats=self.wishes.stats,
        )

    def touch(self) -> None:
        """Note that something happened: it is not idle."""
        self.active = time.monotonic()

    def idle_s(self, now: float) -> float:
        """Say for how long nothing happened; watching for something is not nothing."""
        return 0.0 if self._questions or (self.watches and not self.own) else now - self.active

    def tell(self, event: told.Sequenced) -> None:
        """Send a numbered event, now or when the client comes back."""
        if isinstance(event, told.Error):
            self.metrics.errors[event.code] += 1
        text = self.replay.add(event)
        if self.link is not None:
            self.link.send(text)

    def whisper(self, event: told.ServerEvent) -> None:
        """Send a transient event, if a socket is attached."""
        if self.link is not None:
            self.link.send_transient(event)

    def refuse(self, error: EventError, event_id: str | None) -> None:
        """Tell why an event was not carried out."""
        self.tell(
            told.Error.of(
                error.code,
                error.message,
                remedy=error.remedy,
                param=error.param,
                event_id=event_id,
                retry_after_ms=error.retry_after_ms,
            )
        )

    def stats(self, source: SourceStatus | None) -> dict[str, object]:
        """Give the fields of Stats."""
        return translation.stats(self.live.stats, self.pacer.target_fps, self.never, source)

    def update(self, event: asked.SessionUpdate) -> None:
        """Take a client's wishes."""
        self.wishes = self.wishes.changed(event)
        self.pacer.limit(min(self.wishes.fps, self.settings.limits.max_fps))

    def ask(self, event: asked.ResponseCreate) -> None:
        """Put a question.  Raises EventError."""
        question = event.question if event.question is not None else self.laid_down
        if not question.strip():
            raise EventError("empty_question", "there is no question", param="question")
        waiting = sum(one.waiting for one in self._questions.values())
        most = self.settings.limits.questions_queued
        if waiting >= most:
            raise EventError("busy", f"{waiting} questions wait; the limit is {most}", retry_after_ms=1000)
        sampling = Sampling(
            max_tokens=self.wishes.max_tokens if event.max_tokens is None else event.max_tokens,
            temperature=self.wishes.temperature if event.temperature is None else event.temperature,
        )
        response_id = f"resp_{secrets.token_hex(8)}"
        held = self.live.stats
        try:
            inquiry = self.live.submit(
                question,
                since_us=event.since_us,
                until_us=event.until_us,
                sampling=sampling,
                deadline_s=None if event.deadline_ms is None else event.deadline_ms / 1e3,
                listener=self.listener,
                question_id=response_id,
            )
        except BusyError as error:
            raise EventError("busy", str(error), retry_after_ms=1000) from None
        except SettingsError as error:
            raise EventError("bad_question", str(error), param="question") from None
        self.touch()
        self.laid_down = ""
        self._questions[response_id] = _Asked(inquiry, event.evidence, time.monotonic())
        newest = [one for one in (held.now_us, self.seen_us) if one is not None]
        self.tell(
            told.ResponseCreated(
                event_id=event.event_id,
                response_id=response_id,
                question=inquiry.question,
                asked_at_us=max(newest, default=0),
            )
        )

    def cancel(self, event: asked.ResponseCancel) -> None:
        """Stop an answer; its end is told as usual.  Raises EventError."""
        one = self._questions.get(event.response_id)
        if one is None:
            raise EventError("unknown_response", "there is no such response, or it has ended", param="response_id")
        one.inquiry.cancel()

    def cancel_all(self) -> None:
        """Stop all answers."""
        for one in self._questions.values():
            one.inquiry.cancel()

    async def watch(self, event: asked.WatchCreate) -> None:
        """Put a standing question, and tell of it before it fires.  Raises EventError."""
        most = self.settings.limits.watches
        if len(self.watches) >= most:
            raise EventError("busy", f"{most} standing questions are watched for, which is the limit")
        watch_id = f"watch_{secrets.token_hex(6)}"
        entry = told.ListedWatch(
            watch_id=watch_id,
            condition=event.condition,
            cooldown_ms=10_000 if event.cooldown_ms is None else event.cooldown_ms,
            look_ms=event.look_ms or 0,
        )
        self._early[watch_id] = []
        try:
            await asyncio.to_thread(
                self.live.watch,
                event.condition,
                cooldown_s=entry.cooldown_ms / 1e3,
                look_s=entry.look_ms / 1e3,
                listener=self.listener,
                watch_id=watch_id,
            )
        except BusyError as error:
            raise EventError("busy", str(error)) from None
        except SettingsError as error:
            raise EventError("bad_question", str(error), param="condition") from None
        finally:
            early = self._early.pop(watch_id)
        if self.closing:  # nobody would end it any more; an own session takes it along
            with contextlib.suppress(SettingsError):
                await asyncio.to_thread(self.live.unwatch, watch_id)
            raise EventError("session_expired", "the session was closed meanwhile")
        self.touch()
        self.watches[watch_id] = entry
        self.tell(told.WatchCreated(event_id=event.event_id, watch_id=watch_id, condition=event.condition))
        for one in early:
            self.hear(one)

    async def unwatch(self, event: asked.WatchDelete) -> None:
        """End a standing question.  Raises EventError."""
        if self.watches.pop(event.watch_id, None) is None:
            raise EventError("unknown_watch", "there is no such standing question", param="watch_id")
        await asyncio.to_thread(self.live.unwatch, event.watch_id)
        self.tell(told.WatchDeleted(event_id=event.event_id, watch_id=event.watch_id))

    async def unwatch_all(self) -> None:
        """End all standing questions."""
        while self.watches:
            watch_id, _ = self.watches.popitem()
            if not self.live.closed:
                with contextlib.suppress(SettingsError):  # closed meanwhile
                    await asyncio.to_thread(self.live.unwatch, watch_id)

    async def mark(self, label: str, time_us: int | None) -> Mark:
        """Put a label to a moment.  Raises EventError where this client has put its share to a shared session."""
        if not self.own and self.marks >= MOST_SHARED_MARKS:
            raise EventError("busy", f"{self.marks} moments of a shared session are marked, which is a client's limit")
        self.marks += 1
        try:
            mark = await asyncio.to_thread(self.live.mark, label, time_us)
        except OnlookerError:
            self.marks -= 1
            raise
        self.touch()
        return mark

    async def quiet(self, timeout_s: float) -> None:
        """Wait until no question is open, but not longer than that."""
        end = time.monotonic() + timeout_s
        while self._questions and time.monotonic() < end:
            await asyncio.sleep(0.01)

    def hear(self, event: SessionEvent) -> None:
        """Pass on what the engine tells."""
        if self.closed:
            return
        match event:
            case AnswerBegun():
                one = self._questions.get(event.question_id)
                if one is not None:
                    one.waiting = False
            case AnswerPiece():
                one = self._questions.get(event.question_id)
                if one is not None and one.first:
                    one.first = False
                    self.metrics.first_token.observe(time.monotonic() - one.began)
                self.tell(told.ResponseOutputTextDelta(response_id=event.question_id, delta=event.text))
            case AnswerEnded():
                self._end(event)
            case FramesDropped():
                if self.own:
                    self.whisper(translation.frames_dropped(event))
            case MemoryForgot():
                self.tell(translation.memory_evicted(event))
            case SourceChanged():
                self.tell(translation.source_status(self.source, event.status))
            case WatchFired() | WatchCleared() if event.watch_id in self._early:
                self._early[event.watch_id].append(event)
            case WatchFired() | WatchCleared() if event.watch_id not in self.watches:
                pass  # it was ended meanwhile
            case WatchFired():
                self.tell(
                    told.WatchFired(
                        watch_id=event.watch_id,
                        condition=event.condition,
                        time_us=event.time_us,
                        latency_ms=max(0.0, event.latency_ms),
                        text=event.text,
                        image=self._picture(event.thumbnail),
                    )
                )
            case WatchCleared():
                self.tell(told.WatchCleared(watch_id=event.watch_id, condition=event.condition, time_us=event.time_us))
            case SessionFailed():
                now = time.monotonic()
                if event.code not in self._failures or now - self._failures[event.code] >= FAILURE_EVERY_S:
                    self._failures[event.code] = now
                    code = event.code if event.code in ERRORS else "internal"
                    self.tell(told.Error.of(code, event.message, fatal=False))

    def saw(self, frame: CodedFrame) -> None:
        """Note that a frame was accepted."""
        self.touch()
        self.saw_frames = True
        time_us = frame.captured_unix_us - self.live.origin_unix_us
        self.seen_us = time_us if self.seen_us is None else max(self.seen_us, time_us)
        if self.wishes.each:
            self.whisper(told.FrameAccepted(sequence=frame.sequence, time_us=time_us))

    def cannot_see(self, error: EventError) -> None:
        """Tell that a picture cannot be decoded; not of every one."""
        now = time.monotonic()
        if error.code not in self._failures or now - self._failures[error.code] >= FAILURE_EVERY_S:
            self._failures[error.code] = now
            self.whisper(told.Error.of(error.code, error.message, remedy=error.remedy, fatal=False))

    def leave(self) -> None:
        """Hear nothing more; what is still being answered is stopped."""
        self.closed = True
        self.cancel_all()
        self._questions.clear()
        if self._leave is not None:
            self._leave()
        self.images.clear()

    def moved(self, live: LiveSession) -> None:
        """Go over to another session, which takes the place of the own one."""
        if self._leave is not None:
            self._leave()
        self.live, self._leave = live, live.subscribe(self.listener)

    def _end(self, event: AnswerEnded) -> None:
        one = self._questions.pop(event.question_id, None)
        if one is None:
            return
        self.touch()
        self.metrics.answer.observe(time.monotonic() - one.began)
        done = translation.response_done(event)
        self.tell(told.ResponseOutputTextDone(response_id=event.question_id, text=done.text))
        images = tuple(self._picture(piece.thumbnail) for piece in event.answer.evidence[: one.evidence])
        pieces = translation.evidence(event.answer, one.evidence, images)
        if pieces:
            self.tell(told.ResponseEvidence(response_id=event.question_id, evidence=pieces))
        self.tell(done)

    def _picture(self, jpeg: bytes) -> str | None:
        name = self.images.add(jpeg)
        return None if name is None else f"/v1/sessions/{self.id}/images/{name}"
