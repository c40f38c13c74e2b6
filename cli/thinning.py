"""Samples of a stream of unknown length, spread evenly over it, in constant room."""

from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

BINS = 512
FIRST_BIN_US = 100_000


class EvenSample(Generic[T]):
    """Hold some of the items of a stream, spread evenly by their numbers, whatever its length turns out to be.

    count: how many are wanted.  step: every step-th item is one, from the first on; with step 0 as few are left out as
    `count` allows, and more than `count` are held (4 * count while that is up to 256, else 2 * count) so that a choice
    among them is even.  An item that is not wanted need not be made: ask wants() first.
    """

    def __init__(self, count: int, step: int = 0) -> None:
        self._count, self._given = count, step
        self._step = max(1, step)
        self._most = count if step else max(2 * count, min(4 * count, 256))
        self._held: list[tuple[int, T]] = []

    @property
    def step(self) -> int:
        """How many items stand between two that are held now, the second one counted."""
        return self._step

    def wants(self, number: int) -> bool:
        """Say whether item `number`, counted from 0, would be held."""
        return number % self._step == 0

    def add(self, number: int, item: T) -> None:
        """Hold an item that is wanted; when there is no room, every second of those held goes."""
        if not self.wants(number):
            return
        self._held.append((number, item))
        if len(self._held) > self._most:
            self._step *= 2
            self._held = self._held[::2]

    def items(self) -> list[T]:
        """Give at most `count` items, the first and the last one held among them, in order."""
        held = [item for _, item in self._held]
        if len(held) <= self._count:
            return held
        if self._count == 1:
            return held[:1]
        places = [number * (len(held) - 1) // (self._count - 1) for number in range(self._count)]
        return [held[place] for place in places]


class ShareOverTime:
    """Add up what was kept over time, in at most BINS bins that grow with the stream."""

    def __init__(self, start_us: int = 0) -> None:
        self._start_us, self.bin_us = start_us, FIRST_BIN_US
        self._kept = np.zeros(BINS, np.int64)
        self._total = np.zeros(BINS, np.int64)

    def add(self, time_us: int, kept: int, total: int) -> None:
        """Count one keyframe: `kept` of `total` cells."""
        while (time_us - self._start_us) // self.bin_us >= BINS:
            self._kept, self._total = _halved(self._kept), _halved(self._total)
            self.bin_us *= 2
        place = max(0, (time_us - self._start_us) // self.bin_us)
        self._kept[place] += kept
        self._total[place] += total

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """Give the begin of each bin in which there was a keyframe, in us, and the share kept in it."""
        for place in np.flatnonzero(self._total).tolist():
            yield self._start_us + place * self.bin_us, float(self._kept[place] / self._total[place])


def _halved(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    half = np.zeros_like(counts)
    half[: BINS // 2] = counts.reshape(-1, 2).sum(1)
    return half
