"""A live session: one stream that is fed and asked from any threads, none of which waits for the model to see."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, cast

from numpy.typing import ArrayLike

from ...answer import Answer
from ...errors import BusyError, SettingsError
from ...frame import Frame
from ...models.backbone import Sampling
from ..session import MOST_US, checked
from .events import DropReason, Listener, SessionEvent
from .feeder import Feeder
from .inquiry import Inquiry
from .lane import Lane
from .origin import keep_marks, marked
from .slot import Waiting, write
from .stats import Mark, MemoryState, SessionStats

if TYPE_CHECKING:
    from ..live.live_source import LiveSource
    from .engine import Engine

MOST_EVENTS = 1024
"""How many events wait for someone who iterates over events(); older ones go first."""

T = TypeVar("T")


class LiveSession:
    """Feed and ask one stream of an engine.  Made by engine.session(); all of it may be used from any thread.

    id: names it in the engine.  name: for people.  origin_unix_us: the wall clock at stream time 0, µs since 1970; a
    memory in a folder keeps it.
    """

    def __init__(self, engine: "Engine", lane: Lane, name: str) -> None:
        self._engine, self._lane, self._lock = engine, lane, engine.worker.lock
        self.id, self.name, self.origin_unix_us = lane.id, name, lane.origin_unix_us
        self.settings = lane.session.settings
        self._numbers = itertools.count(1)
        self._steady_us = time.time_ns() // 1000 - round(time.monotonic() * 1e6)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._lane.closed

    def see(
        self,
        frame: Frame | ArrayLike,
        time_us: int | None = None,
        *,
        captured_unix_us: int | None = None,
        copy: bool = True,
        after_gap: bool = False,
    ) -> bool:
        """Hand over the next frame and return at once; say whether it was accepted.

        It waits in a slot for the model; a newer one that comes first takes its place, and it is counted as dropped.
        frame: a Frame, or a picture [H, W], [H, W, 1, 3 or 4].  Its stream time is time_us, else captured_unix_us (µs
        since 1970) less the origin, else a Frame's own, else that of now.  copy: False where its array is not written
        to any more.  after_gap: the stream was away before it, so what was seen last is not taken to have lasted until
        it.  Not accepted: a time that is not later than the last one's, or a session that is closed.
        Raises SourceError for what is no picture.
        """
        now = time.monotonic()
        if isinstance(frame, Frame):
            time_us = frame.time_us if time_us is None and captured_unix_us is None else time_us
        else:
            frame = Frame.from_array(frame, 0, -1)
        clocked = time_us is None and captured_unix_us is None
        if time_us is None:
            # By the steady clock: a wall clock that is set back must not make all frames late.
            unix_us = round(now * 1e6) + self._steady_us if captured_unix_us is None else captured_unix_us
            time_us = unix_us - self.origin_unix_us
        with self._lane.seeing:  # two threads that see at once must not overtake each other
            return self._put(frame, time_us, clocked, now, copy, after_gap)

    def _put(self, frame: Frame, time_us: int, clocked: bool, now: float, copy: bool, after_gap: bool) -> bool:
        lane, lock = self._lane, self._lock
        with lock:
            if lane.closed:
                return False
            lane.count(now)
            seq = lane.next_seq if frame.seq < 0 else frame.seq
            lane.next_seq = seq + 1
            last_us = lane.last_us
            if clocked and last_us is not None and time_us <= last_us:
                time_us = last_us + 1  # two threads within a microsecond, or a clock that was set back a little
            if (last_us is not None and time_us <= last_us) or abs(time_us) > MOST_US:
                lane.drop("late", seq)
                return False
            image = lane.pool.lend(frame.image.shape) if copy else frame.image
            lane.last_us = time_us
            lane.writing += 1
        if copy:
            write(frame.image, image)  # outside of the lock: nobody waits for it
        waiting = Waiting(Frame(image, time_us, seq, frame.source), now, copy, after_gap or lane.away)
        with lock:
            lane.writing -= 1
            if self.closed:
                lane.drop("failed", seq)
                return False
            lane.away = False
            lane.arrive(waiting)
            lock.notify_all()
        return True

    def belongs_to(self, identity: str, name: str) -> None:
        """Bind a memory in a folder to the source that is watched into it, as Session.belongs_to does."""
        self.run(lambda: self._lane.session.belongs_to(identity, name))

    @property
    def watches(self) -> dict[str, str]:
        """What is watched for: conditions by their ids."""
        lane = self._lane
        return self.run(lambda: {one.watch_id: one.text for one in lane.watcher.conditions} if lane.watchers else {})

    def count_dropped(self, reason: DropReason, count: int = 1, seq: int = 0) -> None:
        """Count frames that the caller itself left out, such as those that could not be decoded."""
        with self._lock:
            for _ in range(count):
                self._lane.count(time.monotonic())
                self._lane.drop(reason, seq)
            self._lock.notify_all()

    def tell(self, event: SessionEvent) -> None:
        """Tell all who subscribed of something that happened outside of the engine."""
        self._lane.tell(event)

    def watch_source(self, source: "LiveSource") -> None:
        """See a source's frames from a thread of its own until the session is closed; changes of its state are told.

        The source is closed with the session.
        """
        with self._lock:
            self._check_open()
            feeder = Feeder(self, source)
            self._lane.feeders.append(feeder)
            feeder.start()

    def ask(
        self,
        question: str,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
        sampling: Sampling | None = None,
        deadline_s: float | None = None,
    ) -> Answer:
        """Answer a question about what was seen so far; waits for it.

        An answer that its deadline cuts off has the status "cancelled".  Raises as submit() does, and OnlookerError
        where answering fails.
        """
        asked = self.submit(
            question, since_us=since_us, until_us=until_us, sampling=sampling, deadline_s=deadline_s, listener=_nobody
        )
        try:
            return asked.answer
        except BaseException:
            asked.cancel()  # a Ctrl-C here must not leave it decoding
            raise

    def submit(
        self,
        question: str,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
        sampling: Sampling | None = None,
        deadline_s: float | None = None,
        listener: Listener | None = None,
        question_id: str | None = None,
    ) -> Inquiry:
        """Put a question and return at once: iterate over the inquiry for the text, or wait for its result().

        What had been seen when it came is what counts.  since_us, until_us: read only this stretch of stream time.
        deadline_s: it ends then, as far as it came; by default the engine's.  listener: hears of it in place of those
        who subscribed.  Raises SettingsError for an empty question or range, or a closed session; BusyError where as
        many questions wait as may.
        """
        text = checked(question)
        if since_us is not None and until_us is not None and until_us <= since_us:
            raise SettingsError(f"the range ends at {until_us} us, not after its start at {since_us} us")
        settings, lane = self._engine.settings, self._lane
        if deadline_s is None:
            deadline_s = settings.deadline_s
        elif not deadline_s > 0.0:
            raise SettingsError(f"deadline_s is {deadline_s}; give more than 0 seconds")
        with self._lock:
            self._check_open()
            if len(lane.unread) >= settings.queued_questions:
                raise BusyError(
                    f"{len(lane.unread)} questions wait for this session; the limit is {settings.queued_questions}: "
                    "wait for an answer, or cancel one"
                )
            pinned, lane.slot = lane.slot, None
            inquiry = Inquiry(
                question_id or f"{self.id}-q{next(self._numbers)}",
                text,
                (since_us, until_us),
                sampling or Sampling(),
                deadline_s,
                listener or lane.tell,
                pinned,
                lambda: self._engine.worker.is_current,
            )
            lane.unread.append(inquiry)
            self._lock.notify_all()
        return inquiry

    def watch(
        self,
        condition: str,
        *,
        cooldown_s: float = 10.0,
        look_s: float = 0.0,
        listener: Listener | None = None,
        watch_id: str | None = None,
    ) -> str:
        """Watch for a condition; give the id by which WatchFired names it.

        cooldown_s: it does not fire again sooner.  look_s: keyframes of so long are looked at; 0 for the newest alone.
        Raises SettingsError for a condition that cannot be asked, BusyError where as many are watched as may be.
        """
        name = watch_id or f"{self.id}-w{next(self._numbers)}"
        lane, most = self._lane, self._engine.settings.max_watches

        def add() -> str:
            if len(lane.watchers) >= most:
                raise BusyError(f"{most} standing questions are watched for, which is the limit: remove one")
            if name in lane.watchers:
                raise SettingsError(f"a standing question {name!r} is there already; give another id")
            lane.watcher.add(name, condition, round(cooldown_s * 1e6), round(look_s * 1e6))
            with self._lock:
                lane.watchers[name] = listener
                lane.dirty = True
            return name

        return self.run(add)

    def unwatch(self, watch_id: str) -> bool:
        """Stop watching for a condition; say whether it was watched for."""
        lane = self._lane

        def remove() -> bool:
            if watch_id not in lane.watchers:
                return False
            lane.watcher.remove(watch_id)
            with self._lock:
                del lane.watchers[watch_id]
            return True

        return self.run(remove)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Hear of all that has no listener of its own; give the function that ends it."""
        with self._lock:
            self._check_open()
            self._lane.listeners.append(listener)

        def leave() -> None:
            with self._lock:
                if listener in self._lane.listeners:
                    self._lane.listeners.remove(listener)

        return leave

    def events(self, timeout_s: float | None = None) -> Iterator[SessionEvent]:
        """Iterate over what happens from now on, until the session is closed, or nothing happens for timeout_s."""
        waiting: deque[SessionEvent] = deque(maxlen=MOST_EVENTS)
        changed = threading.Condition()

        def hear(event: SessionEvent) -> None:
            with changed:
                waiting.append(event)
                changed.notify_all()

        leave = self.subscribe(hear)  # at once, not at the first next()
        return self._drain(waiting, changed, leave, timeout_s)

    def _drain(
        self,
        waiting: deque[SessionEvent],
        changed: threading.Condition,
        leave: Callable[[], None],
        timeout_s: float | None,
    ) -> Iterator[SessionEvent]:
        try:
            end = None if timeout_s is None else time.monotonic() + timeout_s
            while True:
                with changed:
                    while not waiting:
                        left = 0.25 if end is None else min(0.25, end - time.monotonic())
                        if self.closed or left <= 0.0:
                            return
                        changed.wait(left)
                    event = waiting.popleft()
                yield event
                end = None if timeout_s is None else time.monotonic() + timeout_s
        finally:
            leave()

    @property
    def stats(self) -> SessionStats:
        """The books as they are; memory's figures are at most a second old."""
        with self._lock:
            return self._lane.stats()

    def memory(self) -> MemoryState:
        """Look at what is remembered; waits for the step that the device is at."""
        lane = self._lane

        def look() -> MemoryState:
            laid = lane.session.timeline
            kept = [one for one in laid if one.kind != "forgotten"]
            span_us = (kept[0].start_us, kept[-1].end_us) if kept else None
            return MemoryState(lane.session.memory, span_us, laid, lane.marks)

        return self.run(look)

    def mark(self, label: str, time_us: int | None = None) -> Mark:
        """Put a label to a moment of the stream, by default to now.  It is kept with the memory.

        At the limit the earliest one goes.  Raises SettingsError for a label that is empty or too long, or where
        nothing was seen yet.
        """
        lane = self._lane

        def put() -> Mark:
            lane.marks, mark = marked(lane.marks, label, lane.now_us if time_us is None else time_us)
            keep_marks(lane.session, lane.marks)
            return mark

        return self.run(put)

    def forget(self, since_us: int | None = None, until_us: int | None = None, *, everything: bool = False) -> int:
        """Forget a stretch as Session.forget does, with the marks in it; give the number of keyframes that went."""
        lane = self._lane

        def let_go() -> int:
            count = lane.session.forget(since_us, until_us, everything=everything)
            lane.marks = tuple(
                mark
                for mark in lane.marks
                if (since_us is not None and mark.time_us < since_us)
                or (until_us is not None and mark.time_us >= until_us)
            )
            keep_marks(lane.session, lane.marks)
            for event in lane.refresh(time.monotonic(), 0.0):
                lane.tell(event)
            return count

        return self.run(let_go)

    def save(self) -> None:
        """Make what was taken in safe on the disk, as Session.save does."""
        self.run(self._lane.session.save)

    def note(self, key: str, words: bytes) -> None:
        """Keep a few words of the caller's own in the memory's folder, as Session.note does."""
        self.run(lambda: self._lane.session.note(key, words))

    def noted(self, key: str) -> bytes | None:
        """Give the words under a key; None where there are none."""
        return self.run(lambda: self._lane.session.noted(key))

    def close(self, timeout_s: float | None = None) -> None:
        """Stop its sources, end its questions, save its memory and give it back.

        Raises StorageError where saving fails; it is closed all the same.
        """
        self._engine.close_lane(self._lane, timeout_s)

    def run(self, work: Callable[[], T]) -> T:
        """Do something between two steps of the device's thread, and give what it gives."""
        if self._engine.worker.is_current:
            return work()
        done: Future[object] = Future()
        with self._lock:
            self._check_open()
            self._lane.commands.append((work, done))
            self._lock.notify_all()
        return cast(T, done.result())

    def _check_open(self) -> None:
        if self._lane.closed:
            raise SettingsError("the session is closed; open a new one with engine.session()")


def _nobody(event: SessionEvent) -> None:
    """Hear nothing."""
