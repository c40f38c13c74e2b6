import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onlooker.pruning.bipartite import Matched, Unlike, match, rounds
from onlooker.pruning.reduce import Merge
from onlooker.pruning.stages import Cells


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def naive_merge(features: Tensor, count: int, threshold: float, times: int) -> list[list[int]]:
    """Merge lists of cells round by round, each standing as its mean; give the groups, each with its first member."""
    rows = features.tolist()
    groups = [[cell] for cell in range(len(rows))]
    for _ in range(times):
        means = [[sum(rows[cell][d] for cell in group) / len(group) for d in range(len(rows[0]))] for group in groups]
        pairs = []
        for i in range(0, len(groups), 2):
            options = [(cosine(means[i], means[j]), -j) for j in range(1, len(groups), 2)]
            if options:
                likeness, place = max(options)
                pairs.append((-likeness, i, -place))
        surplus = len(groups) - count
        gone = set()
        for likeness, i, j in sorted(pairs)[:surplus]:
            if -likeness > threshold:
                groups[j] = groups[j] + groups[i]
                gone.add(i)
        groups = [group for i, group in enumerate(groups) if i not in gone]
    return groups


def owners(groups: list[list[int]], cells: int) -> list[int]:
    owner = [-1] * cells
    for group in groups:
        for cell in group:
            owner[cell] = group[0]
    return owner


@pytest.mark.parametrize("seed", range(40))
def test_as_many_merge_as_asked_and_the_most_similar_first(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cells = seed % 17 + 1
    features = torch.randn(cells, 6, generator=generator)
    frame = Cells(features, (1, cells), 0)
    for count in range(1, cells + 1):
        groups = naive_merge(features, count, -2.0, 5)
        choice = Matched().select(torch.zeros(cells), torch.tensor(count), frame, {})
        assert choice.owner is not None
        assert choice.owner.tolist() == owners(groups, cells)
        assert choice.kept.nonzero().squeeze(1).tolist() == sorted(group[0] for group in groups)
        merged = Merge().reduce(features, choice)
        for group in groups:
            torch.testing.assert_close(merged[group[0]], features[group].mean(0))


@pytest.mark.parametrize("seed", range(40))
def test_a_threshold_lets_the_content_decide(seed: int) -> None:
    features = torch.randn(12, 3, generator=torch.Generator().manual_seed(seed))
    frame = Cells(features, (3, 4), 0)
    groups = naive_merge(features, 0, 0.7, 3)
    count, _ = Unlike(0.7).grant(torch.zeros(12), frame, {})
    assert int(count) == len(groups)
    choice = Matched(0.7).select(torch.zeros(12), count, frame, {})
    assert choice.owner is not None
    assert choice.owner.tolist() == owners(groups, 12)


def test_alike_pictures_cost_less_than_busy_ones() -> None:
    busy = torch.eye(16)
    plain = torch.ones(16, 16)
    counts = [int(Unlike(0.9).grant(torch.zeros(16), Cells(x, (4, 4), 0), {})[0]) for x in (busy, plain)]
    assert counts == [16, 1]


def test_a_frame_that_is_wanted_whole_is_kept_whole() -> None:
    frame = Cells(torch.ones(4, 2), (2, 2), 0, whole=True)
    count, _ = Unlike(0.5).grant(torch.zeros(4), frame, {})
    assert Matched(0.5).select(torch.zeros(4), count, frame, {}).kept.all()


@given(st.integers(1, 20), st.floats(-1, 1), st.booleans(), st.data())
@settings(deadline=None)
def test_exactly_the_count_is_kept(cells: int, threshold: float, fixed: bool, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, cells))
    features = torch.randn(cells, 4, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 10**6))))
    features[data.draw(st.integers(0, cells - 1))] = data.draw(st.sampled_from([0.0, math.nan, math.inf, 3e38]))
    frame = Cells(features, (1, cells), 0)
    choice = Matched(threshold if fixed else None).select(torch.zeros(cells), torch.tensor(count), frame, {})
    assert choice.owner is not None
    assert int(choice.kept.sum()) == count
    assert set(choice.owner.tolist()) == (set(choice.kept.nonzero().squeeze(1).tolist()) or {-1})


def test_equal_cells_merge_in_order() -> None:
    """Cells 0, 2 and 4 may join 1 or 3: all are alike, so the first two join the first."""
    owner = match(torch.ones(5, 2), torch.tensor(3), [-2.0] * rounds(5))
    assert owner.tolist() == [1, 1, 1, 3, 4]


def test_one_cell_has_no_partner() -> None:
    assert rounds(1) == 0
    choice = Matched().select(torch.zeros(1), torch.tensor(1), Cells(torch.ones(1, 2), (1, 1), 0), {})
    assert choice.kept.tolist() == [True]
