"""An answer on its way: text piece by piece, then the whole answer with its evidence and timings."""

import time
from collections.abc import Iterator

from ..answer import Answer, Evidence, Status
from ..models.backbone import Backbone, Sampling
from ..models.decoding import Decoding
from .reading import Reading

NOTHING_YET = "Nothing has been seen yet."
NOT_REMEMBERED = "not seen"


class AnswerStream(Iterator[str]):
    """Yield an answer's text in pieces; `answer` is whole when the pieces end, or as far as it came after close().

    The pieces join to the answer's text, but for white space at its ends.  For one thread; close() may be called from
    any.
    """

    def __init__(
        self,
        backbone: Backbone,
        question: str,
        now_us: int,
        asked: float,
        reading: Reading | None,
        sampling: Sampling,
        forgotten_us: tuple[tuple[int, int], ...],
    ) -> None:
        self._question, self._now_us, self._asked = question, now_us, asked
        self._forgotten = forgotten_us
        self._text: list[str] = []
        self._first_token = self._done = 0.0
        self._status: Status = "cancelled"
        self._evidence: tuple[Evidence, ...] = ()
        self._timings = {"read_ms": (time.perf_counter() - asked) * 1e3}
        self._usage = {"context_tokens": 0, "question_tokens": 0, "recalled_tokens": 0}
        self._answer_ids: list[int] = []
        self._pieces: Iterator[str] = iter((NOTHING_YET,))
        self._decoding: Decoding | None = None
        if reading is not None:
            decoding = backbone.generate(
                reading.features, reading.positions, reading.context, sampling, select=reading.select
            )
            self._pieces = self._decoding = decoding
            self._answer_ids = decoding.token_ids
            self._evidence = reading.evidence
            self._timings |= reading.timings
            self._usage = {
                "context_tokens": reading.context_tokens,
                "question_tokens": len(reading.features),
                "recalled_tokens": reading.recalled_tokens,
            }

    def __next__(self) -> str:
        if self._done:
            raise StopIteration
        try:
            piece = next(self._pieces, None)
        except BaseException:
            self.close()
            raise
        if not self._first_token:
            self._first_token = time.perf_counter()
        if piece is None:
            if not self._done:  # else another thread closed it meanwhile
                self._finish()
            raise StopIteration
        self._text.append(piece)
        return piece

    def close(self) -> None:
        """Stop decoding; the answer's status is then "cancelled".  Does nothing when the answer is whole."""
        if not self._done:
            self._done = time.perf_counter()
        decoding = self._decoding
        if decoding is not None:
            decoding.close()  # another thread may be in the middle of a piece of many tokens
        self._release()

    def _finish(self) -> None:
        decoding = self._decoding
        if not self._evidence or "".join(self._text).strip() == NOT_REMEMBERED:
            self._status, self._evidence = "not_remembered", ()
        else:
            self._status = "truncated" if decoding is not None and decoding.finish == "length" else "answered"
        self._done = time.perf_counter()
        self._release()

    def _release(self) -> None:
        """Let go of the context and the decoder's cache: an answer may be kept for long."""
        self._pieces, self._decoding = iter(()), None

    @property
    def answer(self) -> Answer:
        """The answer as far as it has come."""
        evidence = self._evidence
        first = {"first_token_ms": (self._first_token - self._asked) * 1e3 if self._first_token else 0.0}
        total = {"total_ms": ((self._done or time.perf_counter()) - self._asked) * 1e3}
        return Answer(
            question=self._question,
            text="".join(self._text).strip(),
            status=self._status,
            asked_at_us=self._now_us,
            refers_to_us=evidence[0].start_us if evidence else None,
            evidence=evidence,
            forgotten_us=self._forgotten,
            timings=self._timings | first | total,
            usage=self._usage | {"answer_tokens": len(self._answer_ids)},
        )
