import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from onlooker.models.tokens import VisualTokens
from onlooker.pruning.change_recipes import CHANGE_RECIPES
from onlooker.pruning.recipe import Pruned
from onlooker.pruning.recipe_settings import RecipeSettings
from onlooker.pruning.state import State

MakeTokens = Callable[[Tensor, tuple[int, int]], VisualTokens]
Rows = list[list[float]]
NAMES = sorted(CHANGE_RECIPES)


def stream(frames: int, cells: int, seed: int = 0) -> Tensor:
    """Make a scene [T, N, 8] of which some cells change a little, some altogether and some stay."""
    generator = torch.Generator().manual_seed(seed)
    now = torch.randn(cells, 8, generator=generator)
    result = []
    for _ in range(frames):
        fresh = torch.randn(cells, 8, generator=generator)
        size = torch.rand(cells, 1, generator=generator).pow(4) * torch.rand(1, generator=generator)
        now = torch.where(torch.rand(cells, 1, generator=generator) < 0.2, fresh, now + 0.7 * size * fresh)
        result.append(now)
    return torch.stack(result)


def with_planes(tokens: VisualTokens) -> VisualTokens:
    """Add planes that the vision tower would give."""
    generator = torch.Generator().manual_seed(len(tokens))
    pixels = torch.rand(len(tokens), 48, generator=generator)
    saliency = torch.rand(len(tokens), 3, generator=generator)
    return replace(tokens, extras={**tokens.extras, "pixels": pixels, "saliency": saliency})


def distance(one: list[float], other: list[float]) -> float:
    return 1 - sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)


def highest(values: list[float], count: int) -> set[int]:
    return set(sorted(range(len(values)), key=lambda cell: -values[cell])[:count])


