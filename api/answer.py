"""What a question gets back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["answered", "not_remembered", "truncated", "cancelled"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Name one stretch of the stream that an answer was read from.

    start_us, end_us: stream time.  score: how strongly recall preferred it (z units, comparable within one answer).
    source: "recalled" or "recent".  thumbnail: JPEG bytes of the stretch's best frame, or empty.
    """

    start_us: int
    end_us: int
    score: float
    source: Literal["recalled", "recent"]
    thumbnail: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold the text of an answer, the moment it refers to and where it was seen.

    refers_to_us: the stream time that the answer is about, None when there is none.  asked_at_us: the stream time
    when the question was put.  timings: milliseconds by stage (read_ms, probe_ms, recall_ms, first_token_ms,
    total_ms).  usage: token counts (context_tokens, question_tokens, recalled_tokens, answer_tokens).  forgotten_us:
    spans inside the asked range that memory had to drop.
    """

    question: str
    text: str
    status: Status
    asked_at_us: int
    refers_to_us: int | None = None
    evidence: tuple[Evidence, ...] = ()
    forgotten_us: tuple[tuple[int, int], ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    usage: Mapping[str, int] = field(default_factory=dict)
