"""Change: how unlike each cell is to what its place showed in the frame before."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .score import neighbour_distance
from .similarity import tame
from .stages import Cells, Memory, Need, Traits


@dataclass(frozen=True, slots=True)
class Change:
    """Rate a cell by 1 - its cosine with the cell of the frame before, 0..2.

    The plain cosine over all channels alike, as in DTD (TimeChat-Online, ACM MM 2025) and EVS (NVIDIA 2025).  reach:
    how many cells a thing may have moved; with 1 it is the backward distance of FluxMem (CVPR 2026), 1 - the largest
    cosine over 3x3.  The reference is the frame before, also where nothing of it was kept: a change too slow to be
    seen from one frame to the next is never seen.

    Memory: previous [N, D] in the tokens' type.
    """

    reach: int = 0

    @property
    def traits(self) -> Traits:
        """Say that places matter where things may move."""
        return Traits(placed=self.reach > 0, remembers=True, per_cell=4 * (2 * self.reach + 1) ** 2)

    def score(self, cells: Cells, memory: Memory) -> Tensor:
        """Rate the cells, float32 [N]: 2 everywhere on the first frame."""
        if "previous" not in memory:
            return torch.full((len(cells),), 2.0, device=cells.features.device)
        now, before = tame(cells.features).contiguous(), tame(memory["previous"])
        return neighbour_distance(now, before, torch.ones_like(now[0]), cells.grid, self.reach)

    def learn(self, cells: Cells, kept: Tensor, memory: Memory) -> Memory:
        """Remember the frame, whatever was kept of it."""
        return {"previous": cells.features.clone()}  # a copy, so that the whole call's tokens are not held


@dataclass(frozen=True, slots=True)
class PixelChange:
    """Rate a cell by how far its colours are from those of the frame before, 0..1.

    The mean absolute difference of the 48 mean colours of its part of the picture (the pixel form of DTD, on means
    over 4 x 4 parts in place of single pixels).

    Memory: previous [N, 48] in the plane's type.
    """

    traits: Traits = field(default=Traits(needs=frozenset[Need]({"pixels"}), remembers=True))

    def score(self, cells: Cells, memory: Memory) -> Tensor:
        """Rate the cells, float32 [N]: 1 everywhere on the first frame."""
        pixels = cells.extras["pixels"]
        if "previous" not in memory:
            return torch.ones(len(cells), device=pixels.device)
        return (tame(pixels) - tame(memory["previous"])).abs().mean(1)

    def learn(self, cells: Cells, kept: Tensor, memory: Memory) -> Memory:
        """Remember the frame, whatever was kept of it."""
        return {"previous": cells.extras["pixels"].clone()}
