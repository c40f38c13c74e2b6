"""Selections that keep what lies beside a cell: whole rows, or the neighbours of anchors."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .saliency import plane
from .select import top
from .stages import Cells, Choice, Memory, Need, Traits


@dataclass(frozen=True, slots=True)
class Rows:
    """Keep whole rows, those with the highest sum of scores (FoPru 2024, its row form).

    A row that the count does not reach to the end keeps its highest scores; of equal rows and cells the first win.
    """

    traits: Traits = field(default=Traits(placed=True))

    def select(self, scores: Tensor, count: Tensor, cells: Cells, memory: Memory) -> Choice:
        """Choose."""
        height, width = cells.grid
        rows = scores.view(height, width).sum(1).argsort(descending=True, stable=True)
        rank = torch.empty_like(rows).scatter_(0, rows, torch.arange(height, device=scores.device))
        by_score = scores.argsort(descending=True, stable=True)
        order = by_score[rank[by_score // width].argsort(stable=True)]
        chosen = torch.arange(len(scores), device=scores.device) < count
        return Choice(torch.zeros_like(chosen).scatter_(0, order, chosen))


@dataclass(frozen=True, slots=True)
class Surrounded:
    """Keep anchors of a middle layer with their neighbours, the rest by score (HiPrune 2025).

    One anchor for every `each` kept cells, rounded (a tenth of them, in groups of five), at least one from 5 kept cells
    on: the cells that receive most attention in the object layer, at `depth` of the tower.  Their up to 4 neighbours
    end at the border; the public code's wrap into the next row.
    """

    depth: float = 9 / 24
    each: int = 50
    traits: Traits = field(default=Traits(needs=frozenset[Need]({"saliency"}), placed=True))

    def select(self, scores: Tensor, count: Tensor, cells: Cells, memory: Memory) -> Choice:
        """Choose."""
        saliency = plane(cells, "saliency")
        layer = min(int(self.depth * saliency.shape[1]), saliency.shape[1] - 1)
        anchors = torch.maximum((count + self.each // 2) // self.each, (count >= 5).long())
        protected = with_neighbours(top(saliency[:, layer], anchors), cells.grid)
        return Choice(top(scores.masked_fill(protected, torch.inf), count))


def with_neighbours(marked: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mark also the cells above, below, left and right of the marked ones: bool [N]."""
    before = marked.view(grid)
    after = before.clone()
    after[1:] |= before[:-1]
    after[:-1] |= before[1:]
    after[:, 1:] |= before[:, :-1]
    after[:, :-1] |= before[:, 1:]
    return after.view(-1)
