import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onlooker.pruning.components import Anchors, Pieces, connected, neighbours, split_at
from onlooker.pruning.stages import Cells

GRIDS = st.tuples(st.integers(1, 6), st.integers(1, 6))


def naive_split(scores: list[float]) -> float:
    """Otsu on 128 bins over 0..2 by trying every edge, in fractions; the median where nothing splits."""
    if not scores:
        return 0.0
    bins = [min(127, int(score * 64)) for score in scores]
    best, found = Fraction(0), 0.0
    for edge in range(1, 128):
        low, high = [b for b in bins if b < edge], [b for b in bins if b >= edge]
        if low and high:
            gap = Fraction(sum(high), len(high)) - Fraction(sum(low), len(low))
            if len(low) * len(high) * gap * gap > best:
                best, found = len(low) * len(high) * gap * gap, edge / 64
    return found if best else sorted(scores)[(len(scores) - 1) // 2]


def naive_pieces(scores: list[float], rows: list[list[float]], grid: tuple[int, int]) -> list[list[int]]:
    """Find the survivors' pieces by walking from each cell, sorted."""
    limit = max(naive_split(scores), 1 - 0.8)
    alive = [cell for cell, score in enumerate(scores) if score >= limit]

    def apart(one: int, other: int) -> float:
        dot = sum(a * b for a, b in zip(rows[one], rows[other], strict=True))
        return 1 - dot / math.hypot(*rows[one]) / math.hypot(*rows[other])

    def touch(one: int, other: int) -> bool:
        (y, x), (v, u) = divmod(one, grid[1]), divmod(other, grid[1])
        return max(abs(y - v), abs(x - u)) == 1

    pairs = [(one, other) for one in alive for other in alive if one < other and touch(one, other)]
    most = naive_split([apart(*pair) for pair in pairs])
    links = [pair for pair in pairs if apart(*pair) <= most]
    pieces, left = [], set(alive)
    while left:
        piece, edge = set(), [min(left)]
        while edge:
            cell = edge.pop()
            if cell not in piece:
                piece.add(cell)
                edge += [other for pair in links if cell in pair for other in pair]
        left -= piece
        pieces.append(sorted(piece))
    return pieces


def naive_anchor(piece: list[int], rows: list[list[float]]) -> int:
    mean = [sum(rows[cell][channel] for cell in piece) / len(piece) for channel in range(len(rows[0]))]
    return min(piece, key=lambda cell: (round(math.dist(rows[cell], mean), 5), cell))


def scene(grid: tuple[int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Make scores, and features that are alike in patches."""
    generator = torch.Generator().manual_seed(seed)
    cells = grid[0] * grid[1]
    kinds = torch.randn(3, 6, generator=generator)
    patches = torch.randint(0, 3, (cells,), generator=generator)
    features = kinds[patches] + 0.3 * torch.randn(cells, 6, generator=generator)
    scores = torch.rand(cells, generator=generator) * torch.randint(0, 3, (cells,), generator=generator)
    return scores, features


def frame(features: Tensor, grid: tuple[int, int]) -> Cells:
    return Cells(features, grid, 3)


@given(st.lists(st.floats(0, 2, width=32), max_size=30))
@settings(deadline=None)
def test_a_split_equals_a_search_in_fractions(scores: list[float]) -> None:
    assert split_at(torch.tensor(scores)).item() == naive_split(scores)


@given(GRIDS)
def test_neighbours_are_all_pairs_that_touch(grid: tuple[int, int]) -> None:
    got = [tuple(sorted(pair)) for pair in torch.stack(neighbours(grid, torch.device("cpu")), 1).tolist()]
    places = [(y, x) for y in range(grid[0]) for x in range(grid[1])]
    expected = [
        (one, other)
        for one, (y, x) in enumerate(places)
        for other, (v, u) in enumerate(places)
        if one < other and max(abs(y - v), abs(x - u)) == 1
    ]
    assert sorted(got) == expected


@given(st.integers(1, 40), st.data())
@settings(deadline=None)
def test_labels_are_the_first_cells_of_components_of_any_graph(cells: int, data: st.DataObject) -> None:
    place = st.integers(0, cells - 1)
    edges = data.draw(st.lists(st.tuples(place, place, st.booleans()), max_size=60))
    first, second, linked = (torch.tensor([edge[i] for edge in edges]) for i in range(3))
    label = connected(first.long(), second.long(), linked.bool(), cells).tolist()
    expected = list(range(cells))
    for _ in range(cells):
        for one, other, link in edges:
            if link:
                expected[one] = expected[other] = min(expected[one], expected[other])
    assert label == expected


@pytest.mark.parametrize("seed", range(3))
def test_a_long_path_with_places_in_any_order_is_one_component(seed: int) -> None:
    path = torch.randperm(500, generator=torch.Generator().manual_seed(seed))
    label = connected(path[:-1], path[1:], torch.ones(499, dtype=torch.bool), 500)
    assert label.tolist() == [0] * 500


@pytest.mark.parametrize("seed", range(30))
def test_pieces_equal_a_walk_over_the_grid(seed: int) -> None:
    grid = [(4, 5), (1, 9), (7, 2), (6, 6), (1, 1)][seed % 5]
    scores, features = scene(grid, seed)
    rows = features.double().tolist()
    expected = [-1] * len(features)
    for piece in naive_pieces(scores.tolist(), rows, grid):
        for cell in piece:
            expected[cell] = naive_anchor(piece, rows)
    anchor, anchors = Pieces().find(scores, frame(features, grid))
    assert anchor.tolist() == expected
    assert anchors.nonzero().squeeze(1).tolist() == sorted(set(expected) - {-1})


def test_what_is_like_the_frame_before_is_vetoed_though_the_frame_splits() -> None:
    scores = torch.tensor([0.01, 0.02, 0.15, 0.19])
    features = torch.eye(4)
    assert Pieces().find(scores, frame(features, (1, 4)))[0].tolist() == [-1] * 4
    assert (Pieces(veto=0.9).find(scores, frame(features, (1, 4)))[0] >= 0).tolist() == [False, False, True, True]


def test_like_cells_apart_from_each_other_are_pieces_of_their_own() -> None:
    features = torch.eye(3)[[0, 1, 0, 0, 1, 0]]  # two rows of: a b a
    anchor, _ = Pieces().find(torch.ones(6), frame(features, (2, 3)))
    assert anchor.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("seed", range(10))
def test_a_short_count_drops_the_pieces_that_changed_least(seed: int) -> None:
    scores, features = scene((6, 6), seed)
    rows = features.double().tolist()
    pieces = naive_pieces(scores.tolist(), rows, (6, 6))
    pieces.sort(key=lambda piece: -max(scores[cell].item() for cell in piece))
    assert len(pieces) > 2
    for count in range(len(pieces) + 1):
        expected = [-1] * 36
        for piece in pieces[:count]:
            for cell in piece:
                expected[cell] = naive_anchor(piece, rows)
        choice = Anchors(Pieces()).select(scores, torch.tensor(count), frame(features, (6, 6)), {})
        assert choice.owner is not None
        assert choice.owner.tolist() == expected
        assert choice.kept.sum() == count


@given(GRIDS, st.integers(0, 10**6), st.data())
@settings(deadline=None)
def test_any_count_is_met_and_owners_are_kept(grid: tuple[int, int], seed: int, data: st.DataObject) -> None:
    scores, features = scene(grid, seed)
    count = data.draw(st.integers(0, len(features)))
    choice = Anchors(Pieces()).select(scores, torch.tensor(count), frame(features, grid), {})
    assert choice.owner is not None
    assert choice.kept.sum() == count
    assert choice.owner[choice.kept].tolist() == choice.kept.nonzero().squeeze(1).tolist()
    assert choice.kept[choice.owner[choice.owner >= 0]].all()


@pytest.mark.parametrize("features", [torch.zeros(9, 4), torch.full((9, 4), math.nan), torch.ones(9, 4)])
def test_a_frame_without_differences_is_one_piece(features: Tensor) -> None:
    anchor, _ = Pieces().find(torch.ones(9), frame(features, (3, 3)))
    assert anchor.tolist() == [0] * 9
