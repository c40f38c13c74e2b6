"""A user's own labelled clips: a video file and, beside it, questions with the stretch where each is answered.

The JSON has the form that `onlooker bench theatre` writes: a list of objects with "question", "start_s" and "end_s" in
seconds of stream time (null where the thing asked about never was there).  Other fields are left alone.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import SettingsError
from ..theatre.questions import Question

MOST_SECONDS = 1e9  # thirty years
EXAMPLE = '{"question": "where was the red car?", "start_s": 12.5, "end_s": 20}'


@dataclass(frozen=True, slots=True)
class Clip:
    """Name a video file with its questions: shown has spans, absent has none."""

    path: Path
    shown: tuple[Question, ...]
    absent: tuple[Question, ...]


def read_clip(path: Path) -> Clip:
    """Read the questions beside a video file (walk.mp4, walk.json).

    Raises SettingsError where there is no such video or no such JSON, and for one that does not say what is needed.
    """
    if not path.is_file():
        raise SettingsError(f"there is no video {path}; give a file")
    beside = path.with_suffix(".json")
    if beside == path or not beside.is_file():
        raise SettingsError(f"{path} has no questions beside it; write {beside}, a list of entries such as {EXAMPLE}")
    try:
        entries = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"cannot read {beside} ({error}); it must be a JSON list of entries such as {EXAMPLE}"
        ) from error
    if not isinstance(entries, list) or not entries:
        raise SettingsError(f"{beside} must be a JSON list of entries such as {EXAMPLE}")
    questions = [_question(entry, number, beside) for number, entry in enumerate(entries, 1)]
    shown = tuple(question for question in questions if question.spans_us)
    if not shown:
        raise SettingsError(f"{beside} has no question with a start_s and an end_s; give some, such as {EXAMPLE}")
    return Clip(path, shown, tuple(question for question in questions if not question.spans_us))


def _question(entry: object, number: int, path: Path) -> Question:
    """Read one entry; questions about the present need no memory, so theirs is the past."""
    if not isinstance(entry, dict) or not isinstance(entry.get("question"), str) or not entry["question"].strip():
        raise SettingsError(f'{path}: entry {number} has no "question"; write entries such as {EXAMPLE}')
    text = entry["question"].encode("utf-8", "replace").decode("utf-8")
    if entry.get("start_s") is None and entry.get("end_s") is None:
        return Question(text, "", "presence", (), 0)
    start, end = (_seconds(entry.get(name), number, path) for name in ("start_s", "end_s"))
    span = (round(start * 1e6), round(end * 1e6))
    if span[1] <= span[0]:
        raise SettingsError(f"{path}: entry {number} ends at {end:g} s, not after its start at {start:g} s")
    return Question(text, "", "place", (span,), span[1])


def _seconds(value: object, number: int, path: Path) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_SECONDS:
        return float(value)
    raise SettingsError(f"{path}: entry {number} has a time of {value!r:.40}; give seconds, such as {EXAMPLE}")
