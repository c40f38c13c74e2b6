import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.pruning.change import Change, PixelChange
from onlooker.pruning.stages import Cells

GRIDS = st.tuples(st.integers(1, 5), st.integers(1, 5))


def frame(features: torch.Tensor, grid: tuple[int, int], number: int = 0) -> Cells:
    return Cells(features, grid, number)


@given(GRIDS, st.integers(0, 2), st.integers(0, 10**6))
@settings(deadline=None)
def test_change_equals_naive_loops(grid: tuple[int, int], reach: int, seed: int) -> None:
    cells = grid[0] * grid[1]
    before, after = torch.randn(2, cells, 5, generator=torch.Generator().manual_seed(seed))
    expected = []
    for cell, row in enumerate(after.tolist()):
        best = -1.0
        for place, other in enumerate(before.tolist()):
            steps = (abs(cell // grid[1] - place // grid[1]), abs(cell % grid[1] - place % grid[1]))
            if max(steps) <= reach:
                dot = sum(a * b for a, b in zip(row, other, strict=True))
                best = max(best, dot / math.hypot(*row) / math.hypot(*other))
        expected.append(1 - best)
    change = Change(reach)
    memory = change.learn(frame(before, grid), torch.zeros(cells, dtype=torch.bool), {})
    got = change.score(frame(after, grid, 1), memory)
    torch.testing.assert_close(got, torch.tensor(expected), atol=1e-4, rtol=0)


def test_a_first_frame_is_new_all_over() -> None:
    assert Change().score(frame(torch.zeros(4, 3), (2, 2)), {}).tolist() == [2.0] * 4


def test_the_reference_is_the_frame_before_whatever_was_kept() -> None:
    change = Change()
    memory = change.learn(frame(torch.eye(3), (1, 3)), torch.ones(3, dtype=torch.bool), {})
    turned = torch.eye(3).roll(1, 0)
    memory = change.learn(frame(turned, (1, 3), 1), torch.zeros(3, dtype=torch.bool), memory)
    assert change.score(frame(turned, (1, 3), 2), memory).max() < 1e-6


def test_the_memory_is_a_copy_in_the_tokens_type() -> None:
    features = torch.ones(4, 3, dtype=torch.bfloat16)
    memory = Change().learn(frame(features, (2, 2)), torch.ones(4, dtype=torch.bool), {})
    features[:] = 0
    assert memory["previous"].dtype == torch.bfloat16
    assert memory["previous"].float().tolist() == [[1.0] * 3] * 4


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_broken_cell_is_new_and_spoils_no_other(bad: float) -> None:
    change = Change(reach=1)
    features = torch.eye(4)
    features[1, 2] = bad
    memory = change.learn(frame(features, (2, 2)), torch.ones(4, dtype=torch.bool), {})
    scores = change.score(frame(torch.eye(4), (2, 2), 1), memory)
    assert scores.isfinite().all()
    assert scores[[0, 2, 3]].max() < 1e-6


def test_only_moving_places_matter() -> None:
    assert Change(reach=1).traits.placed
    assert not Change().traits.placed


def pixels(values: torch.Tensor, number: int) -> Cells:
    return Cells(torch.zeros(len(values), 1), (1, len(values)), number, extras={"pixels": values})


def test_pixel_change_is_the_mean_difference_of_colours() -> None:
    before, after = torch.rand(2, 6, 48, generator=torch.Generator().manual_seed(0))
    before[2, 5] = math.nan  # counts as black
    change = PixelChange()
    assert change.score(pixels(before, 0), {}).tolist() == [1.0] * 6
    memory = change.learn(pixels(before, 0), torch.ones(6, dtype=torch.bool), {})
    expected = []
    for row, other in zip(after.tolist(), before.tolist(), strict=True):
        gaps = [abs(a - (0.0 if math.isnan(b) else b)) for a, b in zip(row, other, strict=True)]
        expected.append(sum(gaps) / 48)
    torch.testing.assert_close(change.score(pixels(after, 1), memory), torch.tensor(expected))
    assert change.traits.needs == {"pixels"}
