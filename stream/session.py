"""A session: one stream's memory, fed with frames and asked questions, from any threads."""

import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..answer import Answer, Evidence, Status
from ..errors import SettingsError, SourceError
from ..frame import Frame
from ..memory.archive import ArchiveStats
from ..models.backbone import Backbone, HeadId, Sampling
from ..settings import Settings
from .ingest import Ingest, IngestReport
from .reading import Reader, Reading

NOTHING_YET = "Nothing has been seen yet."
NOT_REMEMBERED = "not seen"


class Session:
    """Watch one stream and answer questions about it.

    Everything that belongs to the stream lives here; the backbone is shared and keeps none of it. see() and ask() may be
    called from different threads: they take turns at the memory, and an answer is decoded outside of the turn.
    """

    def __init__(
        self, backbone: Backbone, settings: Settings | None = None, heads: tuple[HeadId, ...] | None = None
    ) -> None:
        self.settings = settings or Settings()
        self.backbone = backbone
        self.heads = backbone.card.retrieval_heads if heads is None else heads
        self._ingest = Ingest(backbone, self.settings, self.heads)
        self._reader = Reader(self._ingest, self.heads)
        self._lock = threading.RLock()
        self._last_us: int | None = None
        self._began = time.monotonic()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget the stream and give its memory back; later calls raise SettingsError."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._ingest = Ingest(self.backbone, self.settings, self.heads)
                self._reader = Reader(self._ingest, self.heads)

    def see(self, frame: Frame | NDArray[np.generic], time_us: int | None = None) -> bool:
        """Take in the next frame; say whether it was kept as a keyframe.

        frame: a Frame, or a picture [H, W], [H, W, 1, 3 or 4] with time_us, its capture time in microseconds (default:
        the time since the session was made).  Raises SourceError when its time is not later than the last frame's.
        """
        if not isinstance(frame, Frame):
            moment = round((time.monotonic() - self._began) * 1e6) if time_us is None else time_us
            frame = Frame.from_array(frame, moment, self._ingest.report.frames)
        with self._lock:
            self._check_open()
            if self._last_us is not None and frame.time_us <= self._last_us:
                raise SourceError(
                    f"a frame of {frame.time_us} us came after one of {self._last_us} us; "
                    "give each frame a later time than the last, or start a new session for a new stream"
                )
            self._last_us = frame.time_us
            return self._ingest.see(frame)

    def ask(
        self,
        question: str,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
        sampling: Sampling | None = None,
    ) -> Answer:
        """Answer a question about what was seen so far.

        since_us, until_us: read only this stretch of stream time.  Raises SettingsError for an empty question or range.
        """
        stream = self.ask_stream(question, since_us=since_us, until_us=until_us, sampling=sampling)
        for _ in stream:
            pass
        return stream.answer

    def ask_stream(
        self,
        question: str,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
        sampling: Sampling | None = None,
    ) -> "AnswerStream":
        """Answer piece by piece: iterate over the text, then read `.answer`.  What was seen until now is what counts."""
        asked = time.perf_counter()
        text = " ".join(question.split())
        if not text:
            raise SettingsError("the question is empty; ask something, such as 'what is on the screen now?'")
        if since_us is not None and until_us is not None and until_us <= since_us:
            raise SettingsError(f"the range ends at {until_us} us, not after its start at {since_us} us")
        with self._lock:
            self._check_open()
            if self._last_us is None:
                return AnswerStream(self.backbone, text, 0, asked, None, sampling or Sampling(), ())
            reading = self._reader.read(text, since_us, until_us)
            now_us, forgotten = self._ingest.now_us, self._ingest.archive.forgotten
        gone = ()
        if forgotten is not None and (since_us is None or since_us < forgotten.end_us):
            gone = ((forgotten.start_us, forgotten.end_us),)
        return AnswerStream(self.backbone, text, now_us, asked, reading, sampling or Sampling(), gone)

    @property
    def report(self) -> IngestReport:
        """What was taken in so far."""
        return self._ingest.report

    @property
    def memory(self) -> ArchiveStats:
        """What is remembered, in true bytes."""
        with self._lock:
            return self._ingest.archive.stats()

    def _check_open(self) -> None:
        if self._closed:
            raise SettingsError("the session is closed; start a new one with model.session()")


class AnswerStream(Iterator[str]):
    """Yield an answer's text in pieces; `answer` is whole when the pieces end, or as far as it came after close()."""

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
        self._reading, self._forgotten = reading, forgotten_us
        self._text: list[str] = []
        self._first_token = self._done = 0.0
        self._read = time.perf_counter()
        self._status: Status = "cancelled"
        self._tokens = 0
        self._decoding = None
        if reading is not None:
            self._decoding = backbone.generate(reading.features, reading.positions, reading.context, sampling)

    def __next__(self) -> str:
        if self._done:
            raise StopIteration
        piece = next(self._decoding, None) if self._decoding is not None else None
        if not self._first_token:
            self._first_token = time.perf_counter()
        if self._decoding is None and not self._text:
            self._text.append(NOTHING_YET)
            return NOTHING_YET
        if piece is None:
            self._finish()
            raise StopIteration
        self._text.append(piece)
        return piece

    def close(self) -> None:
        """Stop decoding; the answer's status is then "cancelled"."""
        if not self._done:
            self._done = time.perf_counter()

    def _finish(self) -> None:
        self._done = time.perf_counter()
        reading = self._reading
        if reading is None or not reading.relevant or "".join(self._text).strip() == NOT_REMEMBERED:
            self._status = "not_remembered"
        elif self._decoding is not None and self._decoding.finish == "length":
            self._status = "truncated"
        else:
            self._status = "answered"

    @property
    def answer(self) -> Answer:
        """The answer as far as it has come."""
        reading = self._reading
        evidence: tuple[Evidence, ...] = ()
        usage = {"context_tokens": 0, "question_tokens": 0, "recalled_tokens": 0, "answer_tokens": 0}
        if reading is not None:
            evidence = reading.evidence if self._status != "not_remembered" else ()
            usage = {
                "context_tokens": len(reading.context),
                "question_tokens": len(reading.features),
                "recalled_tokens": reading.recalled.tokens,
                "answer_tokens": len(self._decoding.token_ids) if self._decoding is not None else 0,
            }
        timings = {
            "read_ms": (self._read - self._asked) * 1e3,
            "first_token_ms": (self._first_token - self._asked) * 1e3 if self._first_token else 0.0,
            "total_ms": ((self._done or time.perf_counter()) - self._asked) * 1e3,
        }
        return Answer(
            question=self._question,
            text="".join(self._text).strip(),
            status=self._status,
            asked_at_us=self._now_us,
            refers_to_us=evidence[0].start_us if evidence else None,
            evidence=evidence,
            forgotten_us=self._forgotten,
            timings=timings,
            usage=usage,
        )
