"""What a field of an event may hold beyond its Python type; stands in the event's annotations."""

from dataclasses import dataclass
from typing import Annotated

MOST_EXACT = (1 << 53) - 1
"""The largest whole number that JavaScript reads exactly."""


@dataclass(frozen=True, slots=True)
class Text:
    """Bound a string's length in characters.  code: the error for one that is too long."""

    least: int
    most: int
    code: str = "invalid_event"


@dataclass(frozen=True, slots=True)
class Whole:
    """Bound an integer, both ends included."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Number:
    """Bound a number, both ends included."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Many:
    """Bound how many items an array, or how many members a table, has."""

    most: int


Id = Annotated[str, Text(1, 64)]
Word = Annotated[str, Text(1, 64)]
Words = Annotated[str, Text(0, 4096)]
TimeUs = Annotated[int, Whole(-MOST_EXACT, MOST_EXACT)]
Count = Annotated[int, Whole(0, MOST_EXACT)]
Amount = Annotated[float, Number(0.0, 1e15)]
SpanUs = tuple[TimeUs, TimeUs]
