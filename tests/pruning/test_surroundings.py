import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.pruning.stages import Cells
from onlooker.pruning.surroundings import Rows, Surrounded, with_neighbours

GRIDS = st.tuples(st.integers(1, 9), st.integers(1, 9))


def best(scores: list[float], count: int) -> list[int]:
    return sorted(range(len(scores)), key=lambda cell: (-scores[cell], cell))[:count]


@given(GRIDS, st.data())
@settings(deadline=None)
def test_rows_are_kept_whole_and_the_last_in_part(grid: tuple[int, int], data: st.DataObject) -> None:
    height, width = grid
    levels = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=height * width, max_size=height * width))
    count = data.draw(st.integers(0, height * width))
    totals = [sum(levels[y * width : (y + 1) * width]) for y in range(height)]
    want: list[int] = []
    for row in best(totals, height):
        mine = [row * width + x for x in best(levels[row * width : (row + 1) * width], width)]
        want += mine[: count - len(want)]
    frame = Cells(torch.zeros(len(levels), 1), grid, 0)
    kept = Rows().select(torch.tensor(levels), torch.tensor(count), frame, {}).kept
    assert kept.nonzero().squeeze(1).tolist() == sorted(want)


def naive_neighbours(cell: int, grid: tuple[int, int]) -> set[int]:
    y, x = divmod(cell, grid[1])
    around = {(y, x), (y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)}
    return {v * grid[1] + u for v, u in around if 0 <= v < grid[0] and 0 <= u < grid[1]}


@given(GRIDS, st.data())
@settings(deadline=None)
def test_neighbours_end_at_the_border(grid: tuple[int, int], data: st.DataObject) -> None:
    cells = grid[0] * grid[1]
    marked = data.draw(st.sets(st.integers(0, cells - 1)))
    mask = torch.tensor([cell in marked for cell in range(cells)])
    want = set().union(*(naive_neighbours(cell, grid) for cell in marked))
    assert set(with_neighbours(mask, grid).nonzero().squeeze(1).tolist()) == want
    assert mask.tolist() == [cell in marked for cell in range(cells)], "what was given stays as it is"


@given(st.tuples(st.integers(1, 14), st.integers(1, 14)), st.integers(1, 24), st.data())
@settings(deadline=None)
def test_anchors_come_with_their_neighbours(grid: tuple[int, int], layers: int, data: st.DataObject) -> None:
    cells = grid[0] * grid[1]
    count = data.draw(st.integers(0, cells))
    saliency = torch.rand(cells, layers, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 10**6))))
    middle, last = saliency[:, 9 * layers // 24].tolist(), saliency[:, -1].tolist()
    anchors = max(int(0.1 * count / 5 + 0.5), 1 if count >= 5 else 0)
    want = set().union(*(naive_neighbours(cell, grid) for cell in best(middle, anchors)))
    rest = [cell for cell in best(last, cells) if cell not in want]
    want |= set(rest[: count - len(want)])
    frame = Cells(torch.zeros(cells, 1), grid, 0, extras={"saliency": saliency})
    kept = Surrounded().select(saliency[:, -1], torch.tensor(count), frame, {}).kept
    assert set(kept.nonzero().squeeze(1).tolist()) == want
    assert len(want) == count


@pytest.mark.parametrize(("count", "want"), [(4, [0, 1, 6, 9]), (5, [4, 5, 6, 9, 11])])
def test_an_anchor_at_the_border_does_not_wrap(count: int, want: list[int]) -> None:
    """Cell 5 ends the first row of a 4 x 6 grid and draws the middle layer; cell 6 begins the next row."""
    saliency = torch.zeros(24, 24)
    saliency[5, 9] = 1.0
    last = torch.zeros(24)
    last[9], last[6] = 2.0, 1.0
    frame = Cells(torch.zeros(24, 1), (4, 6), 0, extras={"saliency": saliency})
    kept = Surrounded().select(last, torch.tensor(count), frame, {}).kept
    assert kept.nonzero().squeeze(1).tolist() == want
