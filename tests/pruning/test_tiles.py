import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.pruning.stages import Cells
from onlooker.pruning.tiles import Tiles, TileScore, apportion, quarters

GRIDS = st.tuples(st.integers(1, 7), st.integers(1, 7))
CPU = torch.device("cpu")


def naive_tiles(grid: tuple[int, int]) -> dict[tuple[bool, bool], list[int]]:
    height, width = grid
    tiles: dict[tuple[bool, bool], list[int]] = {}
    for y in range(height):
        for x in range(width):
            key = (height >= 4 and y >= height / 2, width >= 4 and x >= width / 2)
            tiles.setdefault(key, []).append(y * width + x)
    return dict(sorted(tiles.items()))


@given(GRIDS)
@settings(deadline=None)
def test_quarters_are_halves_of_both_sides(grid: tuple[int, int]) -> None:
    got = [row.nonzero().squeeze(1).tolist() for row in quarters(grid, CPU)]
    assert got == list(naive_tiles(grid).values())


@given(st.lists(st.tuples(st.floats(0.01, 100), st.integers(1, 20)), min_size=1, max_size=6), st.data())
@settings(deadline=None)
def test_shares_sum_to_the_count_and_fit(tiles: list[tuple[float, int]], data: st.DataObject) -> None:
    weights, sizes = (list(column) for column in zip(*tiles, strict=True))
    count = data.draw(st.integers(0, sum(sizes)))
    got = apportion(torch.tensor(weights), torch.tensor(sizes), torch.tensor(count)).tolist()
    assert sum(got) == count
    assert all(0 <= part <= size for part, size in zip(got, sizes, strict=True))
    free = [i for i in range(len(sizes)) if got[i] < sizes[i]]
    for i in free:  # who is not full has its share of what the full ones left, but for rounding
        rest = count - sum(got[j] for j in range(len(sizes)) if j not in free)
        fair = rest * weights[i] / sum(weights[j] for j in free)
        assert abs(got[i] - fair) < 1.0 + len(sizes)


@pytest.mark.parametrize(
    ("weights", "sizes", "count", "want"),
    [
        ([1, 1, 1, 1], [9, 9, 9, 9], 6, [2, 2, 1, 1]),
        ([3, 1], [2, 9], 8, [2, 6]),  # the first is full and the second takes what is left
        ([1.2, 1.2, 0.6], [9, 9, 9], 3, [1, 1, 1]),  # the smallest share has the largest remainder
        ([5, 1, 1], [3, 3, 3], 9, [3, 3, 3]),
        ([5, 1, 1], [3, 3, 3], 0, [0, 0, 0]),
    ],
)
def test_largest_remainders_win(weights: list[float], sizes: list[int], count: int, want: list[int]) -> None:
    got = apportion(torch.tensor(weights), torch.tensor(sizes), torch.tensor(count))
    assert got.tolist() == want


@given(st.sampled_from([(4, 4), (6, 8), (2, 4), (1, 1), (8, 4)]), st.data())
@settings(deadline=None)
def test_each_tile_keeps_its_most_salient(grid: tuple[int, int], data: st.DataObject) -> None:
    """On grids that are cut evenly the published shares sum to the count by themselves."""
    cells = grid[0] * grid[1]
    count = data.draw(st.integers(0, cells))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    saliency = 8 * torch.rand(cells, 3, generator=generator)
    frame = Cells(torch.zeros(cells, 2), grid, 0, extras={"saliency": saliency})
    scores = TileScore().score(frame, {})
    kept = Tiles().select(scores, torch.tensor(count), frame, {}).kept
    last = saliency[:, -1].tolist()
    tiles = list(naive_tiles(grid).values())
    drawn = [math.exp(sum(last[cell] for cell in tile) / 10) for tile in tiles]
    share = [value / sum(drawn) for value in drawn]
    ratios = [count / cells * (1 + s - sum(share) / len(share)) for s in share]
    for tile, ratio in zip(tiles, ratios, strict=True):
        mine = [cell for cell in tile if kept[cell]]
        if max(ratios) <= 1:
            assert abs(len(mine) - ratio * len(tile)) < 1
        assert mine == sorted(sorted(tile, key=lambda cell: -last[cell])[: len(mine)])
    assert int(kept.sum()) == count


@given(GRIDS, st.integers(0, 10**6))
@settings(deadline=None)
def test_scores_equal_naive_loops(grid: tuple[int, int], seed: int) -> None:
    cells = grid[0] * grid[1]
    saliency = torch.rand(cells, 2, generator=torch.Generator().manual_seed(seed))
    last = saliency[:, -1].tolist()
    want = [value / math.hypot(*last) for value in last]
    for tile in naive_tiles(grid).values():
        for cell in tile:
            want[cell] += last[cell] / math.hypot(*(last[other] for other in tile))
    got = TileScore().score(Cells(torch.zeros(cells, 1), grid, 0, extras={"saliency": saliency}), {})
    torch.testing.assert_close(got, torch.tensor(want))


def test_a_frame_without_attention_is_shared_out_evenly() -> None:
    frame = Cells(torch.zeros(16, 1), (4, 4), 0, extras={"saliency": torch.zeros(16, 1)})
    scores = TileScore().score(frame, {})
    assert scores.tolist() == [0] * 16
    kept = Tiles().select(scores, torch.tensor(4), frame, {}).kept
    assert kept.nonzero().squeeze(1).tolist() == [0, 2, 8, 10]
