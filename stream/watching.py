"""Watching: a source runs into a session, and questions are put at their moments of stream time."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..errors import SourceError, StorageError

if TYPE_CHECKING:
    from .session import Session
    from .source import Source

Reason = Literal["reached", "ended", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Name a time at which the questions are to be put.

    now_us: time of the last frame seen.  reason: "reached" when the stream got to the moment that was wanted, "ended"
    when it ended, "stopped" when it was told to, "failed" when the source or the memory's disk broke.  missed_us: the
    wanted moments that the stream never reached; they are answered now, together.  fresh: whether anything was seen
    since the last moment.
    """

    now_us: int
    reason: Reason
    missed_us: tuple[int, ...] = ()
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class WatchReport:
    """Count what was watched.  seconds: spent on it, the time between a moment and its return not counted."""

    frames: int
    keyframes: int
    now_us: int
    tokens: int
    memory_bytes: int
    seconds: float

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


class Watching:
    """Feed a source's frames to a session, and stop at each moment for whoever iterates over it.

    moments_us: stream times, in any order; none for the end of the source alone.  What is remembered at a moment
    comes from frames with time_us <= moment.  After the last moment nothing more is read; moments that the source does
    not reach become one moment at its end (a moment at most slack_us behind the last frame counts as reached).  When
    stop is set, the frame in work is the last; when the source raises SourceError or the session StorageError, a last
    moment comes first.
    on_frame is called after each frame.  Iterate once; the source is not closed here.
    """

    def __init__(
        self,
        session: "Session",
        source: "Source",
        moments_us: Sequence[int] = (),
        *,
        slack_us: int = 1_000_000,
        stop: threading.Event | None = None,
        on_frame: Callable[["Watching"], None] | None = None,
    ) -> None:
        self.session, self.source = session, source
        self._wanted = sorted(set(moments_us))
        self._at_end = not self._wanted
        self._slack_us, self._stop, self._on_frame = slack_us, stop or threading.Event(), on_frame
        self._before = (session.report.frames, session.report.keyframes)  # taken in by an earlier process
        self._asked_frames = -1  # how many frames had been seen when the last moment came
        self._seconds = 0.0
        self._since: float | None = None

    @property
    def now_us(self) -> int:
        """Time of the last frame seen."""
        return self.session.report.now_us

    @property
    def report(self) -> WatchReport:
        """What was watched so far."""
        seen, held = self.session.report, self.session.memory
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return WatchReport(
            seen.frames - self._before[0],
            seen.keyframes - self._before[1],
            seen.now_us,
            held.tokens,
            held.used_bytes,
            self._seconds + running,
        )

    def __iter__(self) -> Iterator[Moment]:
        failure: SourceError | StorageError | None = None
        self._since = time.perf_counter()
        try:
            for frame in self.source:
                while self._wanted and frame.time_us > self._wanted[0]:
                    self._wanted.pop(0)
                    yield from self._put("reached")
                if not (self._wanted or self._at_end) or self._stop.is_set():
                    break
                self.session.see(frame)
                if self._on_frame is not None:
                    self._on_frame(self)
                if self._stop.is_set():
                    break
        except (SourceError, StorageError) as error:
            failure = error
        reason: Reason = "failed" if failure else "stopped" if self._stop.is_set() else "ended"
        while reason == "ended" and self._wanted and self._wanted[0] <= self.now_us + self._slack_us:
            self._wanted.pop(0)
            yield from self._put("reached")
        if self._wanted or self._at_end:
            yield from self._put(reason)
        self._seconds, self._since = self.report.seconds, None
        if failure is not None:
            raise failure

    def _put(self, reason: Reason) -> Iterator[Moment]:
        """Stop the clock, give a moment, go on."""
        self._seconds, self._since = self.report.seconds, None
        frames = self.session.report.frames
        missed = () if reason == "reached" else tuple(self._wanted)
        yield Moment(self.now_us, reason, missed, fresh=frames != self._asked_frames)
        self._asked_frames, self._since = frames, time.perf_counter()
