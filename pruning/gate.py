"""Gates: frames of which nothing is kept, by what the vision tower made of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .stages import PLAIN, Cells, Memory, Traits


@dataclass(frozen=True, slots=True)
class Open:
    """Let every frame in."""

    traits: Traits = PLAIN

    def admit(self, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Say yes."""
        return torch.ones((), dtype=torch.bool, device=cells.features.device), memory
