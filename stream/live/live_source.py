"""A source that goes on for ever: it reconnects by itself, and its newest frame wins."""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from ...errors import SettingsError, SourceError
from ...frame import Frame
from ..sampler import FrameSampler
from ..source import SourceInfo, SourceReport
from .backoff import Backoff
from .feed import Feed, Pause
from .frame_clock import since_boot_s
from .limits import LiveLimits
from .status import SourceStatus
from .supervision import StatusListener, Supervision

_LOOK_S = 0.2
"""How often a waiting loop looks whether it was stopped, or whether its time is over."""


class LiveSource:
    """Deliver the frames of a feed as they come; what nobody took in time is dropped for the next.

    Making it returns at once, in state connecting; it connects, and comes back when it is lost, for ever, in threads
    of its own.  Nothing about a camera's trouble is raised: `status` says it, and `on_status` is told of every
    change, from one thread, in order.  Frames come by iterating, or by read(), next() and latest(), from any threads;
    each is handed out once, by whichever asks first (latest() takes nothing).

    Frame.time_us: microseconds since this was made, plus start_us; strictly increasing; a time without frames is a gap.
    Frame.seq: counts frames that were offered; one that is missing was dropped.
    fps: at most so many frames a second, by their times.  start_us: stream time of the first moment.  end_us: iterating
    ends there, though no frame comes.  stop: iterating ends when it is set.
    clock, awake, wall, pause, backoff: for tests.  awake: a clock that stands still while the machine sleeps; the one
    that is given as clock, where there is none.
    Raises SettingsError for a rate or a range outside its limits.
    """

    def __init__(
        self,
        feed: Feed,
        fps: float | None = None,
        *,
        start_us: int = 0,
        end_us: int | None = None,
        on_status: StatusListener | None = None,
        stop: threading.Event | None = None,
        limits: LiveLimits | None = None,
        backoff: Backoff | None = None,
        clock: Callable[[], float] | None = None,
        awake: Callable[[], float] | None = None,
        wall: Callable[[], float] = time.time,
        pause: Pause | None = None,
    ) -> None:
        if start_us < 0:
            raise SettingsError(f"a live source starts at {start_us} us; stream time starts at 0")
        sampler = FrameSampler(fps, start_us, end_us)
        if awake is None:
            awake = time.monotonic if clock is None else clock
        clock = since_boot_s if clock is None else clock
        self._feed, self._end_us, self._stop, self._clock = feed, end_us, stop or threading.Event(), clock
        self._origin_unix_us = round(wall() * 1e6) - start_us
        self._taking, self._delivered = threading.Lock(), 0
        self._source = Supervision(
            feed,
            sampler,
            start_us=start_us,
            listener=on_status,
            limits=limits or LiveLimits(),
            backoff=backoff or Backoff(),
            clock=clock,
            awake=awake,
            pause=pause,
        )
        # The threads do not know this object: if a caller just drops it, they end.
        self._abandon = weakref.finalize(self, self._source.stop)

    @property
    def name(self) -> str:
        """The word it was opened by, without credentials."""
        return self._feed.name

    @property
    def identity(self) -> str:
        """What tells it from other sources; a camera's password is no part of it."""
        return self._feed.identity

    @property
    def origin_unix_us(self) -> int:
        """Wall clock of stream time 0, in microseconds since 1970."""
        return self._origin_unix_us

    @property
    def now_us(self) -> int:
        """The stream time now."""
        return self._source.now_us()

    @property
    def info(self) -> SourceInfo:
        """The size of the newest frame, 0 before the first; a live source has no duration."""
        with self._source.tally.changed:
            return SourceInfo(self._feed.kind, *self._source.tally.size, None)

    @property
    def report(self) -> SourceReport:
        """What was delivered and decoded so far.  repaired: how often stamps could not be trusted."""
        received = self._source.status().received
        return SourceReport(
            self._delivered, received, self._source.frame_clock.repaired, self._source.tally.decoder or "none"
        )

    @property
    def status(self) -> SourceStatus:
        """How it does now."""
        return self._source.status()

    def __iter__(self) -> Iterator[Frame]:
        if self._source.stopping:
            raise SourceError(f"{self.name} was closed; open it again to read it again")
        try:
            while not self._stop.is_set():
                over = self._end_us is not None and self.now_us >= self._end_us
                frame = self._source.mailbox.take() if over else self._source.mailbox.wait(self._look_s())
                if frame is not None:
                    self._count()
                    yield frame
                elif over or self._source.mailbox.over:
                    return
        finally:
            self.close()

    def _look_s(self) -> float:
        left_s = _LOOK_S if self._end_us is None else (self._end_us - self.now_us) / 1e6
        return min(_LOOK_S, max(0.001, left_s))

    def read(self, timeout_s: float | None = None) -> Frame:
        """Wait for the next frame that comes from now on, and take it.

        Raises SourceError when none came in time, and when none will come any more.
        """
        tally = self._source.tally
        with tally.changed:
            before = tally.offered
            tally.changed.wait_for(lambda: tally.offered > before or self._source.mailbox.finished, timeout_s)
            newest = tally.newest if tally.offered > before else None
        if newest is None:
            raise self._nothing(f"no frame came within {timeout_s:g} s" if timeout_s is not None else "no frame came")
        self._source.mailbox.remove(newest.frame)
        self._count()
        return newest.frame

    def next(self, timeout_s: float | None = 0.2) -> Frame:
        """Take the newest frame that nobody took yet; wait for one if there is none.

        Raises SourceError when none came in time, and when none will come any more.
        """
        frame = self._source.mailbox.wait(timeout_s)
        if frame is None:
            raise self._nothing("no new frame came" + ("" if timeout_s is None else f" within {timeout_s:g} s"))
        self._count()
        return frame

    def latest(self, max_age_s: float = 0.5) -> Frame:
        """Give the newest frame, taken or not, at once, and leave it there.

        Raises SourceError when there is none, and when it is older than max_age_s.
        """
        newest = self._source.tally.newest
        if newest is None:
            raise self._nothing("no frame has come yet")
        age_s = self._clock() - newest.arrived
        if age_s > max_age_s:
            raise self._nothing(f"its newest frame is {age_s:.2f} s old; the limit asked for is {max_age_s:g} s")
        return newest.frame

    def _nothing(self, what: str) -> SourceError:
        status = self.status
        more = f"{status.state}: {status.reason}" if status.reason else f"it is {status.state}"
        return SourceError(f"{self.name}: {what} ({more})")

    def _count(self) -> None:
        with self._taking:
            self._delivered += 1

    def close(self) -> None:
        """Stop, and wait for its threads a bounded time: one that hangs in a driver is left behind."""
        self._source.stop()
        self._source.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
