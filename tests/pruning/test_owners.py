"""Which cell each cell was merged into, as a recipe reports it."""

from collections.abc import Callable

import pytest
import torch

from onlooker.models.tokens import VisualTokens
from onlooker.pruning import Recipe, RecipeSettings, State, build_recipe
from onlooker.pruning.budget import Quota
from onlooker.pruning.reduce import Merge
from onlooker.pruning.score import Flat
from onlooker.pruning.select import Top

MakeTokens = Callable[[torch.Tensor, tuple[int, int]], VisualTokens]


def frames(count: int, cells: int) -> torch.Tensor:
    return torch.randn(count, cells, 6, generator=torch.Generator().manual_seed(0))


def test_merging_tells_whose_features_went_where(make_tokens: MakeTokens) -> None:
    tokens = make_tokens(frames(3, 16), (4, 4))
    pruned = build_recipe("pool", grid=(4, 4), rate=0.25).prune(tokens, State())
    owners = pruned.owners
    assert owners is not None and owners.shape == (3, 16) and owners.dtype == torch.int64
    for t in range(3):
        survivors = pruned.index[pruned.index // 16 == t] % 16
        assert set(owners[t].tolist()) == set(survivors.tolist())
        assert torch.equal(owners[t, survivors], survivors)
        for cell in survivors.tolist():
            mean = tokens.features[t * 16 + (owners[t] == cell).nonzero().squeeze(1)].mean(0)
            assert torch.allclose(pruned.tokens.features[pruned.index == t * 16 + cell][0], mean, atol=1e-6)


@pytest.mark.parametrize("name", ["none", "novelty", "random", "uniform"])
def test_where_nothing_is_merged_there_are_no_owners(make_tokens: MakeTokens, name: str) -> None:
    assert build_recipe(name, grid=(2, 2), rate=0.5).prune(make_tokens(frames(2, 4), (2, 2)), State()).owners is None


def test_a_choice_without_groups_under_a_merging_recipe_owns_itself(make_tokens: MakeTokens) -> None:
    settings = RecipeSettings((1, 4), 0.5)
    recipe = Recipe("own", settings.grid, Flat(), Quota(settings.refill), Top(), Merge())
    pruned = recipe.prune(make_tokens(frames(1, 4), (1, 4)), State())
    assert pruned.owners is not None and pruned.owners.tolist() == [[0, 1, -1, -1]]
