"""Merging of like cells by bipartite matching (ToMe 2023, DyMU 2025)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .select import top
from .similarity import from_products, tame
from .stages import Cells, Choice, Memory, Traits

_NEVER = -2.0  # below every cosine


def match(features: Tensor, count: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Merge cells, one round for each threshold, until count are left: their owners, int64 [N].

    A round: every other one of the cells left may join the most similar of the rest (of equal ones the first) when
    their cosine is above the round's threshold; the most similar pairs do, no more than needed.  A group stands as the
    mean of its cells.  A round can halve what is left.  features: [N, D], count: int64 [].
    """
    tokens = tame(features)
    products = tokens @ tokens.T  # [N, N] of the groups' sums; a cosine does not see that sums are no means
    cells = torch.arange(len(tokens), device=tokens.device)
    left = torch.ones_like(cells, dtype=torch.bool)
    owner = cells
    for threshold in thresholds:
        odd = (left.long().cumsum(0) - 1) % 2 == 1
        joins, takes = left & ~odd, left & odd
        square = products.diagonal()
        alike = from_products(products, square, square).masked_fill(~(joins[:, None] & takes), _NEVER)
        partner = alike.argmax(1)
        likeness = alike.gather(1, partner[:, None]).squeeze(1)
        surplus = (left.sum() - count).clamp(min=0)
        merged = top(likeness, surplus) & (likeness > threshold)
        into = torch.where(merged, partner, cells)
        gather = (into == cells[:, None]).to(products.dtype)  # [N, N], rows gather their groups
        products = gather @ products @ gather.T
        owner = into[owner]
        left = left & ~merged
    return owner


def rounds(cells: int) -> int:
    """Count the rounds that can merge everything into one cell."""
    return cells.bit_length() - 1


@dataclass(frozen=True, slots=True)
class Matched:
    """Keep the cells that are left when the most similar ones were merged; the others belong to them.

    threshold: pairs that are not more similar than this merge only where the count asks for it.
    """

    threshold: float | None = None
    traits: Traits = field(default=Traits(placed=True, per_pair=1))

    def select(self, scores: Tensor, count: Tensor, cells: Cells, memory: Memory) -> Choice:
        """Choose."""
        times = rounds(len(cells))
        first = [] if self.threshold is None else [self.threshold] * times
        owner = match(cells.features, count, [*first, *[_NEVER] * times])
        some = count > 0
        kept = (owner == torch.arange(len(cells), device=owner.device)) & some
        return Choice(kept, torch.where(some, owner, -1))


@dataclass(frozen=True, slots=True)
class Unlike:
    """Count the cells that are left when all pairs above a threshold are merged: the content sets the budget."""

    threshold: float
    traits: Traits = field(default=Traits(placed=True, per_pair=1))

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give the count, all of a whole frame."""
        everything = torch.zeros((), dtype=torch.int64, device=scores.device)
        owner = match(cells.features, everything, [self.threshold] * rounds(len(cells)))
        count = (owner == torch.arange(len(cells), device=owner.device)).sum()
        return torch.full_like(count, len(cells)) if cells.whole else count, memory

    def still(self, cells: int) -> float:
        """Give all cells: a picture may hold no two that are alike."""
        return cells
