"""Selections: which cells of a frame survive."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .stages import PLAIN, Cells, Traits


@dataclass(frozen=True, slots=True)
class Top:
    """Keep the highest scores; of equal ones the first."""

    traits: Traits = PLAIN

    def select(self, scores: Tensor, count: Tensor, cells: Cells) -> Tensor:
        """Give bool [N]; the count is never read on the host, so a device need not wait."""
        order = scores.argsort(descending=True, stable=True)
        chosen = torch.arange(len(scores), device=scores.device) < count
        return torch.zeros_like(chosen).scatter_(0, order, chosen)


@dataclass(frozen=True, slots=True)
class Lattice:
    """Keep a regular grid of cells, whatever they show."""

    traits: Traits = PLAIN

    def select(self, scores: Tensor, count: Tensor, cells: Cells) -> Tensor:
        """Give bool [N]."""
        chosen = torch.zeros(len(cells), dtype=torch.bool)
        chosen[lattice(cells.grid, int(count))] = True
        return chosen.to(scores.device)


def lattice(grid: tuple[int, int], count: int) -> list[int]:
    """Place count points evenly on a grid, as sorted cell numbers.

    A true lattice where count is a product of a fitting number of rows and columns; else some rows hold one more.
    """
    height, width = grid
    if count == 0:
        return []
    fitting = round(math.sqrt(count * height / width))
    rows = max(min(fitting, height, count), math.ceil(count / width))
    cells: list[int] = []
    for row in range(rows):
        y = (2 * row + 1) * height // (2 * rows)
        columns = count * (row + 1) // rows - count * row // rows
        cells += [y * width + (2 * column + 1) * width // (2 * columns) for column in range(columns)]
    return cells
