"""A lane: the engine's side of one session, with all that waits for the device."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import SettingsError
from ..session import Session
from ..standing.watcher import Fired, Watcher
from .events import DropReason, FramesDropped, Listener, MemoryForgot, SessionEvent, WatchCleared, WatchFired, hand
from .inquiry import Inquiry
from .slot import FramePool, Waiting
from .stats import Mark, SessionStats

LATELY_S = 5.0  # the frame rate is measured over so long
ARRIVALS = 256
REFRESH_S = 1.0
MOST_WATCHES = 256  # the engine's own bound is in its settings
if TYPE_CHECKING:
    from .feeder import Feeder

Command = tuple[Callable[[], object], "Future[object]"]


class Lane:
    """Hold what waits for one session, and its books.

    Its books are changed under the engine's lock only; the session and its standing questions are the device thread's.
    """

    def __init__(self, session_id: str, session: Session, origin_unix_us: int) -> None:
        self.id, self.origin_unix_us = session_id, origin_unix_us
        self.seeing = threading.Lock()
        self.listeners: list[Listener] = []
        self.feeders: list[Feeder] = []
        self.commands: deque[Command] = deque()
        self.unread: deque[Inquiry] = deque()
        self.slot: Waiting | None = None
        self.waits_since = 0.0  # when the slot was filled; newer frames that take it over wait no shorter for that
        self.working = False  # a frame is out of the slot and not counted yet
        self.writing = 0  # frames that are being copied
        self.pool = FramePool()
        self.watchers: dict[str, Listener | None] = {}
        self.dirty = False  # a keyframe was kept since conditions were checked
        self.closed = False
        self.away = session.last_us is not None  # it was closed between what it remembers and its next frame
        self.served = 0  # the engine's turn at which a frame of it was last taken in
        self.answering = 0
        self.marks: tuple[Mark, ...] = ()
        self.dropped: Counter[str] = Counter()
        self.last_us: int | None = session.last_us  # of the newest frame that was accepted
        self.now_us: int | None = session.last_us  # of the newest frame that was taken in
        self.next_seq = 0
        self._session: Session | None = session
        self._watcher: Watcher | None = None
        self._received = self._taken = self._kept = self._checks = 0
        self._seen_arrived: float | None = None
        self._forgotten: frozenset[tuple[int, int]] = frozenset()
        self._untold: dict[DropReason, tuple[int, int]] = {}
        self._told: dict[DropReason, float] = {}
        self._arrivals: deque[float] = deque(maxlen=ARRIVALS)
        self._memory = SessionStats()
        self._refreshed = 0.0

    @property
    def session(self) -> Session:
        """The session itself, for the device's thread.  Raises SettingsError when it is closed."""
        if self._session is None:
            raise SettingsError("the session is closed; open a new one with engine.session()")
        return self._session

    @property
    def watcher(self) -> Watcher:
        """Its standing questions, for the device's thread."""
        if self._watcher is None:
            self._watcher = Watcher(self.session, most=MOST_WATCHES)
        return self._watcher

    @property
    def figures(self) -> dict[str, int]:
        """The counts that an engine adds up."""
        return {
            "opened": 1,
            "received": self._received,
            "taken": self._taken,
            "kept": self._kept,
            "checks": self._checks,
        }

    @property
    def questions(self) -> int:
        """How many questions wait or are being answered."""
        return len(self.unread) + self.answering

    def arrive(self, waiting: Waiting) -> None:
        """Put a frame into the slot, in place of one that waits."""
        before, self.slot = self.slot, waiting
        if before is None:
            self.waits_since = waiting.arrived
        elif before.after_gap:
            self.slot = replace(waiting, after_gap=True)
        self.last_us = waiting.frame.time_us
        if before is not None:
            self.drop("busy", before.frame.seq)
            self.release(before)

    def count(self, now: float) -> None:
        """Count a frame that came."""
        self._received += 1
        self._arrivals.append(now)

    def drop(self, reason: DropReason, seq: int) -> None:
        """Count a frame that was not taken in."""
        self.dropped[reason] += 1
        count, _ = self._untold.get(reason, (0, 0))
        self._untold[reason] = (count + 1, seq)

    def release(self, waiting: Waiting) -> None:
        """Take the array of a frame that is done with back."""
        if waiting.lent:
            self.pool.give_back(waiting.frame.image)

    def news(self, now: float) -> list[FramesDropped]:
        """Give what is to be told of drops: at most one event a second and reason."""
        found = []
        for reason in [one for one in self._untold if now - self._told.get(one, -REFRESH_S) >= REFRESH_S]:
            count, seq = self._untold.pop(reason)
            self._told[reason] = now
            found.append(FramesDropped(reason, count, seq))
        return found

    def refresh(self, now: float, least_s: float = REFRESH_S) -> list[SessionEvent]:
        """Look at the memory again when that was least_s ago; say what it forgot.  For the device's thread."""
        if now - self._refreshed < least_s:
            return []
        self._refreshed = now
        held = self.session.memory
        self._memory = SessionStats(
            span_us=self.session.span_us,
            used_bytes=held.used_bytes,
            disk_bytes=held.disk_bytes,
            tokens=held.tokens,
        )
        forgotten = frozenset((one.start_us, one.end_us) for one in held.forgotten)
        new = tuple(sorted(forgotten - self._forgotten))
        self._forgotten = forgotten
        return [MemoryForgot(new)] if new else []

    def check(self) -> list[WatchFired | WatchCleared]:
        """Check the conditions of standing questions.  For the device's thread."""
        self._checks += 1
        arrived = time.monotonic() if self._seen_arrived is None else self._seen_arrived
        found: list[WatchFired | WatchCleared] = []
        for one in self.watcher.check():
            if isinstance(one, Fired):
                latency_ms = (time.monotonic() - arrived) * 1e3
                found.append(WatchFired(one.watch_id, one.condition, one.time_us, latency_ms, one.text, one.thumbnail))
            else:
                found.append(WatchCleared(one.watch_id, one.condition, one.time_us))
        return found

    def stats(self) -> SessionStats:
        """Give the books as they are."""
        now = time.monotonic()
        lately = [arrived for arrived in self._arrivals if now - arrived <= LATELY_S]
        pinned = sum(inquiry.pinned is not None for inquiry in self.unread)
        return replace(
            self._memory,
            received=self._received,
            taken=self._taken,
            kept=self._kept,
            dropped=dict(self.dropped),
            waiting=(self.slot is not None) + pinned + self.working + self.writing,
            fps=len(lately) / max(now - lately[0], 1.0) if lately else 0.0,
            age_us=None if self._seen_arrived is None else round((now - self._seen_arrived) * 1e6),
            now_us=self.now_us,
            questions=self.questions,
            watches=len(self.watchers),
        )

    @property
    def balanced(self) -> bool:
        """Whether every frame that came is accounted for."""
        stats = self.stats()
        return stats.received == stats.taken + sum(stats.dropped.values()) + stats.waiting

    def let_go(self) -> None:
        """Hold nothing of the session any more; the books stay."""
        self._session = self._watcher = None
        self.slot, self.marks = None, ()
        self.watchers.clear()
        self.listeners.clear()
        self.pool = FramePool()
        while self.commands:
            _, done = self.commands.popleft()
            done.cancel()

    def tell(self, event: SessionEvent) -> None:
        """Tell everyone who listens."""
        for listener in tuple(self.listeners):
            hand(event, listener)

    def begin_frame(self) -> Waiting | None:
        """Take the frame out of the slot, to be taken in."""
        waiting, self.slot = self.slot, None
        self.working = waiting is not None
        return waiting

    def end_frame(self, waiting: Waiting, kept: bool, failure: DropReason | None) -> None:
        """Count a frame that was taken in, or that failed."""
        self.working = False
        if failure is None:
            self._taken += 1
            self._kept += kept
            self.dirty |= kept
            self._seen_arrived, self.now_us = waiting.arrived, waiting.frame.time_us
        else:
            self.drop(failure, waiting.frame.seq)
        self.release(waiting)
