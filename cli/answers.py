"""Answers on stdout: for people, streamed as they are decoded, or as one JSON object a line."""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from ..answer import Answer, Evidence


DENIALS = ("", "no", "none", "nothing", "not seen", "nothing has been seen yet")
"""Answers that say themselves that there was nothing."""


class AnswerWriter(Protocol):
    """Write answers, one after the other."""

    def begin(self, question: str, asked_at_us: int) -> None:
        """Say which question is being answered."""
        ...

    def piece(self, text: str) -> None:
        """Take the next piece of the answer's text."""
        ...

    def end(self, answer: "Answer", thumbnails: Sequence[str | None]) -> None:
        """Take the whole answer, and the path of each evidence's picture."""
        ...


class PlainAnswers:
    """Write answers for people.

    headings: print the question above each answer.  moments: the headings say when it was asked.
    """

    def __init__(self, out: TextIO, *, headings: bool = False, moments: bool = False) -> None:
        self._out, self._headings, self._moments = out, headings, moments
        self._count = 0
        self._open = False  # whether the answer's text has begun

    def begin(self, question: str, asked_at_us: int) -> None:
        """Write the heading, an empty line before all but the first."""
        from ..memory.time_phrases import format_clock

        self._open = False
        if self._headings:
            gap = "\n" if self._count else ""
            moment = f"at {format_clock(asked_at_us)}: " if self._moments else ""
            self._write(f"{gap}# {moment}{' '.join(question.split())}\n")
        self._count += 1

    def piece(self, text: str) -> None:
        """Write a piece as it comes, without the white space that an answer may begin with."""
        text = text if self._open else text.lstrip()
        if text:
            self._open = True
            self._write(text)

    def end(self, answer: "Answer", thumbnails: Sequence[str | None]) -> None:
        """End the line, then say where it was seen and what there is to know about the answer."""
        lines = [*remarks(answer), *(f"picture: {path}" for path in thumbnails if path)]
        self._write("".join(f"{line}\n" for line in ["" if self._open else "(no words)", *lines]))
        self._open = False

    def abandon(self) -> None:
        """End a line that an interruption left open."""
        if self._open:
            self._write("\n")
            self._open = False

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


class JsonAnswers:
    """Write each answer as a JSON object on a line of its own, whole or not at all."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def begin(self, question: str, asked_at_us: int) -> None:
        """Do nothing: the object names the question."""

    def piece(self, text: str) -> None:
        """Do nothing: the object holds the text."""

    def end(self, answer: "Answer", thumbnails: Sequence[str | None]) -> None:
        """Write the object."""
        self._out.write(json.dumps(as_json(answer, thumbnails), ensure_ascii=False, allow_nan=False) + "\n")
        self._out.flush()


def as_json(answer: "Answer", thumbnails: Sequence[str | None] = ()) -> dict[str, object]:
    """Give an answer's JSON form: times in seconds of stream time, null for what there is not.

    thumbnails: a path for each piece of evidence; empty for none.
    """
    paths = thumbnails or [None] * len(answer.evidence)
    return {
        "question": answer.question,
        "text": answer.text,
        "status": answer.status,
        "refers_to_s": None if answer.refers_to_us is None else answer.refers_to_us / 1e6,
        "asked_at_s": answer.asked_at_us / 1e6,
        "evidence": [
            {
                "start_s": item.start_us / 1e6,
                "end_s": item.end_us / 1e6,
                "score": round(item.score, 4) if math.isfinite(item.score) else None,
                "source": item.source,
                "thumbnail": path,
            }
            for item, path in zip(answer.evidence, paths, strict=True)
        ],
        "timings": {name: round(value, 3) for name, value in answer.timings.items()},
        "usage": dict(answer.usage),
        "forgotten_s": [[start / 1e6, end / 1e6] for start, end in answer.forgotten_us],
    }


def remarks(answer: "Answer") -> list[str]:
    """Say below an answer when it was seen, and what makes it less than certain."""
    lines = []
    if answer.evidence:
        best, *others = (_stretch(item) for item in answer.evidence)
        also = f" (also {', '.join(others)})" if others else ""
        lines.append(f"seen at {best}{also}")
    if answer.status == "not_remembered" and answer.text.lower().rstrip(".") in DENIALS:
        lines.append("not remembered: nothing that was seen fits this question")
    elif answer.status == "not_remembered":
        lines.append("not sure: nothing that is remembered clearly fits this question, so it may be a guess")
    elif answer.status == "truncated":
        lines.append("cut off at the limit of tokens; --max-tokens sets it")
    elif answer.status == "cancelled":
        lines.append("cut off: the answer was cancelled")
    for start, end in answer.forgotten_us:
        lines.append(f"not remembered any more: {_range(start, end)} (forgotten, or over the caps)")
    return lines


def _stretch(evidence: "Evidence") -> str:
    return _range(evidence.start_us, evidence.end_us)


def _range(start_us: int, end_us: int) -> str:
    from ..memory.time_phrases import format_clock

    start, end = format_clock(start_us), format_clock(end_us)
    return start if start == end else f"{start}–{end}"
