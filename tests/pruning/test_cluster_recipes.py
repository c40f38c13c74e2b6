"""Recipes of clusters as a whole: what they make of streams whose content is known."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from onlooker.models.tokens import VisualTokens
from onlooker.pruning.cluster_recipes import CLUSTER_RECIPES
from onlooker.pruning.recipe import Pruned
from onlooker.pruning.recipe_settings import RecipeSettings
from onlooker.pruning.state import State

MakeTokens = Callable[[Tensor, tuple[int, int]], VisualTokens]
NAMES = sorted(CLUSTER_RECIPES)


def prune(tokens: VisualTokens, name: str, seed: int = 0, **settings: float) -> Pruned:
    """Prune with attention drawn at random."""
    saliency = torch.rand(len(tokens), 3, generator=torch.Generator().manual_seed(seed))
    tokens = replace(tokens, extras={**tokens.extras, "saliency": saliency})
    recipe = CLUSTER_RECIPES[name](RecipeSettings(tokens.grid, **settings))  # type: ignore[arg-type]
    return recipe.prune(tokens, State())


def noise(frames: int, cells: int, dim: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(frames, cells, dim, generator=torch.Generator().manual_seed(seed))


def test_dymu_halves_a_picture_of_pairs_without_loss(make_tokens: MakeTokens) -> None:
    """Cells 2i and 2i + 1 are alike: at a rate of a half each pair is one cell, and nothing is lost."""
    pairs = torch.eye(8).repeat_interleave(2, 0)
    pruned = prune(make_tokens(pairs[None], (4, 4)), "dymu", rate=0.5)
    assert pruned.index.tolist() == list(range(1, 16, 2))
    torch.testing.assert_close(pruned.tokens.features, torch.eye(8))


def test_dymu_with_a_threshold_keeps_what_differs(make_tokens: MakeTokens) -> None:
    plain, busy = torch.ones(16, 16), torch.eye(16)
    pruned = prune(make_tokens(torch.stack([plain, busy]), (4, 4)), "dymu", threshold=0.9)
    assert pruned.counts.tolist() == [1, 16]


def test_dymu_keeps_the_mean_of_all_its_cells(make_tokens: MakeTokens) -> None:
    features = noise(1, 9)
    pruned = prune(make_tokens(features, (3, 3)), "dymu", rate=1 / 9)
    torch.testing.assert_close(pruned.tokens.features[0], features[0].mean(0))


def test_holitom_keeps_a_still_cell_once_and_a_changing_one_each_time(make_tokens: MakeTokens) -> None:
    still = noise(1, 16).repeat(12, 1, 1)
    still[:, 5] = noise(12, 1, seed=1)[:, 0]
    pruned = prune(make_tokens(still, (4, 4)), "holitom", floor=0, rate=0.5)
    later = pruned.tokens.coords[pruned.tokens.coords[:, 0] > 0]
    assert {(y, x) for _, y, x in later.tolist()} == {(1, 1)}
    assert len(later) >= 10  # two noises may be alike by chance


def test_holitom_merges_new_cells_that_it_does_not_keep(make_tokens: MakeTokens) -> None:
    features = torch.tensor([[[1.0, 0.0], [0.9, 0.0], [0.0, 1.0], [0.0, 0.8]]])
    tokens = make_tokens(features, (2, 2))
    saliency = torch.tensor([[4.0], [1.0], [3.0], [2.0]])
    tokens = replace(tokens, extras={"saliency": saliency})
    pruned = CLUSTER_RECIPES["holitom"](RecipeSettings((2, 2), 0.5)).prune(tokens, State())
    assert pruned.index.tolist() == [0, 2]
    torch.testing.assert_close(pruned.tokens.features, torch.tensor([[0.96, 0.0], [0.0, 0.92]]))


def test_fastvid_merges_the_rest_of_an_anchor_frame_and_drops_that_of_others(make_tokens: MakeTokens) -> None:
    features = noise(1, 16).repeat(8, 1, 1)
    tokens = make_tokens(features, (4, 4))
    pruned = prune(tokens, "fastvid", rate=5 / 16)
    assert pruned.counts.tolist() == [5, 3, 3, 3, 11, 3, 3, 3]
    changed = (pruned.tokens.features != tokens.features[pruned.index]).any(1)
    frames = pruned.tokens.coords[:, 0]
    assert set(frames[changed].tolist()) == {0, 4}


def test_ktv_keeps_the_first_frame_of_each_scene(make_tokens: MakeTokens) -> None:
    scenes = noise(3, 16, 64)
    order = [0] * 5 + [1] * 5 + [0] * 5 + [2] * 5
    pruned = prune(make_tokens(scenes[order], (4, 4)), "ktv", threshold=0.5)
    assert [t for t, count in enumerate(pruned.counts.tolist()) if count] == [0, 5, 15]
    assert pruned.counts.tolist()[5] == 16, "what five frames saved, more than a frame holds"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["noise", "still", "blank"])
@pytest.mark.parametrize("rate", [0.1, 0.37, 0.8])
def test_the_rate_bounds_what_is_kept(make_tokens: MakeTokens, name: str, kind: str, rate: float) -> None:
    features = {"noise": noise(60, 16), "still": noise(1, 16).repeat(60, 1, 1), "blank": torch.zeros(60, 16, 4)}[kind]
    pruned = prune(make_tokens(features, (4, 4)), name, rate=rate)
    for frames in range(1, 61):
        assert int(pruned.counts[:frames].sum()) <= 16 + frames * rate * 16 + 1e-3
    if kind == "noise" and name in ("dymu", "fastvid", "holitom"):
        assert int(pruned.counts.sum()) > 0.9 * 60 * rate * 16 - 16


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (5, 2)])
@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_bad_and_blank_cells_leave_a_usable_state(
    make_tokens: MakeTokens, name: str, grid: tuple[int, int], bad: float
) -> None:
    cells = grid[0] * grid[1]
    features = noise(6, cells).to(torch.bfloat16)
    features[2, 0] = bad
    features[3] = bad
    pruned = prune(make_tokens(features, grid), name, rate=0.5)
    assert all(tensor.isfinite().all() for tensor in pruned.state.memory.values())
    assert pruned.tokens.features.dtype == torch.bfloat16
    assert int(pruned.counts[4:].sum()) > 0


@pytest.mark.parametrize("name", NAMES)
def test_owners_are_kept_cells(make_tokens: MakeTokens, name: str) -> None:
    tokens = make_tokens(noise(20, 16), (4, 4))
    pruned = prune(tokens, name, rate=0.3)
    if pruned.owners is None:
        assert torch.equal(pruned.tokens.features, tokens.features[pruned.index])
        return
    kept = torch.zeros(20 * 16, dtype=torch.bool)
    kept[pruned.index] = True
    for mine, owner in zip(kept.view(20, 16), pruned.owners, strict=True):
        assert torch.equal(owner[mine], mine.nonzero().squeeze(1))
        assert set(owner[~mine].tolist()) <= {-1, *mine.nonzero().squeeze(1).tolist()}


@pytest.mark.parametrize("name", NAMES)
def test_recipes_carry_their_names(name: str) -> None:
    recipe = CLUSTER_RECIPES[name](RecipeSettings((2, 2)))
    assert recipe.name == name
    assert recipe.planes == (set() if name == "dymu" else {"saliency"})
