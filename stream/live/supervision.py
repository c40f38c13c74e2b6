"""The threads behind a live source: one connects and reads, another sees to it that it goes on for ever."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...errors import OnlookerError
from ...frame import Frame
from ..sampler import FrameSampler
from .backoff import Backoff
from .failure import Failure, FeedError
from .feed import Connection, Feed, Pause
from .frame_clock import FrameClock
from .health import Health
from .limits import LiveLimits
from .mailbox import Mailbox
from .status import SourceStatus

StatusListener = Callable[[SourceStatus], None]

_MOST_HUNG = 3
_MOST_UNTOLD = 64  # changes that wait for a listener that does not return

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Run:
    """One connection, from the first try to its end; written by its worker.

    progressed: when it last did, by the clock that stands still in sleep.
    """

    progressed: float
    done: bool = False
    failure: Failure | None = None
    decoder: str = ""


@dataclass(frozen=True, slots=True)
class Newest:
    """Hold the newest frame and when it arrived, in seconds of the monotonic clock."""

    frame: Frame
    arrived: float


@dataclass(slots=True)
class Tally:
    """Count what came of frames.  offered: those that the frame rate let through."""

    offered: int = 0
    decoder: str = ""
    size: tuple[int, int] = (0, 0)
    newest: Newest | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)


class Supervision:
    """Keep a feed connected, and put its frames into a mailbox.

    A worker's thread holds one connection: it connects, reads, and ends when that breaks.  The supervisor's thread
    starts workers, waits between them, calls the listener on every change of state, and gives up a worker whose call
    into a decoder or driver does not return: its thread is left behind and its frames are ignored, so that neither
    coming back nor closing ever waits for it.

    clock: monotonic seconds, with those that the machine sleeps.  awake: without them; calls hang by it.  pause: waits
    so many seconds and says whether to stop; None waits on the real clock.
    """

    def __init__(
        self,
        feed: Feed,
        sampler: FrameSampler,
        *,
        start_us: int,
        listener: StatusListener | None,
        limits: LiveLimits,
        backoff: Backoff,
        clock: Callable[[], float],
        awake: Callable[[], float],
        pause: Pause | None,
    ) -> None:
        self.feed, self.mailbox, self.tally = feed, Mailbox[Frame](), Tally(size=feed.size)
        self._sampler, self._listener, self._limits, self._backoff = sampler, listener, limits, backoff
        self._clock, self._awake, self._opened, self._start_us = clock, awake, clock(), start_us
        self._stopping, self._woken, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._pause: Pause = self._stopping.wait if pause is None else pause
        self._health = Health(limits.stale_s)
        self.frame_clock = FrameClock(feed.stamped, start_us - 1)
        self._run: _Run | None = None
        self._noted: tuple[str, Failure | None] | None = None
        self._untold: deque[SourceStatus] = deque(maxlen=_MOST_UNTOLD)
        self._workers: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._supervise, name=f"onlooker-live-{feed.name}", daemon=True)
        self._thread.start()

    def now_us(self) -> int:
        """Give the stream time."""
        return self._start_us + round((self._clock() - self._opened) * 1e6)

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    def status(self) -> SourceStatus:
        """Give the state now."""
        with self._lock:
            now = self._clock()
            self._health.look(now, self.feed.name)
            self._note()
            return self._health.status(now, self.mailbox.replaced)

    def stop(self) -> None:
        """Tell all threads to end, and free what waits; returns at once."""
        with self._lock:
            self._health.ended(self._health.failure)
            self._note()
        self._stopping.set()
        self._woken.set()
        self.mailbox.close()
        with self.tally.changed:
            self.tally.newest = None
            self.tally.changed.notify_all()

    def join(self) -> bool:
        """Wait for the threads to end, for a bounded time; say whether they have."""
        until = time.monotonic() + self._limits.close_s
        threads = [thread for thread in (self._thread, *self._workers) if thread is not threading.current_thread()]
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    # The supervisor's thread.

    def _supervise(self) -> None:
        while not self._stopping.is_set():
            run = self._begin()
            self._attend(run)
            with self._lock:
                self._run = None  # from here on nothing counts that it brings
                failure, now = run.failure, self._clock()
                if self._stopping.is_set():
                    break
                if failure is None:
                    self._health.ended()
                    self._note()
                    break
                self._backoff.held(self._health.held_s(now))
                retry_s = self._backoff.delay_s(slow=failure.hopeless)
                self._health.broke(failure, now, retry_s)
                self._note()
            self._tell()
            if self._pause(retry_s):
                break
            self._let_go()
        self.mailbox.finish()
        with self._lock:
            self._health.ended(self._health.failure)
            self._note()
        with self.tally.changed:
            self.tally.changed.notify_all()
        self._tell()

    def _begin(self) -> _Run:
        run = _Run(self._awake())
        with self._lock:
            self._run = run
            self._health.connecting()
            self._note()
            self.frame_clock.restart(self.feed.stamped)
        self._tell()
        worker = threading.Thread(target=self._work, args=(run,), name=f"onlooker-read-{self.feed.name}", daemon=True)
        self._workers.append(worker)
        worker.start()
        return run

    def _attend(self, run: _Run) -> None:
        """Watch over a worker until it ends, or hangs."""
        while not run.done and not self._stopping.is_set():
            self._woken.wait(self._limits.tick_s)
            self._woken.clear()
            now = self._clock()
            with self._lock:
                self._health.look(now, self.feed.name)
                self._note()
            self._tell()
            if self._awake() - run.progressed > self._limits.hang_s and not run.done:
                run.failure = Failure.of(
                    "timeout",
                    f"{self.feed.name}: a call to open or read it has not returned for {self._limits.hang_s:g} s",
                    "unplug a camera and plug it in again if this goes on; it is opened anew by itself",
                )
                return

    def _let_go(self) -> None:
        """Forget workers that have ended; with too many that hang, wait for one of them."""
        while True:
            self._workers = [worker for worker in self._workers if worker.is_alive()]
            if len(self._workers) < _MOST_HUNG or self._stopping.is_set():
                return
            if self._pause(self._limits.hang_s):
                return

    def _note(self) -> None:
        """Keep the state for the listener if it or the reason has changed; the lock is held."""
        now = (self._health.state, self._health.failure)
        if now != self._noted:
            self._noted = now
            self._untold.append(self._health.status(self._clock(), self.mailbox.replaced))

    def _tell(self) -> None:
        """Tell the listener of every change, in order."""
        while self._untold:
            status = self._untold.popleft()
            if self._listener is not None:
                try:
                    self._listener(status)
                except Exception:  # a listener's mistake must not end the source
                    _logger.exception("%s: whoever listens to its state raised an error", self.feed.name)

    # A worker's thread.

    def _work(self, run: _Run) -> None:
        try:
            connection = self.feed.connect(self.now_us, self._pause_of(run))
            try:
                run.decoder = connection.decoder
                self._read(run, connection)
            finally:
                connection.close()
        except FeedError as trouble:
            run.failure = run.failure or trouble.failure
        except OnlookerError as error:
            run.failure = run.failure or Failure("codec", str(error))
        except Exception as error:  # whatever it is, the source comes back
            _logger.exception("%s: reading it failed", self.feed.name)
            run.failure = run.failure or Failure.of(
                "unknown", f"{self.feed.name}: {type(error).__name__} in reading it"
            )
        finally:
            run.done = True
            self._woken.set()

    def _pause_of(self, run: _Run) -> Pause:
        def pause(seconds: float) -> bool:
            run.progressed = self._awake() + seconds  # waiting on purpose is no hanging
            return self._pause(seconds)

        return pause

    def _read(self, run: _Run, connection: Connection) -> None:
        while not self._stopping.is_set():
            run.progressed = self._awake()
            arrival = connection.advance()
            if arrival is None:
                return
            with self._lock:
                if self._run is not run:
                    return
                first = self._health.state != "live"
                self._health.arrived(self._clock())
                self._note()
                self.tally.decoder = run.decoder
                if self.feed.exact and arrival.stamp_us is not None:
                    time_us = arrival.stamp_us
                else:
                    time_us = self.frame_clock.place(self.now_us(), arrival.stamp_us)
                wanted = self._sampler.wants(time_us)
            if first:
                self._woken.set()
            if wanted:
                self._offer(run, connection.picture(), time_us)

    def _offer(self, run: _Run, picture: NDArray[np.generic], time_us: int) -> None:
        tally = self.tally
        frame = Frame.from_array(picture, time_us, tally.offered, self.feed.name)
        with self._lock:
            if self._run is not run or self._stopping.is_set():
                return
            self.mailbox.put(frame)
            with tally.changed:
                tally.offered += 1
                tally.size = (frame.image.shape[1], frame.image.shape[0])
                tally.newest = Newest(frame, self._clock())
                tally.changed.notify_all()