def kept(pruned: Pruned, cells: int) -> list[set[int]]:
    rows = pruned.index.tolist()
    return [{row % cells for row in rows if row // cells == t} for t in range(len(pruned.counts))]


def changes(name: str, tokens: VisualTokens, cells: int) -> list[list[float]]:
    """Compare each cell with that of the frame before, by loops; for dtd-pixels its colours."""
    plane: Rows = (tokens.extras["pixels"] if name == "dtd-pixels" else tokens.features).double().tolist()
    result = []
    for row in range(cells, len(tokens)):
        one, other = plane[row], plane[row - cells]
        if name == "dtd-pixels":
            result.append(sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 48)
        else:
            result.append(distance(one, other))
    return [result[start : start + cells] for start in range(0, len(result), cells)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["dtd", "dtd-pixels"])
def test_without_a_threshold_the_most_changed_share_of_each_frame_is_kept(
    make_tokens: MakeTokens, name: str, seed: int
) -> None:
    tokens = with_planes(make_tokens(stream(12, 20, seed), (4, 5)))
    pruned = CHANGE_RECIPES[name](RecipeSettings((4, 5), 0.3, floor=0)).prune(tokens, State())
    expected = [set(range(20)), *(highest(change, 6) for change in changes(name, tokens, 20))]
    assert kept(pruned, 20) == expected
    assert torch.equal(pruned.tokens.features, tokens.features[pruned.index])


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_with_a_threshold_what_is_too_like_the_frame_before_is_dropped(
    make_tokens: MakeTokens, threshold: float
) -> None:
    tokens = with_planes(make_tokens(stream(12, 20), (4, 5)))
    recipe = CHANGE_RECIPES["dtd"](RecipeSettings((4, 5), threshold=threshold))
    expected = [
        {cell for cell, far in enumerate(frame) if 1 - far <= threshold} for frame in changes("dtd", tokens, 20)
    ]
    assert kept(recipe.prune(tokens, State()), 20) == [set(range(20)), *expected]


def test_with_a_threshold_on_pixels_what_looks_alike_is_dropped(make_tokens: MakeTokens) -> None:
    tokens = with_planes(make_tokens(stream(12, 20), (4, 5)))
    recipe = CHANGE_RECIPES["dtd-pixels"](RecipeSettings((4, 5), threshold=0.34))
    frames = changes("dtd-pixels", tokens, 20)
    expected = [{cell for cell, far in enumerate(frame) if far >= 0.34} for frame in frames]
    assert kept(recipe.prune(tokens, State()), 20) == [set(range(20)), *expected]
    assert any(expected) and not all(len(frame) == 20 for frame in expected)


def test_evs_keeps_the_most_changed_cells_of_the_clip(make_tokens: MakeTokens) -> None:
    """Against the published rule, the highest of the whole clip: one threshold finds most of the same cells."""
    tokens = make_tokens(stream(150, 20), (4, 5))
    pruned = CHANGE_RECIPES["evs"](RecipeSettings((4, 5), 0.3, floor=0)).prune(tokens, State())
    frames = changes("evs", tokens, 20)
    got = kept(pruned, 20)
    assert got[0] == set(range(20))
    assert all(cells == highest(frame, len(cells)) for cells, frame in zip(got[1:], frames, strict=True))
    clip = sorted((far for frame in frames for far in frame), reverse=True)[149 * 6 - 1]
    published = [{cell for cell, far in enumerate(frame) if far >= clip} for frame in frames]
    shared = sum(len(one & other) for one, other in zip(got[1:], published, strict=True))
    assert shared > 0.9 * 149 * 6
    assert len({len(cells) for cells in got[1:]}) > 3, "counts follow the change"


def test_fluxmem_keeps_one_mean_for_each_patch_that_is_new(make_tokens: MakeTokens) -> None:
    """Two patches of like cells appear; one cell stays for each, with the mean of its patch."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 25, 32, generator=generator).repeat(3, 1, 1)
    patches = [[0, 1, 5, 6], [18, 19, 23, 24]]
    for patch in patches:
        kind = torch.randn(32, generator=generator)
        features[2, patch] = kind + 0.1 * torch.randn(4, 32, generator=generator)
    features[2, 12] = torch.randn(32, generator=generator)  # touches one cell of either, and is like none
    tokens = make_tokens(features, (5, 5))
    pruned = CHANGE_RECIPES["fluxmem"](RecipeSettings((5, 5), 0.9, floor=0)).prune(tokens, State())
    assert pruned.counts.tolist() == [25, 0, 3]
    places = [row - 50 for row in pruned.index[25:].tolist()]
    assert places[0] in patches[0] and places[1] == 12 and places[2] in patches[1]
    for row, patch in ((25, patches[0]), (26, [12]), (27, patches[1])):
        torch.testing.assert_close(pruned.tokens.features[row], features[2, patch].mean(0))


def test_fluxmem_pays_from_a_bucket(make_tokens: MakeTokens) -> None:
    torch.manual_seed(0)
    tokens = make_tokens(torch.randn(60, 36, 8), (6, 6))
    pruned = CHANGE_RECIPES["fluxmem"](RecipeSettings((6, 6), 0.05, floor=1)).prune(tokens, State())
    assert sum(pruned.counts.tolist()) <= 36 + 60 * 0.05 * 36
    assert pruned.counts.min() >= 1


@pytest.mark.parametrize("seed", range(3))
def test_streamingtom_splits_each_frame_by_how_much_of_it_is_static(make_tokens: MakeTokens, seed: int) -> None:
    tokens = with_planes(make_tokens(stream(12, 20, seed), (4, 5)))
    pruned = CHANGE_RECIPES["streamingtom"](RecipeSettings((4, 5), 0.4, floor=0)).prune(tokens, State())
    saliency = tokens.extras["saliency"][:, -1].view(12, 20).tolist()
    far = [[2.0] * 20, *changes("streamingtom", tokens, 20)]
    merged = 0
    for t, cells in enumerate(kept(pruned, 20)):
        static = {cell for cell in range(20) if 1 - far[t][cell] > 0.9}
        centres = cells & static
        assert len(cells) == 8
        assert len(centres) == 8 * len(static) // 20
        assert cells - static == highest(
            [-1 if cell in static else saliency[t][cell] for cell in range(20)], 8 - len(centres)
        )
        for cell in centres:
            frame = tokens.features[t * 20 : t * 20 + 20]
            near = {one: min(centres, key=lambda c, one=one: math.dist(frame[one], frame[c])) for one in static}
            others = [one for one in static if near[one] == cell != one]
            row = pruned.index.tolist().index(t * 20 + cell)
            expected = 0.6 * frame[cell] + 0.4 * frame[others].mean(0) if others else frame[cell]
            torch.testing.assert_close(pruned.tokens.features[row], expected)
            merged += len(others)
        for cell in cells - static:
            row = pruned.index.tolist().index(t * 20 + cell)
            assert torch.equal(pruned.tokens.features[row], tokens.features[t * 20 + cell])
    assert merged > 0


@pytest.mark.parametrize("name", ["stc", "vidcom2"])
def test_outliers_are_what_is_kept(make_tokens: MakeTokens, name: str) -> None:
    tokens = make_tokens(stream(12, 20), (4, 5))
    pruned = CHANGE_RECIPES[name](RecipeSettings((4, 5), 0.3, floor=0)).prune(tokens, State())
    for cells, scores, count in zip(kept(pruned, 20), pruned.scores.tolist(), pruned.counts.tolist(), strict=True):
        assert cells == highest(scores, count)
    if name == "stc":
        assert pruned.counts.tolist() == [6] * 12


def test_vidcom2_gives_the_frame_that_is_unlike_the_stream_more(make_tokens: MakeTokens) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(8, generator=generator) + 0.1 * torch.randn(20, 40, 8, generator=generator)
    features[12] = torch.randn(40, 8, generator=generator)
    pruned = CHANGE_RECIPES["vidcom2"](RecipeSettings((5, 8), 0.25)).prune(make_tokens(features, (5, 8)), State())
    assert pruned.counts.argmax() == 12
    assert pruned.counts[12] >= 18


@pytest.mark.parametrize("grid", [(1, 1), (1, 2), (3, 3)])
@pytest.mark.parametrize("fill", [0.0, 1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", NAMES)
def test_frames_that_are_all_alike_are_survived(
    make_tokens: MakeTokens, name: str, fill: float, grid: tuple[int, int]
) -> None:
    cells = grid[0] * grid[1]
    recipe = CHANGE_RECIPES[name](RecipeSettings(grid, 0.4))
    pruned = recipe.prune(with_planes(make_tokens(torch.full((30, cells, 4), fill), grid)), State())
    assert len(pruned.index) <= cells + 30 * 0.4 * cells
    assert pruned.scores.isfinite().all()
    held = {name: value for name, value in pruned.state.memory.items() if not name.endswith("previous")}
    assert all(tensor.isfinite().all() for tensor in held.values())


@pytest.mark.parametrize("name", NAMES)
def test_stillness_costs_no_more_than_the_budget_says(make_tokens: MakeTokens, name: str) -> None:
    still = torch.randn(1, 16, 6, generator=torch.Generator().manual_seed(0)).repeat(300, 1, 1)
    tokens = with_planes(make_tokens(still, (4, 4)))
    flat = {**tokens.extras, "pixels": torch.full((len(tokens), 48), 0.5)}
    recipe = CHANGE_RECIPES[name](RecipeSettings((4, 4), 0.3))
    pruned = recipe.prune(replace(tokens, extras=flat), State())
    assert pruned.counts[50:].float().mean() <= recipe.budget.still(16) + 0.05


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_cell_is_forgotten(make_tokens: MakeTokens, name: str) -> None:
    features = stream(8, 16)
    features[2, 5] = math.nan
    features[3, 6, 1] = math.inf
    tokens = with_planes(make_tokens(features, (4, 4)))
    pruned = CHANGE_RECIPES[name](RecipeSettings((4, 4), 0.4)).prune(tokens, State())
    assert pruned.scores.isfinite().all()
    later = pruned.tokens.features[pruned.index >= 64]
    assert later.isfinite().all()
    assert len(later) > 0


@pytest.mark.parametrize("name", NAMES)
def test_one_frame_is_enough(make_tokens: MakeTokens, name: str) -> None:
    tokens = with_planes(make_tokens(stream(1, 16), (4, 4)))
    pruned = CHANGE_RECIPES[name](RecipeSettings((4, 4), 0.25)).prune(tokens, State())
    assert pruned.counts.tolist() == [4 if name in ("stc", "streamingtom", "vidcom2") else 16]


def test_the_planes_that_are_asked_of_the_vision_tower() -> None:
    planes = {name: CHANGE_RECIPES[name](RecipeSettings((4, 4))).planes for name in NAMES}
    assert planes.pop("dtd-pixels") == {"pixels"}
    assert planes.pop("streamingtom") == {"saliency"}
    assert not any(planes.values())
