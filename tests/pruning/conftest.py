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
        # The planes that a vision tower would give; a frame's are made of its own features alone.
        flat = features.reshape(-1, dim).float()
        saliency = torch.stack((flat.abs().mean(1), flat.square().mean(1), flat[:, 0].abs()), 1) + 0.01
        pixels = flat.sigmoid().repeat(1, 48 // dim + 1)[:, :48]
        extras = {"row": torch.arange(frames * cells), "saliency": saliency, "values": saliency + 1, "pixels": pixels}
        return VisualTokens(features.reshape(-1, dim), coords, grid, times, extras)

    return make
