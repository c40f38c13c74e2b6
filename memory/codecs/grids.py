"""Grids: where the levels of a component stand, fitted to what the component was measured to be.

Components of keys and values have long tails and lumps, so their grids are not computed from a Gaussian: Lloyd's
algorithm (Lloyd, 1982) places them on the sample itself, from a Laplacian's grid on.
"""

import torch
from torch import Tensor

_TURNS = 12
_FINE = 256  # levels from here on stand evenly: they are too many to be fitted one by one
_MARGIN = 1.25  # how much further than the sample's extremes the evenly spaced levels go


def fit_points(sample: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Place levels for every column of a sample float32 [n, columns].

    Returns ascending points [columns, levels] as float16 holds them, in float32, and the mean squared error of each
    column.
    """
    mine = sample.T.contiguous()  # [columns, n]
    if levels >= _FINE:
        middle, half = (mine.amax(dim=1) + mine.amin(dim=1)) / 2, (mine.amax(dim=1) - mine.amin(dim=1)) / 2
        points = middle[:, None] + half[:, None] * _MARGIN * torch.linspace(-1, 1, levels)
    else:
        spread = mine.square().mean(dim=1, keepdim=True).sqrt()
        points = laplace_start(levels) * spread
        for _ in range(_TURNS):
            near = nearest(mine, points)
            total = torch.zeros_like(points).scatter_add_(1, near, mine)
            count = torch.zeros_like(points).scatter_add_(1, near, torch.ones_like(mine))
            points = torch.where(count > 0, total / count.clamp_min(1), points).sort(dim=1).values
    points = points.clamp(-65504, 65504).to(torch.float16).float()
    found = points.gather(1, nearest(mine, points))
    return points, (found - mine).square().mean(dim=1)


def nearest(sample: Tensor, points: Tensor) -> Tensor:
    """Give the nearest of points [columns, levels], ascending, for every number of a sample [columns, n]: int64."""
    return torch.searchsorted(((points[:, 1:] + points[:, :-1]) / 2).contiguous(), sample)


def laplace_start(levels: int) -> Tensor:
    """Place levels where a Laplacian of spread 1 has equal parts of the cube root of its density (Panter and Dite)."""
    share = (torch.arange(levels, dtype=torch.float64) + 0.5) / levels
    side = torch.where(share < 0.5, 2 * share, 2 * (1 - share)).log() * (3 / 2**0.5)
    return torch.where(share < 0.5, side, -side).float()
