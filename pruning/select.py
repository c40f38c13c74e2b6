"""Selections: which cells of a frame survive."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .stages import PLAIN, Cells, Choice, Memory, Traits


@dataclass(frozen=True, slots=True)
class Top:
    """Keep the highest scores; of equal ones the first."""

    traits: Traits = PLAIN

    def select(self, scores: Tensor, count: Tensor, cells: Cells, memory: Memory) -> Choice:
        """Choose; the count is never read on the host, so a device need not wait."""
        return Choice(top(scores, count))


@dataclass(frozen=True, slots=True)
class Lattice:
    """Keep a regular grid of cells, whatever they show; every cell belongs to the nearest kept one."""

    traits: Traits = field(default=Traits(placed=True))

    def select(self, scores: Tensor, count: Tensor, cells: Cells, memory: Memory) -> Choice:
        """Choose."""
        chosen = torch.tensor(lattice(cells.grid, int(count)), dtype=torch.int64)
        kept = torch.zeros(len(cells), dtype=torch.bool)
        kept[chosen] = True
        if not len(chosen):
            return Choice(kept.to(scores.device))
        width = cells.grid[1]
        places = torch.arange(len(cells))
        down = (places[:, None] // width - chosen // width).square()
        across = (places[:, None] % width - chosen % width).square()
        owner = chosen[(down + across).argmin(1)]
        return Choice(kept.to(scores.device), owner.to(scores.device))


def top(scores: Tensor, count: Tensor) -> Tensor:
    """Mark the count highest of scores [N], of equal ones the first: bool [N]."""
    order = scores.argsort(descending=True, stable=True)
    chosen = torch.arange(len(scores), device=scores.device) < count
    return torch.zeros_like(chosen).scatter_(0, order, chosen)


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
