import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onlooker.pruning.stages import Cells, Choice
from onlooker.pruning.two_paths import TwoPaths


def select(scores: Tensor, count: int, features: Tensor, saliency: Tensor) -> Choice:
    cells = Cells(features, (1, len(features)), 1, extras={"saliency": saliency})
    return TwoPaths().select(scores, torch.tensor(count), cells, {})


def naive(
    scores: list[float], count: int, rows: list[list[float]], saliency: list[float]
) -> tuple[set[int], list[int]]:
    """Choose and give owners, from the definitions, without ties."""
    static = [cell for cell, score in enumerate(scores) if score < 0.1]
    centres_wanted = count * len(static) // len(scores)
    dynamic = sorted(set(range(len(scores))) - set(static), key=lambda cell: -saliency[cell])
    kept = set(dynamic[: count - centres_wanted])
    owner = [cell if cell in kept else -1 for cell in range(len(scores))]
    apart = {(i, j): math.dist(rows[i], rows[j]) / math.sqrt(len(rows[0])) for i in static for j in static}
    density = {}
    for cell in static:
        nearest = sorted(apart[cell, other] ** 2 for other in static)[:7]
        density[cell] = math.exp(-sum(nearest) / len(nearest))
    value = {}
    for cell in static:
        denser = [apart[cell, other] for other in static if density[other] > density[cell]]
        value[cell] = density[cell] * (min(denser) if denser else max(apart.values()))
    centres = sorted(static, key=lambda cell: -value[cell])[:centres_wanted]
    if centres:
        for cell in static:
            owner[cell] = cell if cell in centres else min(centres, key=lambda centre: apart[cell, centre])
    return kept | set(centres), owner


@pytest.mark.parametrize("seed", range(20))
def test_both_paths_equal_naive_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cells = 24
    features = torch.randn(cells, 5, generator=generator)
    scores = torch.where(torch.rand(cells, generator=generator) < seed / 19, 0.05, 0.5)
    saliency = torch.rand(cells, 3, generator=generator)
    for count in (0, 1, 5, 12, 24):
        kept, owner = naive(scores.tolist(), count, features.double().tolist(), saliency[:, -1].tolist())
        choice = select(scores, count, features, saliency)
        assert set(choice.kept.nonzero().squeeze(1).tolist()) == kept
        assert choice.owner is not None
        assert choice.owner.tolist() == owner


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.booleans(), st.data())
@settings(deadline=None)
def test_any_count_is_met_also_among_equal_cells(static: list[bool], blank: bool, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(static)))
    features = torch.zeros(len(static), 3) if blank else torch.arange(3.0 * len(static)).view(-1, 3)
    scores = torch.tensor([0.0 if calm else 2.0 for calm in static])
    choice = select(scores, count, features, torch.zeros(len(static), 1))
    assert choice.kept.sum() == count
    assert choice.owner is not None
    assert choice.owner[choice.kept].tolist() == choice.kept.nonzero().squeeze(1).tolist()
    assert choice.kept[choice.owner[choice.owner >= 0]].all()


def test_a_centre_is_where_the_cells_are_dense() -> None:
    """The published slip, distance to the nearest less dense cell, would take the lone cell at the end."""
    places = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 5.0, 5.1, 5.2, 5.3, 5.4, 5.5, 5.6, 5.7, 9.0])
    choice = select(torch.zeros(17), 2, places[:, None], torch.zeros(17, 1))
    first, second = choice.kept.nonzero().squeeze(1).tolist()
    assert 0 < first < 7
    assert 8 < second < 15


def test_broken_saliency_and_features_are_survived() -> None:
    saliency = torch.tensor([[0.1], [math.nan], [0.3], [math.inf]])
    choice = select(torch.full((4,), 2.0), 2, torch.full((4, 3), math.nan), saliency)
    assert choice.kept.tolist() == [True, False, True, False]
    assert select(torch.zeros(4), 2, torch.full((4, 3), math.nan), saliency).kept.sum() == 2
