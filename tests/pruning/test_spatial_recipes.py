"""Recipes of saliency as a whole: what they keep of whole frames, against sums written out from the papers."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from onlooker.errors import SettingsError
from onlooker.models.tokens import VisualTokens
from onlooker.pruning.recipe_settings import RecipeSettings
from onlooker.pruning.spatial_recipes import SPATIAL_RECIPES
from onlooker.pruning.state import State

MakeTokens = Callable[[Tensor, tuple[int, int]], VisualTokens]
NAMES = sorted(SPATIAL_RECIPES)


def looked_at(tokens: VisualTokens, saliency: Tensor, values: Tensor) -> VisualTokens:
    return replace(tokens, extras={**tokens.extras, "saliency": saliency, "values": values})


def kept(name: str, tokens: VisualTokens, rate: float) -> list[list[int]]:
    """Give the kept cells frame by frame."""
    recipe = SPATIAL_RECIPES[name](RecipeSettings(tokens.grid, rate))
    index = recipe.prune(tokens, State()).index.tolist()
    cells = tokens.grid[0] * tokens.grid[1]
    return [[row % cells for row in index if row // cells == t] for t in range(len(tokens.times_us))]


def naive(name: str, saliency: list[list[float]], values: list[list[float]]) -> list[float]:
    layers = len(saliency[0])
    if name == "fastervlm":
        return [row[-1] for row in saliency]
    if name == "vtc-cls":
        return [sum(row[layers // 3 :]) for row in saliency]
    flow = [0.0] * len(saliency)
    for layer in range(layers):
        total = sum(row[layer] for row in saliency)
        for cell, row in enumerate(saliency):
            step = 2 * row[layer] / total * values[cell][layer]
            flow[cell] = step if layer == 0 else (flow[cell] + step) / 2
    return flow


@pytest.mark.parametrize("name", ["fastervlm", "flowcut", "vtc-cls"])
def test_the_highest_of_the_written_out_scores_are_kept(make_tokens: MakeTokens, name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    saliency, values = torch.rand(2, 5 * 12, 7, generator=generator)
    tokens = looked_at(make_tokens(torch.zeros(5, 12, 2), (3, 4)), saliency, values)
    for t, cells in enumerate(kept(name, tokens, 0.25)):
        rows = slice(t * 12, (t + 1) * 12)
        scores = naive(name, saliency[rows].tolist(), values[rows].tolist())
        assert cells == sorted(sorted(range(12), key=lambda cell: -scores[cell])[:3])


def test_whole_rows_are_kept_by_the_last_layer(make_tokens: MakeTokens) -> None:
    saliency = torch.zeros(16, 3)
    saliency[4:8, 1] = 9.0
    saliency[8:12, 2] = 1.0
    tokens = looked_at(make_tokens(torch.zeros(1, 16, 2), (4, 4)), saliency, saliency)
    assert kept("fopru", tokens, 0.25) == [[8, 9, 10, 11]]


def test_a_quarter_that_draws_more_attention_keeps_more(make_tokens: MakeTokens) -> None:
    saliency = torch.ones(64, 2)
    saliency[:32].view(4, 8, 2)[:, :4] = 3.0  # top left: its sum is 48, the others' 16
    tokens = looked_at(make_tokens(torch.zeros(1, 64, 2), (8, 8)), saliency, saliency)
    (cells,) = kept("globalcom2", tokens, 0.25)
    first = [cell for cell in cells if cell < 32 and cell % 8 < 4]
    assert len(cells) == 16
    # softmax(48/10, 16/10, 16/10, 16/10) is 0.89 and 3 x 0.04: 4 (1 + 0.89 - 0.25) = 6.6 of 16 cells
    assert len(first) == 7


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_the_rate_s_exactly(make_tokens: MakeTokens, name: str) -> None:
    saliency, values = torch.rand(2, 10 * 15, 4, generator=torch.Generator().manual_seed(1))
    tokens = looked_at(make_tokens(torch.zeros(10, 15, 2), (3, 5)), saliency, values)
    assert [len(cells) for cells in kept(name, tokens, 0.3)] == [4, 5] * 5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (4, 1), (2, 3)])
@pytest.mark.parametrize("level", [0.0, 1.0, float("nan")])
def test_small_grids_with_one_layer_of_equal_attention_are_fine(
    make_tokens: MakeTokens, name: str, grid: tuple[int, int], level: float
) -> None:
    cells = grid[0] * grid[1]
    plane = torch.full((2 * cells, 1), level)
    tokens = looked_at(make_tokens(torch.zeros(2, cells, 2), grid), plane, plane)
    frames = kept(name, tokens, 0.5)
    assert sum(map(len, frames)) == cells
    if name in ("fastervlm", "flowcut", "vtc-cls"):
        assert all(frame == list(range(len(frame))) for frame in frames), "of equal cells the first"


@pytest.mark.parametrize("name", NAMES)
def test_features_are_handed_on_as_they_are(make_tokens: MakeTokens, name: str) -> None:
    generator = torch.Generator().manual_seed(2)
    tokens = make_tokens(torch.randn(2, 9, 4, generator=generator), (3, 3))
    tokens = looked_at(tokens, torch.rand(18, 3, generator=generator), torch.rand(18, 3, generator=generator))
    pruned = SPATIAL_RECIPES[name](RecipeSettings((3, 3), 0.4)).prune(tokens, State())
    assert torch.equal(pruned.tokens.features, tokens.features[pruned.index])
    assert pruned.state.nbytes == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_planes_are_asked_for(make_tokens: MakeTokens, name: str) -> None:
    recipe = SPATIAL_RECIPES[name](RecipeSettings((2, 2)))
    assert recipe.name == name
    assert recipe.planes == ({"saliency", "values"} if name == "flowcut" else {"saliency"})
    with pytest.raises(SettingsError, match="saliency"):
        recipe.step(replace(make_tokens(torch.zeros(1, 4, 2), (2, 2)), extras={}), State())
