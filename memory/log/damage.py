"""Damage: places of a log whose bytes are not those that were written."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Damage:
    """Say what is damaged.

    segment: the file, empty where a whole one is missing.  offset, bytes: the place in it; bytes is 0 for records that
    are simply not there.  sequence: the record's, None where it is unknown or there are several.
    """

    segment: str
    offset: int
    bytes: int
    sequence: int | None
    what: str


class DamageNotes:
    """Gather damage from any thread, each place once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Damage, None] = {}

    @property
    def all(self) -> tuple[Damage, ...]:
        """Everything found so far, in the order of finding."""
        with self._lock:
            return tuple(self._found)

    def note(self, found: Iterable[Damage]) -> None:
        """Add what was found."""
        with self._lock:
            self._found |= dict.fromkeys(found)

    def forget(self, segments: Iterable[str]) -> None:
        """Leave out segments that are no longer there."""
        gone = set(segments)
        with self._lock:
            self._found = {damage: None for damage in self._found if damage.segment not in gone}
