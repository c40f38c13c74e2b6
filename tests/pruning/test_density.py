import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onlooker.pruning.density import assign, density_peaks
from onlooker.pruning.similarity import cosines, distances, paired_cosines, tame


def naive_distances(features: Tensor) -> list[list[float]]:
    rows = features.tolist()
    return [[math.dist(a, b) / math.sqrt(len(a)) for b in rows] for a in rows]


def naive_peaks(features: Tensor, k: int) -> list[float]:
    apart = naive_distances(features)
    cells = range(len(apart))
    nearest = [sorted(row)[:k] for row in apart]
    density = [math.exp(-sum(d * d for d in row) / len(row)) for row in nearest]
    scores = []
    for i in cells:
        denser = [apart[i][j] for j in cells if (density[j], -j) > (density[i], -i)]
        delta = min(denser) if denser else max(max(row) for row in apart)
        scores.append(density[i] / max(density) * delta)
    return scores


@given(st.integers(1, 14), st.integers(1, 9), st.integers(0, 10**6))
@settings(deadline=None)
def test_peaks_equal_naive_loops(cells: int, k: int, seed: int) -> None:
    features = torch.randn(cells, 5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(density_peaks(features, k), torch.tensor(naive_peaks(features, k)), atol=1e-5, rtol=1e-5)


@given(st.integers(1, 14), st.data())
@settings(deadline=None)
def test_each_cell_belongs_to_the_nearest_centre(cells: int, data: st.DataObject) -> None:
    features = torch.randn(cells, 5, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 10**6))))
    centres = data.draw(st.lists(st.booleans(), min_size=cells, max_size=cells))
    apart = naive_distances(features)
    owner = assign(features, torch.tensor(centres)).tolist()
    places = [cell for cell in range(cells) if centres[cell]]
    assert owner == [min(places, key=lambda place: apart[cell][place]) if places else -1 for cell in range(cells)]


def test_two_groups_have_one_peak_each() -> None:
    """A dense group and a loose one: the best two centres are one of each."""
    generator = torch.Generator().manual_seed(0)
    dense, loose = torch.randn(2, 6, 8, generator=generator)
    features = torch.cat([0.1 * dense, 5.0 + 0.3 * loose])
    best = density_peaks(features, 3).topk(2).indices.tolist()
    assert {cell < 6 for cell in best} == {True, False}


def test_a_cell_that_repeats_another_is_no_second_centre() -> None:
    features = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 0.0], [3.0, 0.0]])
    scores = density_peaks(features, 2).tolist()
    assert scores[1] == scores[3] == 0
    assert min(scores[0], scores[2]) > 0


def test_equal_cells_go_to_the_first_centre_and_centres_to_themselves() -> None:
    features = torch.ones(4, 3)
    assert density_peaks(features, 3).tolist() == [0, 0, 0, 0]
    assert assign(features, torch.tensor([False, True, True, False])).tolist() == [1, 1, 2, 1]


def test_far_apart_cells_keep_a_score() -> None:
    """Densities of exp(-1e6) would all be 0 in float32."""
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)) * 1000
    assert density_peaks(features, 2).max() > 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38])
def test_one_bad_cell_leaves_the_others_usable(bad: float) -> None:
    features = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    features[3, 1] = bad
    assert density_peaks(features, 3).isfinite().all()
    assert set(assign(features, torch.tensor([True, False, True, False, False])).tolist()) <= {0, 2}


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
@settings(deadline=None)
def test_cosines_equal_naive_ones(n: int, m: int, seed: int) -> None:
    a, b = torch.randn(n + m, 6, generator=torch.Generator().manual_seed(seed)).split([n, m])
    for i, x in enumerate(a.tolist()):
        for j, y in enumerate(b.tolist()):
            want = sum(p * q for p, q in zip(x, y, strict=True)) / math.hypot(*x) / math.hypot(*y)
            assert cosines(a, b)[i, j].item() == pytest.approx(want, abs=1e-5)
    torch.testing.assert_close(paired_cosines(a, a.flip(0)), cosines(a, a.flip(0)).diagonal(), atol=1e-6, rtol=0)


def test_blank_vectors_are_alike_and_unlike_others() -> None:
    blank, other = torch.zeros(1, 4), torch.ones(1, 4)
    assert cosines(blank, blank).item() == pytest.approx(1)
    assert cosines(blank, other).item() < 0.01
    assert paired_cosines(blank, blank).item() == pytest.approx(1)


def test_equal_vectors_are_at_no_distance() -> None:
    row = torch.randn(1, 700, generator=torch.Generator().manual_seed(0)) * 30
    assert distances(row.repeat(40, 1)).max() == 0


def test_taming_bounds_every_input() -> None:
    wild = torch.tensor([math.nan, math.inf, -math.inf, 3e38, -3e38, 2.0])
    tamed = tame(wild)
    assert tamed[[0, 1, 2, 5]].tolist() == [0, 0, 0, 2]
    assert tamed.square().sum().isfinite()
