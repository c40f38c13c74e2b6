"""Prometheus' text format, version 0.0.4: counters, gauges and histograms written out."""

import bisect
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Hold one metric's samples: value by labels, each a tuple of (name, value)."""

    name: str
    kind: Literal["counter", "gauge"]
    words: str
    samples: Mapping[Labels, float]

    def lines(self) -> Iterator[str]:
        """Write it."""
        yield f"# HELP {self.name} {_escaped_help(self.words)}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.samples.items():
            yield f"{self.name}{_braces(labels)} {_number(value)}"


@dataclass(slots=True)
class Histogram:
    """Count observations in buckets.  For one thread.

    bounds: the buckets' upper ends, growing; one without an end is added.
    """

    name: str
    words: str
    bounds: Sequence[float]
    counts: list[int] = field(init=False)
    total: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self) -> Iterator[str]:
        """Write it."""
        yield f"# HELP {self.name} {_escaped_help(self.words)}"
        yield f"# TYPE {self.name} histogram"
        below = 0
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            below += count
            yield f'{self.name}_bucket{{le="{_number(bound)}"}} {below}'
        yield f"{self.name}_sum {_number(self.total)}"
        yield f"{self.name}_count {below}"


def single(name: str, kind: Literal["counter", "gauge"], words: str, value: float) -> Family:
    """Make a family of one sample without labels."""
    return Family(name, kind, words, {(): value})


def by(name: str, kind: Literal["counter", "gauge"], words: str, label: str, values: Mapping[str, float]) -> Family:
    """Make a family whose samples differ by one label."""
    return Family(name, kind, words, {((label, key),): value for key, value in values.items()})


def render(parts: Iterable[Family | Histogram]) -> bytes:
    """Write the whole page."""
    return "".join(f"{line}\n" for part in parts for line in part.lines()).encode()


def _braces(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(text: str) -> str:
    return _escaped_help(text).replace('"', r"\"")


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _number(value: float) -> str:
    if value == math.inf:
        return "+Inf"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
