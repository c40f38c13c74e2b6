import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.pruning.select import Lattice, Top, lattice
from onlooker.pruning.stages import Cells


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=20), st.data())
@settings(deadline=None)
def test_top_keeps_the_highest_and_the_first_of_equals(scores: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(scores)))
    cells = Cells(torch.zeros(len(scores), 1), (1, len(scores)), 0)
    kept = Top().select(torch.tensor(scores), torch.tensor(count), cells, {}).kept
    expected = sorted(range(len(scores)), key=lambda cell: (-scores[cell], cell))[:count]
    assert kept.nonzero().squeeze(1).tolist() == sorted(expected)


@given(st.integers(1, 15), st.integers(1, 15), st.data())
@settings(deadline=None)
def test_lattice_has_as_many_cells_as_asked(height: int, width: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, height * width))
    cells = lattice((height, width), count)
    assert len(cells) == count
    assert cells == sorted(set(cells))
    assert all(0 <= cell < height * width for cell in cells)


@pytest.mark.parametrize(
    ("grid", "count", "expected"),
    [
        ((4, 4), 4, [5, 7, 13, 15]),
        ((4, 4), 2, [9, 11]),
        ((6, 6), 4, [7, 10, 25, 28]),
        ((2, 8), 4, [9, 11, 13, 15]),
    ],
)
def test_lattice_is_regular(grid: tuple[int, int], count: int, expected: list[int]) -> None:
    assert lattice(grid, count) == expected


def test_lattice_selects_what_it_lays() -> None:
    kept = Lattice().select(torch.zeros(16), torch.tensor(4), Cells(torch.zeros(16, 1), (4, 4), 0), {}).kept
    assert kept.nonzero().squeeze(1).tolist() == lattice((4, 4), 4)
