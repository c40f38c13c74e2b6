"""What a memory had to let go: stretches of stream time, named in answers that they would have mattered to."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

MOST_STRETCHES = 64


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Name a stretch of stream that is not remembered any more.  count: how many blocks went with it."""

    start_us: int
    end_us: int
    count: int


class Stretches:
    """Collect forgotten stretches in time order; those that touch are one.

    There are never more than MOST_STRETCHES: those nearest to each other are then named as one, so that a stretch may
    name a little more than was forgotten, and never less.
    """

    def __init__(self, stretches: Iterable[Forgotten] = ()) -> None:
        self._found: list[Forgotten] = []
        for one in stretches:
            self.add(one)

    @property
    def all(self) -> tuple[Forgotten, ...]:
        """The stretches, in time order."""
        return tuple(self._found)

    def add(self, one: Forgotten) -> None:
        """Take in a stretch."""
        apart = [other for other in self._found if other.end_us < one.start_us or other.start_us > one.end_us]
        for other in self._found:
            if other.end_us >= one.start_us and other.start_us <= one.end_us:
                one = _join(one, other)
        found = sorted([*apart, one], key=lambda stretch: stretch.start_us)
        if len(found) > MOST_STRETCHES:
            gaps = [after.start_us - before.end_us for before, after in pairwise(found)]
            place = gaps.index(min(gaps))
            found[place : place + 2] = [_join(found[place], found[place + 1])]
        self._found = found


def _join(one: Forgotten, other: Forgotten) -> Forgotten:
    start_us, end_us = min(one.start_us, other.start_us), max(one.end_us, other.end_us)
    return Forgotten(start_us, end_us, one.count + other.count)
