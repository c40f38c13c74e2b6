"""Budgets: how many cells of a frame survive."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .stages import PLAIN, Cells, Memory, Traits

SCALE = 1 << 20  # credit is counted in fractions of a token this small, in integers: exact on every device


def otsu_threshold(scores: Tensor, bins: int = 128, top: float = 2.0) -> Tensor:
    """Find the score that splits a frame's cells into two classes best (Otsu 1979), float32 [].

    Takes the lower edge of the upper class, on a histogram over [0, top], where the variance between the classes is
    largest; the lowest of equals.  A frame that does not split (all in one bin) gives 0: novel as a whole or not.
    scores: [N].  Counts and sums are integers, so the result is the same on every device.
    """
    place = (scores * (bins / top)).long().clamp_(0, bins - 1)
    histogram = torch.zeros(bins, dtype=torch.int64, device=scores.device)
    histogram.scatter_add_(0, place, torch.ones_like(place))
    below = histogram.cumsum(0)  # cells in the lower class when it ends with this bin
    mass = (histogram * torch.arange(bins, device=scores.device)).cumsum(0)
    above = below[-1] - below
    gap = (mass * below[-1] - mass[-1] * below).double()
    variance = gap * gap / (below * above).clamp(min=1).double()
    edge = (variance.argmax() + 1).float() * (top / bins)
    return torch.where(variance.max() > 0, edge, torch.zeros_like(edge))


@dataclass(frozen=True, slots=True)
class Split:
    """Count the cells of a frame that are novel.

    A cell is novel at or above the Otsu threshold of its frame, with two absolute guards, because Otsu splits every
    frame, also one of pure noise or one that is new all over: nothing below `noise` is novel, and when the median
    reaches `cut`, everything is.
    """

    noise: float = 0.02
    cut: float = 0.5

    def count(self, scores: Tensor) -> Tensor:
        """Count the novel cells, int64 []."""
        novel = (scores >= otsu_threshold(scores).clamp(min=self.noise)).sum()
        return torch.where(scores.median() >= self.cut, len(scores), novel)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Pay for novel cells from a token bucket.

    refill: credit per frame, in 1/SCALE tokens.  depth: most credit that can be saved, in whole frames.  floor: cells
    that survive in any case, at most the refill.  The first frame is kept whole and pays with the credit that the
    stream starts with, N tokens; so the first n frames keep at most N + n * refill, and any n frames in a row at most
    depth * N + n * refill.  When credit is short, the count goes down to the floor; cells that were not paid for stay
    novel and are kept later.  refresh_frames: a frame is kept whole when this many have gone by since the last whole
    one, 0 for never.  Frames that are whole by order may leave debt, which later frames pay off.

    Memory: credit int64 [], since int64 [] (frames since the last whole one).
    """

    split: Split
    refill: int
    floor: int
    depth: int = 8
    refresh_frames: int = 0
    traits: Traits = field(default=Traits(remembers=True))

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give the count and what is left in the bucket."""
        total = len(cells)
        if "credit" not in memory:
            start = torch.zeros((), dtype=torch.int64, device=scores.device)
            return start + total, {"credit": start, "since": start.clone()}
        limit = self.depth * total * SCALE
        credit = (memory["credit"] + self.refill).clamp(max=limit)
        paid = (credit // SCALE).clamp(min=self.floor)
        count = torch.minimum(self.split.count(scores).clamp(min=self.floor), paid)
        since = memory["since"] + 1
        if self.refresh_frames:
            count = torch.where(since >= self.refresh_frames, total, count)
        if cells.whole:
            count = torch.full_like(count, total)
        if cells.open is not None:
            count = count * cells.open
        credit = (credit - count * SCALE).clamp(min=-limit)
        return count, {"credit": credit, "since": since.masked_fill(count == total, 0)}

    def still(self, cells: int) -> float:
        """Give the floor, and the whole frames by order."""
        if not self.refresh_frames:
            return self.floor
        return ((self.refresh_frames - 1) * self.floor + cells) / self.refresh_frames


@dataclass(frozen=True, slots=True)
class Quota:
    """Keep the same share of every frame, whatever it shows.

    refill: tokens per frame, in 1/SCALE tokens; counts of neighbouring frames differ by one where it is no whole
    number, so that their sum is exact.
    """

    refill: int
    floor: int = 0
    traits: Traits = PLAIN

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give the count; nothing is remembered, it follows from the frame's number."""
        count = (cells.number + 1) * self.refill // SCALE - cells.number * self.refill // SCALE
        count = min(max(count, self.floor), len(cells))
        return torch.tensor(count, device=scores.device), memory

    def still(self, cells: int) -> float:
        """Give what every frame gets."""
        return max(self.refill / SCALE, self.floor)


@dataclass(frozen=True, slots=True)
class Everything:
    """Keep every cell."""

    traits: Traits = PLAIN

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give the number of cells."""
        return torch.tensor(len(cells), device=scores.device), memory

    def still(self, cells: int) -> float:
        """Give the number of cells."""
        return cells
