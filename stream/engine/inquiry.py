"""An inquiry: a question on its way to an answer, for whoever asked it and for the engine."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from ...answer import Answer
from ...errors import OnlookerError, SettingsError
from ...models.backbone import Sampling
from .events import AnswerBegun, AnswerEnded, AnswerPiece, Ending, Listener, hand
from .slot import Waiting


class Inquiry(Iterator[str]):
    """Follow one question: iterate over the answer's text as it comes, or wait for result().

    All of it may be used from any thread.  pinned: the frame that waited when the question came; it is taken in before
    the question is read, and none that came later is.  inside: says whether it is the engine's thread that asks.
    """

    def __init__(
        self,
        question_id: str,
        question: str,
        range_us: tuple[int | None, int | None],
        sampling: Sampling,
        deadline_s: float,
        listener: Listener,
        pinned: Waiting | None,
        inside: Callable[[], bool] = lambda: False,
    ) -> None:
        self.id, self.question, self.range_us, self.sampling = question_id, question, range_us, sampling
        self.pinned = pinned
        self.asked = time.perf_counter()
        self.deadline = time.monotonic() + deadline_s
        self._listener, self._inside = listener, inside
        self._pieces: deque[str] = deque()
        self._changed = threading.Condition()
        self._ended: AnswerEnded | None = None
        self._cancelled = False
        self._queue_ms = 0.0

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._ended is not None

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled; it ends before the next token."""
        return self._cancelled

    def is_over(self, now: float) -> bool:
        """Say whether nothing more is to be done for it.  now: by time.monotonic()."""
        return self._cancelled or now >= self.deadline

    def cancel(self) -> None:
        """Stop it before the next token.  Does nothing when it has ended."""
        self._cancelled = True

    def result(self, timeout_s: float | None = None) -> AnswerEnded:
        """Wait for the end and say how it ended.

        Raises TimeoutError when that takes longer than timeout_s, SettingsError in a listener, for which the engine
        waits.
        """
        self._check_thread()
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended is not None, timeout_s):
                raise TimeoutError(f"no answer to {self.question!r:.80} within {timeout_s} s; cancel() stops it")
            assert self._ended is not None
            return self._ended

    @property
    def answer(self) -> Answer:
        """The whole answer; waits for it.  Raises OnlookerError where answering failed."""
        ended = self.result()
        if ended.ending == "failed":
            raise OnlookerError(ended.message)
        return ended.answer

    def _check_thread(self) -> None:
        if self._ended is None and self._inside():
            raise SettingsError("a listener cannot wait for an answer, as the engine waits for it; use another thread")

    def __next__(self) -> str:
        self._check_thread()
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._ended is not None)
            if not self._pieces:
                raise StopIteration
            return self._pieces.popleft()

    def begin(self, asked_at_us: int) -> None:
        """Note that it was read (for the engine)."""
        self._queue_ms = (time.perf_counter() - self.asked) * 1e3
        hand(AnswerBegun(self.id, asked_at_us), self._listener)

    def piece(self, text: str) -> None:
        """Hand out a piece (for the engine)."""
        with self._changed:
            self._pieces.append(text)
            self._changed.notify_all()
        hand(AnswerPiece(self.id, text), self._listener)

    def end(self, answer: Answer, ending: Ending, code: str = "", message: str = "") -> None:
        """End it, once (for the engine)."""
        with self._changed:
            if self._ended is not None:
                return
            ended = AnswerEnded(self.id, answer, ending, self._queue_ms, code, message)
            self._ended = ended
            self._changed.notify_all()
        hand(ended, self._listener)
