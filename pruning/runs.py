"""Runs: cells that go on showing the same (HoliTom 2025, made causal)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .credit import SCALE, Account
from .density import assign
from .saliency import plane
from .select import top
from .similarity import paired_cosines, tame
from .stages import Cells, Choice, Memory, Need, Traits


@dataclass(frozen=True, slots=True)
class Runs:
    """Rate cells that show something else than a frame ago by saliency, above all whose run goes on.

    A run goes on while the cosine of the cell to itself a frame ago is above tau.  Within both classes the last
    layer's received attention a counts as a / (1 + a), and a new cell gets 1 more.  Each frame is compared with the one
    before, as published: what drifts slowly is one run.

    Memory: previous [N, D] in the tokens' type.
    """

    tau: float
    traits: Traits = field(default=Traits(needs=frozenset[Need]({"saliency"}), remembers=True, per_cell=3))

    def score(self, cells: Cells, memory: Memory) -> Tensor:
        """Rate the cells, float32 [N] within 0..2: 1 and more for new ones, which all are on the first frame."""
        saliency = plane(cells, "saliency")[:, -1]
        worth = saliency / (1.0 + saliency)
        if "previous" not in memory:
            return 1.0 + worth
        alike = paired_cosines(tame(cells.features), memory["previous"].float())
        return worth + (alike <= self.tau).float()

    def learn(self, cells: Cells, kept: Tensor, memory: Memory) -> Memory:
        """Remember the frame."""
        return {"previous": tame(cells.features).to(cells.features.dtype)}


@dataclass(frozen=True, slots=True)
class Rebased:
    """Ask for the share of the new cells that the running ones leave affordable, and let the account pay.

    Of the new cells min(r / p, 1) are wanted, rounded up, with p the share of new cells among all. Published, p is the
    clip's; here it is a mean over the frames so far, of about the last `horizon`.

    Memory: the account's, and share int64 [] (p, in 1/SCALE).
    """

    account: Account
    horizon: int = 64
    traits: Traits = field(default=Traits(remembers=True))

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give the count; scores of 1 and more mark the new cells."""
        total = len(cells)
        new = (scores >= 1.0).sum()
        # The share is rounded up, or a whole number of cells would seem a little more and be rounded up to the next.
        seen = -(-new * SCALE // total)
        share = memory.get("share", seen)
        share = share - torch.div(share - seen, min(cells.number + 1, self.horizon), rounding_mode="floor")
        affordable = -(-new * self.account.refill // (share * total).clamp(min=1))
        count, left = self.account.pay(torch.minimum(affordable, new), cells, memory)
        return count, {**left, "share": share}

    def still(self, cells: int) -> float:
        """Give what the account pays while there are no new cells."""
        return self.account.still(cells)


@dataclass(frozen=True, slots=True)
class Starts:
    """Keep the highest scores; new cells that are not kept belong to the nearest kept one, running ones are dropped."""

    traits: Traits = field(default=Traits(per_pair=1))

    def select(self, scores: Tensor, count: Tensor, cells: Cells, memory: Memory) -> Choice:
        """Choose."""
        kept = top(scores, count)
        owner = assign(cells.features, kept)
        return Choice(kept, owner.masked_fill(~kept & (scores < 1.0), -1))
