"""Reductions: what the survivors take over from the cells that do not survive."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .stages import PLAIN, Choice, Traits


@dataclass(frozen=True, slots=True)
class Drop:
    """Let them go; the survivors' features stay as they are."""

    traits: Traits = PLAIN

    def reduce(self, plane: Tensor, choice: Choice) -> Tensor:
        """Give the plane as it came."""
        return plane


@dataclass(frozen=True, slots=True)
class Merge:
    """Mix each survivor with the mean of the cells that it stands for.

    own: share of the survivor's own features: own * x + (1 - own) * mean of the others of its group; with None all of
    the group count alike, the survivor among them.  A survivor that stands for itself alone stays as it is.
    """

    own: float | None = None
    traits: Traits = field(default=Traits(changes_features=True, per_cell=2))

    def reduce(self, plane: Tensor, choice: Choice) -> Tensor:
        """Give the plane [N, ...] with merged rows where cells are kept."""
        if choice.owner is None:
            return plane
        rows = plane.float().flatten(1)  # [N, F]
        cells = torch.arange(len(rows), device=rows.device)
        others = (choice.owner >= 0) & (choice.owner != cells)
        into = choice.owner.clamp(min=0)
        weight = others.float()[:, None]
        total = torch.zeros_like(rows).index_add_(0, into, rows * weight)
        count = torch.zeros_like(weight).index_add_(0, into, weight)
        if self.own is None:
            mixed = (rows + total) / (1.0 + count)
        else:
            mixed = self.own * rows + (1.0 - self.own) * total / count.clamp(min=1.0)
        mixed = torch.where(count > 0, mixed, rows)
        return mixed.to(plane.dtype).view_as(plane)
