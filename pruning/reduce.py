"""Reductions: what becomes of the cells that do not survive."""

from dataclasses import dataclass

from torch import Tensor

from .stages import PLAIN, Cells, Traits


@dataclass(frozen=True, slots=True)
class Drop:
    """Let them go; the survivors' features stay as they are."""

    traits: Traits = PLAIN

    def reduce(self, cells: Cells, kept: Tensor) -> Tensor:
        """Give the features as they came."""
        return cells.features
