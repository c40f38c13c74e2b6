"""Rows: what a stretch of prompt puts into the language model, with the positions it takes there."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..memory.block import KVLayout
from ..memory.positions import CAPPED_GAP


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Hold n input rows of the language model: one frame with its time stamp, or several frames laid out.

    features: [n, D].  positions: int64 [n, axes], relative to the start, in host memory as coords are.  extent: how far
    what follows is moved; not counted under absolute time, where the clock says it.  coords: int32 [n, 3] = (t, h, w)
    of visual tokens, (-1, -1, -1) for text.  planes: [n, p, D], what is added to the hidden states after each of the
    first p layers (DeepStack, arXiv 2406.04334), zero for text; None where the model has none.
    """

    features: Tensor
    positions: Tensor
    extent: int
    coords: Tensor
    planes: Tensor | None = None

    def __len__(self) -> int:
        return self.features.shape[0]


def no_cells(count: int) -> Tensor:
    """Make the coords of text rows: int32 [count, 3]."""
    return torch.full((count, 3), -1, dtype=torch.int32)


def lay(layout: KVLayout, parts: Sequence[Rows], places: Sequence[int]) -> Rows:
    """Lay the rows of consecutive frames out as one stretch, as a context would lay their blocks.

    places: where each frame starts under absolute time (memory.positions.clock_place); else not read, frames then
    stand end to end.  Raises ValueError on an empty list.
    """
    if not parts:
        raise ValueError("nothing to lay out")
    axes = layout.rotary.axes
    positions, start, before = [], 0, None
    for part, place in zip(parts, places, strict=True):
        if layout.ids_per_second:
            if before is not None:
                start += min(place - before, CAPPED_GAP)
            moved, before = torch.zeros(axes, dtype=torch.int64), place
            moved[0] = start
        else:
            moved = torch.full((axes,), start, dtype=torch.int64)
        positions.append(part.positions + moved)
        if not layout.ids_per_second:
            start += part.extent
    planes = [part.planes for part in parts if part.planes is not None]
    return Rows(
        features=torch.cat([part.features for part in parts]),
        positions=torch.cat(positions),
        extent=start,
        coords=torch.cat([part.coords for part in parts]),
        planes=torch.cat(planes) if planes else None,
    )
