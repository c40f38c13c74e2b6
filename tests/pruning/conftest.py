"""Frames of random tokens."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from onlooker.models.tokens import VisualTokens

MakeTokens = Callable[[Tensor, tuple[int, int]], VisualTokens]


@pytest.fixture(scope="session")
def make_tokens() -> MakeTokens:
    """Give a function that turns features [T, N, D] into whole frames."""

    def make(features: Tensor, grid: tuple[int, int]) -> VisualTokens:
        frames, cells, dim = features.shape
        t, y, x = torch.meshgrid(torch.arange(frames), torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
        coords = torch.stack([t, y, x], -1).reshape(-1, 3).to(torch.int32)
        times = tuple(range(0, frames * 40_000, 40_000))
        extras = {"row": torch.arange(frames * cells)}
        return VisualTokens(features.reshape(-1, dim), coords, grid, times, extras)

    return make
