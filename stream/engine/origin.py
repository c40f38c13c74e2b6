"""The origin: which moment of the wall clock a session's stream time 0 is, kept with its memory."""

import json

from ...errors import SettingsError
from ..session import Session
from .stats import Mark

ORIGIN, MARKS = "origin", "marks"
MOST_MARKS = 256
LABEL_CHARACTERS = 120


def origin_of(session: Session, now_unix_us: int) -> int:
    """Give a session's origin, µs since 1970; settle it where the memory has none.

    What is seen from now on must come behind what is remembered: where the wall clock was set back meanwhile, or the
    memory was made from a file, the origin is moved for that.
    """
    told = session.noted(ORIGIN)
    origin_us = None
    if told is not None:
        held = json.loads(told)
        origin_us = held if type(held) is int else None
    behind_us = 0 if session.last_us is None else session.last_us + 1
    if origin_us is None or origin_us + behind_us > now_unix_us:
        origin_us = now_unix_us - behind_us
        session.note(ORIGIN, json.dumps(origin_us).encode())
    return origin_us


def marks_of(session: Session) -> tuple[Mark, ...]:
    """Read the marks that are kept with a memory."""
    told = session.noted(MARKS)
    if told is None:
        return ()
    return tuple(Mark(label, time_us) for label, time_us in json.loads(told))


def marked(marks: tuple[Mark, ...], label: str, time_us: int | None) -> tuple[tuple[Mark, ...], Mark]:
    """Add a mark; give all in order of time, and the new one.

    There are never more than MOST_MARKS: the one of the earliest moment goes then.  Raises SettingsError for a label
    that is empty or too long, or no time.
    """
    words = " ".join(label.split())
    if not words or len(words) > LABEL_CHARACTERS:
        raise SettingsError(f"a mark's label has {len(words)} characters; give 1 to {LABEL_CHARACTERS}")
    if time_us is None:
        raise SettingsError("nothing was seen yet, so there is no moment to mark; give a time, or wait for a frame")
    mark = Mark(words, time_us)
    kept = marks[len(marks) + 1 - MOST_MARKS :] if len(marks) >= MOST_MARKS else marks
    return tuple(sorted((*kept, mark), key=lambda one: one.time_us)), mark


def keep_marks(session: Session, marks: tuple[Mark, ...]) -> None:
    """Keep the marks with the memory."""
    session.note(MARKS, json.dumps([[mark.label, mark.time_us] for mark in marks]).encode())
