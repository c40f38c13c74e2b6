"""The engine: one model, many sessions, and one thread that owns the device."""

import atexit
import gc
import itertools
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from types import TracebackType
from typing import Self

from ...errors import BusyError, IntegrityError, OnlookerError, SettingsError
from ...model import Model
from ...settings import Settings
from .lane import Lane
from .live_session import LiveSession
from .origin import marks_of, origin_of
from .settings import EngineSettings
from .stats import EngineReport
from .worker import Worker

MOST_CLOSERS = 32


class Engine:
    """Serve many sessions of one model, whose device one thread owns (schedule.py says in which order).

    Everything here and on its sessions may be used from any thread.  Sessions that are open when the program ends are
    closed, and so saved, then.
    """

    def __init__(self, model: Model, settings: EngineSettings | None = None) -> None:
        self.model, self.settings = model, settings or EngineSettings()
        self.worker = Worker(self.settings)
        self._numbers = itertools.count(1)
        self._closing = False
        self._opening = 0
        self._ended: Counter[str] = Counter()  # figures of sessions that are closed
        self._ended_drops: Counter[str] = Counter()
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def open_sessions(self) -> int:
        """How many sessions are open."""
        return len(self.worker.lanes)

    def session(
        self, settings: Settings | None = None, *, memory: str | Path | None = None, name: str = ""
    ) -> LiveSession:
        """Open a session, or go on with one that a folder remembers.

        Raises BusyError where as many are open as may be, StorageError as Session does, SettingsError when the engine
        is closed.
        """
        with self.worker.lock:
            if self._closing:
                raise SettingsError("the engine is closed; make a new one")
            if len(self.worker.lanes) + self._opening >= self.settings.max_sessions:
                raise BusyError(f"{self.settings.max_sessions} sessions are open, which is the limit: close one")
            self._opening += 1
            number = next(self._numbers)
        try:
            session = self.model.session(settings, memory=memory)
            try:
                lane = Lane(f"s{number}", session, origin_of(session, time.time_ns() // 1000))
                lane.marks = marks_of(session)
                lane.refresh(time.monotonic(), 0.0)
                with self.worker.lock:
                    if self._closing:
                        raise SettingsError("the engine was closed meanwhile; make a new one")
                    self.worker.lanes[lane.id] = lane
            except BaseException:
                session.close()
                raise
        finally:
            with self.worker.lock:
                self._opening -= 1
        return LiveSession(self, lane, name or lane.id)

    @property
    def report(self) -> EngineReport:
        """What was done so far."""
        worker = self.worker
        with worker.lock:
            lanes = list(worker.lanes.values())
            figures, drops = Counter(self._ended), Counter(self._ended_drops)
            for lane in lanes:
                figures.update(lane.figures)
                drops.update(lane.dropped)
            return EngineReport(
                sessions=len(lanes),
                sessions_opened=figures["opened"],
                questions=sum(lane.questions for lane in lanes),
                answers=dict(worker.answers),
                received=figures["received"],
                taken=figures["taken"],
                kept=figures["kept"],
                dropped=dict(drops),
                checks=figures["checks"],
                busy_s=worker.busy_s,
            )

    def check_integrity(self) -> None:
        """Raise IntegrityError when a closed session left something behind, or frames are not accounted for."""
        gc.collect()
        worker = self.worker
        with worker.lock:
            worker.gone = [one for one in worker.gone if one() is not None]
            if worker.gone:
                raise IntegrityError(f"{len(worker.gone)} sessions are closed, and something still holds their memory")
            for lane in worker.lanes.values():
                if not lane.balanced:
                    raise IntegrityError(f"frames of session {lane.id} are not accounted for: {lane.stats()}")
            for turn in worker.decoding:
                if turn.lane.closed or turn.inquiry.done:
                    raise IntegrityError(f"question {turn.inquiry.id} is decoded for nobody")

    def close(self, timeout_s: float | None = 30.0) -> None:
        """End all questions, save and close all sessions, stop the thread.  Does nothing when it is closed.

        Raises StorageError where a memory cannot be saved, after all others were; TimeoutError when the device does
        not come to an end.
        """
        with self.worker.lock:
            if self._closing:
                return
            self._closing = True
            lanes = list(self.worker.lanes.values())
        end = None if timeout_s is None else time.monotonic() + timeout_s
        # All at once: one whose camera or whose disk hangs must not keep the others.
        with ThreadPoolExecutor(MOST_CLOSERS, "onlooker-close") as pool:
            closing = list(pool.map(self._begin_close, lanes))
        failure: Exception | None = None
        for done in closing:
            try:
                self._end_close(done, _left(end))
            except (OnlookerError, TimeoutError) as error:
                failure = failure or error
        atexit.unregister(self.close)
        if not self.worker.stop(_left(end)) and not self.worker.is_current:
            raise TimeoutError(f"the model's thread did not end within {timeout_s} s")
        if failure is not None:
            raise failure

    def close_lane(self, lane: Lane, timeout_s: float | None = None) -> None:
        """Close a session: its sources stop, its questions end as cancelled, its memory is saved and given back.

        Raises StorageError as Session.close does, TimeoutError when the device takes longer; it is closed when it can.
        """
        self._end_close(self._begin_close(lane), timeout_s)

    def _begin_close(self, lane: Lane) -> "Future[object] | None":
        """Let a session be closed behind the step that the device is at; None where it is closed already."""
        done: Future[object] = Future()
        with self.worker.lock:
            if lane.closed:
                return None
            lane.closed = True
            feeders, lane.feeders = lane.feeders, []
            lane.commands.append((lambda: self._clear(lane), done))
            self.worker.lock.notify_all()
        for feeder in feeders:
            feeder.close()
        return done

    def _end_close(self, done: "Future[object] | None", timeout_s: float | None) -> None:
        if done is not None and not self.worker.is_current:  # else a listener closes it: it waits for its own step
            try:
                done.result(timeout_s)
            except FutureTimeoutError:
                raise TimeoutError(f"the model's thread was not free within {timeout_s} s to close a session") from None

    def _clear(self, lane: Lane) -> None:
        try:
            self.worker.clear(lane)
        finally:
            with self.worker.lock:
                self._ended.update(lane.figures)
                self._ended_drops.update(lane.dropped)


def _left(end: float | None) -> float | None:
    """Say how much time is left until a moment by time.monotonic()."""
    return None if end is None else max(0.0, end - time.monotonic())
