"""Budgets that cut the scores: at a fixed value, at a share of each frame, or at a share of the past."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .budget import Quota
from .credit import SCALE, Account
from .stages import PLAIN, Cells, Memory, Traits

_STEP = 19  # bits of a float32 below its exponent and 4 bits of its fraction: 16 classes to each doubling
_LEAST = 111 << 4  # the class of 2^-16: what is smaller is rounding, no change
_CLASSES = 17 * 16 + 1  # one for what is smaller, 16 for each doubling from 2^-16 to 2
_WEIGHT = 1 << 12  # how much a cell counts in a histogram of integers that fades


@dataclass(frozen=True, slots=True)
class Threshold:
    """Keep the cells whose score is at least a limit, however many they are; the first frame is kept whole.

    floor: cells that survive in any case.  There is no bound on what is kept.
    """

    limit: float
    floor: int = 0
    traits: Traits = PLAIN

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Count the cells at or above the limit."""
        if cells.whole or not cells.number:
            return torch.tensor(len(cells), device=scores.device), memory
        return (scores >= self.limit).sum().clamp(min=self.floor), memory

    def still(self, cells: int) -> float:
        """Give the floor; every cell where the limit is no more than what rounding makes of no change."""
        return self.floor if self.limit > 1e-5 else cells


@dataclass(frozen=True, slots=True)
class Share:
    """Keep the same share of every frame, and the first frame whole.

    For scores that say nothing of a first frame.  quota: the share.  So the first n frames keep at most N + n * refill.
    Frames that are whole by order come on top.
    """

    quota: Quota
    traits: Traits = PLAIN

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give the quota's count, or all cells."""
        if cells.whole or not cells.number:
            return torch.tensor(len(cells), device=scores.device), memory
        return self.quota.grant(scores, cells, memory)

    def still(self, cells: int) -> float:
        """Give the quota."""
        return self.quota.still(cells)


@dataclass(frozen=True, slots=True)
class Quantile:
    """Keep what is above one threshold over time: the value that the rate's share of all scores so far exceeds.

    EVS (NVIDIA 2025) keeps the highest scores of a whole clip, up to the share that it may keep.  This form is causal:
    the share is taken of the scores from the second frame up to this one, in a histogram that forgets over `horizon`
    frames, so that the threshold is the same for still and busy frames and only moves with the stream.  Its classes
    are a 16th of a doubling wide (2^-16..2); of the class that the threshold falls into, the highest scores of the
    frame are taken, in the proportion that makes up the share.  Scores below 2^-16 are never asked for.  The first
    frame is whole, and the account pays, so that totals are bounded where EVS would sort a clip; all is counted in
    integers.

    refill of the account: the rate times N.

    Memory: the account's, and seen int64 [273], how often scores of each class came, in 1/4096 cells.
    """

    account: Account
    horizon: int = 64
    traits: Traits = field(default=Traits(remembers=True))

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give the count and what is left, and count the scores in."""
        if "seen" not in memory:
            seen = torch.zeros(_CLASSES, dtype=torch.int64, device=scores.device)
            wanted = torch.full((), len(cells), dtype=torch.int64, device=scores.device)
        else:
            place = score_class(scores)
            now = torch.zeros_like(memory["seen"]).scatter_add_(0, place, torch.ones_like(place))
            past = memory["seen"]
            # Rounded up, so that what is not seen any more is forgotten altogether.
            seen = past - (past + self.horizon - 1) // self.horizon + now * _WEIGHT
            wanted = self._wanted(seen, now, len(cells))
        count, left = self.account.pay(wanted, cells, memory)
        return count, {**left, "seen": seen}

    def still(self, cells: int) -> float:
        """Give what the account pays while nothing is asked for."""
        return self.account.still(cells)

    def _wanted(self, seen: Tensor, now: Tensor, cells: int) -> Tensor:
        """Count the cells of this frame, in classes `now`, above the threshold of all that were seen."""
        share = seen.sum() * (self.account.refill // cells) // SCALE
        above = seen.flip(0).cumsum(0).flip(0) - seen  # in higher classes
        within = (share - above).clamp(min=0).minimum(seen)  # how much of each class belongs to the share
        within[0] = 0
        seen, within = seen.clamp(min=1), within * now
        # Classes above the threshold count whole; in the one that it falls into, the part is rounded.
        return ((2 * within + seen) // (2 * seen)).sum()


def score_class(scores: Tensor) -> Tensor:
    """Put scores float32 [N] within 0..2 into classes, int64 [N] within 0..272: 0 holds what is below 2^-16.

    A class is read off the bits of the number, so no logarithm rounds differently on another device.
    """
    bits = scores.contiguous().view(torch.int32).long() >> _STEP
    return (bits - (_LEAST - 1)).clamp_(0, _CLASSES - 1)
