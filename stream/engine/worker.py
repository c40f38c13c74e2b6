"""The worker: the thread that owns the device, and the steps that it does.

Whatever goes wrong in a step stays with the session that it was done for.
"""

import logging
import threading
import time
import weakref
from collections import Counter, deque

from ...answer import Answer
from ...errors import SourceError
from ..session import Session
from .events import DropReason, Ending, SessionFailed, hand
from .failures import code_of, message_of
from .inquiry import Inquiry
from .lane import Lane
from .schedule import Answering, Schedule, Step
from .settings import EngineSettings
from .slot import Waiting

TICK_S = 0.25
"""How often deadlines are looked at, and news of drops told, while nothing else happens."""

_logger = logging.getLogger(__name__)


class Worker:
    """Do the engine's steps, one after the other.

    lock: of all books; no step is done under it.  lanes: open sessions by id.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.lock = threading.Condition()
        self.lanes: dict[str, Lane] = {}
        self.decoding: deque[Answering] = deque()
        self.answers: Counter[str] = Counter()
        self.busy_s = 0.0
        self.gone: list[weakref.ref[Session]] = []
        self.stopping = False
        self._schedule = Schedule(settings)
        self._turn = 0
        self._thread = threading.Thread(target=self._run, name="onlooker-engine", daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether it is the worker's thread that asks."""
        return threading.current_thread() is self._thread

    def stop(self, timeout_s: float | None) -> bool:
        """Stop when nothing is left to do; say whether that came within timeout_s."""
        with self.lock:
            self.stopping = True
            self.lock.notify_all()
        if not self.is_current:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self.lock:
                step = self._schedule.next(self.lanes.values(), self.decoding, time.monotonic())
                while step is None and not self.stopping:
                    self.lock.wait(TICK_S)
                    step = self._schedule.next(self.lanes.values(), self.decoding, time.monotonic())
                if step is None:
                    return
                ready = self._prepare(step)
            began = time.perf_counter()
            try:
                self._do(step, ready)
            except Exception:
                _logger.exception("a step of the engine failed")  # a listener that raises: the thread must live on
            self.busy_s += time.perf_counter() - began

    def _prepare(self, step: Step) -> Waiting | Inquiry | Answering | None:
        """Take out of the books what a step works on, under the lock."""
        lane = step.lane
        if lane is None:
            return self.decoding.popleft()
        if step.kind == "overdue" and step.inquiry is not None:
            lane.unread.remove(step.inquiry)
            return step.inquiry
        if step.kind == "read":
            lane.answering += 1
            inquiry = lane.unread.popleft()
            lane.working = inquiry.pinned is not None
            return inquiry
        if step.kind == "frame":
            self._turn += 1
            lane.served = self._turn
            return lane.begin_frame()
        if step.kind == "check":
            lane.dirty = False
        return None

    def _do(self, step: Step, ready: Waiting | Inquiry | Answering | None) -> None:
        lane = step.lane
        if isinstance(ready, Answering):
            self._decode(ready)
        elif lane is None:
            return
        elif isinstance(ready, Waiting):
            self._see(lane, ready)
        elif isinstance(ready, Inquiry):
            if step.kind == "read":
                self._read(lane, ready)
            else:
                self._drop(lane, ready)
        elif step.kind == "command":
            _command(lane, self.lock)
        elif step.kind == "check":
            self._check(lane)
        else:
            for event in step.news:
                lane.tell(event)

    def _see(self, lane: Lane, waiting: Waiting) -> None:
        """Take a frame in."""
        kept, failure, told = False, None, None
        try:
            kept = lane.session.see(waiting.frame, after_gap=waiting.after_gap)
        except SourceError:
            failure = "bad_image"
        except Exception as error:  # noqa: BLE001 - another session's frames must go on
            failure, told = "failed", SessionFailed(code_of(error), message_of(error))
        now = time.monotonic()
        reason: DropReason | None = None if failure is None else "bad_image" if failure == "bad_image" else "failed"
        with self.lock:
            lane.end_frame(waiting, kept, reason)
            news = lane.news(now)
        try:
            memory_news = lane.refresh(now)
        except Exception as error:  # noqa: BLE001 - whoever waits for this session must not wait for ever
            memory_news, told = [], told or SessionFailed(code_of(error), message_of(error))
        for event in (*news, *memory_news, *([told] if told else [])):
            lane.tell(event)

    def _read(self, lane: Lane, inquiry: Inquiry) -> None:
        """Take the pinned frame in, then read the question."""
        pinned, inquiry.pinned = inquiry.pinned, None
        if pinned is not None:
            self._see(lane, pinned)
        if inquiry.is_over(time.monotonic()):
            self._leave(lane)
            self._drop(lane, inquiry)
            return
        since_us, until_us = inquiry.range_us
        try:
            stream = lane.session.ask_stream(
                inquiry.question, since_us=since_us, until_us=until_us, sampling=inquiry.sampling
            )
        except Exception as error:  # noqa: BLE001 - another session's questions must go on
            self._leave(lane)
            self.end(inquiry, _nothing(lane, inquiry), "failed", code_of(error), message_of(error))
            return
        with self.lock:
            self.decoding.append(Answering(lane, inquiry, stream))
        inquiry.begin(stream.answer.asked_at_us)

    def _decode(self, turn: Answering) -> None:
        """Decode one token, or what a piece of text takes."""
        inquiry, stream = turn.inquiry, turn.stream
        ending: Ending = "cancelled" if inquiry.cancelled else "deadline"
        failure: Exception | None = None
        if inquiry.is_over(time.monotonic()):
            stream.close()
        else:
            try:
                piece = next(stream, None)
            except Exception as error:  # noqa: BLE001 - another session's questions must go on
                stream.close()
                ending, failure = "failed", error
            else:
                if piece is not None:
                    with self.lock:
                        self.decoding.append(turn)
                    inquiry.piece(piece)
                    return
                ending = "cancelled" if inquiry.cancelled and stream.answer.status == "cancelled" else "completed"
        self._leave(turn.lane)
        code, message = ("", "") if failure is None else (code_of(failure), message_of(failure))
        self.end(inquiry, stream.answer, ending, code, message)

    def _leave(self, lane: Lane) -> None:
        with self.lock:
            lane.answering -= 1

    def _drop(self, lane: Lane, inquiry: Inquiry) -> None:
        """End a question that was not read."""
        self.end(inquiry, _nothing(lane, inquiry), "cancelled" if inquiry.cancelled else "deadline")

    def end(self, inquiry: Inquiry, answer: Answer, ending: Ending, code: str = "", message: str = "") -> None:
        """End a question and count it."""
        with self.lock:
            self.answers[ending] += 1
        inquiry.end(answer, ending, code, message)

    def _check(self, lane: Lane) -> None:
        """Look whether the conditions of standing questions hold now."""
        try:
            found = lane.check()
        except Exception as error:  # noqa: BLE001 - another session must go on
            lane.tell(SessionFailed(code_of(error), message_of(error)))
            return
        for event in found:
            listener = lane.watchers.get(event.watch_id)
            if listener is None:
                lane.tell(event)
            else:
                hand(event, listener)

    def clear(self, lane: Lane) -> None:
        """End all that a session has and close it; for a command of it.

        Frames that it accepted are taken in first.  Raises what Session.close() raises; it is gone all the same.
        """
        with self.lock:
            ours = [turn for turn in self.decoding if turn.lane is lane]
            self.decoding = deque(turn for turn in self.decoding if turn.lane is not lane)
            unread, lane.unread = list(lane.unread), deque()
            lane.answering = 0
        try:
            for turn in ours:
                turn.inquiry.cancel()
                turn.stream.close()
                self.end(turn.inquiry, turn.stream.answer, "cancelled")
            for inquiry in unread:
                inquiry.cancel()
                if inquiry.pinned is not None:
                    with self.lock:
                        lane.working = True
                    self._see(lane, inquiry.pinned)
                self._drop(lane, inquiry)
            with self.lock:
                waiting = lane.begin_frame()
            if waiting is not None:
                self._see(lane, waiting)
        finally:
            session = lane.session
            try:
                session.close()
            finally:
                with self.lock:
                    self.gone = [*(one for one in self.gone if one() is not None), weakref.ref(session)]
                    self.lanes.pop(lane.id, None)
                    lane.let_go()


def _command(lane: Lane, lock: threading.Condition) -> None:
    """Do what a caller waits for."""
    with lock:
        work, done = lane.commands.popleft()
    if not done.set_running_or_notify_cancel():
        return
    try:
        done.set_result(work())
    except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the result
        done.set_exception(error)


def _nothing(lane: Lane, inquiry: Inquiry) -> Answer:
    """Give the answer of a question that was not read."""
    return Answer(inquiry.question, "", "cancelled", asked_at_us=lane.now_us or 0)
