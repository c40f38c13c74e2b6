"""Budgets: how many cells of a frame survive."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .credit import SCALE, Account
from .stages import PLAIN, Cells, Memory, Traits


@dataclass(frozen=True, slots=True)
class Price:
    """Pay for cells that are worth more than what a token costs just now.

    The price falls as credit is saved up: from `most` with none to `least` with all that can be saved, by equal factors
    for equal credit.  So while much happens only great news is kept, after a quiet while the least change is, and
    nothing has to be known of how large distances are on a model's features but where noise ends (`least`).  Cells
    that were not kept stay novel and can be kept later.

    Memory: the account's.
    """

    account: Account
    least: float = 0.02
    most: float = 0.6
    traits: Traits = field(default=Traits(remembers=True))

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give the count and what is left in the account."""
        price = self.most * (self.least / self.most) ** self.account.filled(cells, memory)
        wanted = (scores >= price.to(scores.device)).sum()
        return self.account.pay(wanted, cells, memory)

    def still(self, cells: int) -> float:
        """Give what a still picture costs."""
        return self.account.still(cells)


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
