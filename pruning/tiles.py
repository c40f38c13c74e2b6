"""Tiles: quarters of the picture that get shares of the budget by how much attention they draw (GlobalCom2 2025)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .saliency import plane
from .select import top
from .stages import Cells, Choice, Memory, Need, Stateless, Traits

_PLACED = Traits(needs=frozenset[Need]({"saliency"}), placed=True)


def quarters(grid: tuple[int, int], device: torch.device) -> Tensor:
    """Mark the cells of each tile, bool [tiles, N]: halves of both sides, a side under 4 cells is not cut."""
    height, width = grid
    rows, columns = (2 if side >= 4 else 1 for side in grid)
    place = torch.arange(height * width, device=device)
    tile = (place // width * rows // height) * columns + place % width * columns // width
    return tile == torch.arange(rows * columns, device=device)[:, None]


def apportion(weights: Tensor, sizes: Tensor, count: Tensor) -> Tensor:
    """Share count out by weights, in whole numbers that sum to it exactly, none above its size: int64 [tiles].

    What a full one cannot take goes to the others by their weights; then the largest remainders win, of equal ones
    the first.  weights: positive [tiles]; sizes: int64 [tiles]; count: int64 [] within 0..sum of sizes.
    """
    weights = weights.double()
    full = torch.zeros_like(sizes, dtype=torch.bool)
    share = torch.zeros_like(weights)
    for _ in range(len(sizes)):  # each pass fills at least one more, or changes nothing
        free = weights * ~full
        share = free * (count - (sizes * full).sum()) / free.sum().clamp(min=torch.finfo(torch.float64).tiny)
        full = full | (share >= sizes)
    whole = torch.where(full, sizes, share.floor().long())
    remainder = (share - whole).masked_fill(full, -1.0)
    return whole + top(remainder, count - whole.sum())


@dataclass(frozen=True, slots=True)
class TileScore(Stateless):
    """Rate a cell by its attention within its tile and within the frame, each over its length as a vector.

    Published, the first is the tile's own encoding and the second the thumbnail's. One view has one map, the last
    layer's, for both: the sum then orders the cells of a tile as the map alone does.
    """

    traits: Traits = _PLACED

    def score(self, cells: Cells, memory: Memory) -> Tensor:
        """Rate the cells, float32 [N] within 0..2."""
        saliency = plane(cells, "saliency")[:, -1]
        member = quarters(cells.grid, saliency.device)
        least = torch.finfo(torch.float32).tiny
        lengths = torch.linalg.vector_norm(torch.where(member, saliency, 0.0), dim=1).clamp(min=least)
        whole = torch.linalg.vector_norm(saliency).clamp(min=least)
        score: Tensor = saliency / lengths[member.long().argmax(0)] + saliency / whole
        return score


@dataclass(frozen=True, slots=True)
class Tiles:
    """Keep the highest scores of each tile, as many as its share.

    A tile keeps min(1, r (1 + s - mean s)) of its cells, with s the softmax over the tiles of the sum of their last
    layer's attention / temperature (1 = what the average cell gets), brought to the exact count by apportion().
    """

    temperature: float = 10.0
    traits: Traits = field(default=_PLACED)

    def select(self, scores: Tensor, count: Tensor, cells: Cells, memory: Memory) -> Choice:
        """Choose."""
        member = quarters(cells.grid, scores.device)  # [tiles, N]
        drawn = torch.where(member, plane(cells, "saliency")[:, -1], 0.0).sum(1)
        share = (drawn / self.temperature).softmax(0)
        sizes = member.sum(1)
        quota = apportion((1.0 + share - share.mean()) * sizes, sizes, count)
        order = scores.argsort(descending=True, stable=True)
        sorted_members = member[:, order]
        chosen = (sorted_members & (sorted_members.cumsum(1) <= quota[:, None])).any(0)
        return Choice(torch.zeros_like(chosen).scatter_(0, order, chosen))
