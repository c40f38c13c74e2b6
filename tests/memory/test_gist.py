"""A gist is means over parts of the frame, behind the block's own text."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onlooker.memory.block import KVBlock
from onlooker.memory.gist import gist_of


def block(cells: list[tuple[int, int]], text: int = 2, tail: int = 0, axes: int = 1) -> KVBlock:
    n = text + len(cells) + tail
    keys, values = torch.randn(2, 2, 2, n, 4, generator=torch.Generator().manual_seed(n))
    coords = torch.full((n, 3), -1, dtype=torch.int32)
    for row, (h, w) in enumerate(cells, text):
        coords[row] = torch.tensor([0, h, w])
    positions = torch.arange(n)[:, None]
    if axes == 3:
        positions = torch.where(coords < 0, positions, coords.long() + text)
    return KVBlock(5, keys, values, positions, n if axes == 1 else 20, coords, (3, 9), 70)


CELLS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20, unique=True).map(sorted)


@given(CELLS, st.integers(0, 3), st.integers(0, 2), st.sampled_from([1, 3]))
def test_a_gist_is_the_means_of_the_parts(cells: list[tuple[int, int]], text: int, tail: int, axes: int) -> None:
    whole = block(cells, text, tail, axes)
    gist = gist_of(whole)
    low = [min(cell[axis] for cell in cells) for axis in (0, 1)]
    size = [max(cell[axis] for cell in cells) - low[axis] + 1 for axis in (0, 1)]
    parts: dict[tuple[int, int], list[int]] = {}
    for row, cell in enumerate(cells, text):
        h, w = ((cell[axis] - low[axis]) * 2 // size[axis] for axis in (0, 1))
        parts.setdefault((h, w), []).append(row)
    rows = [parts[part] for part in sorted(parts)]
    assert len(gist) == text + len(rows) + tail <= text + 4 + tail
    for number, owned in enumerate(rows, text):
        for name in ("keys", "values"):
            mean = getattr(whole, name)[:, :, owned].mean(dim=2)
            assert torch.allclose(getattr(gist, name)[:, :, number], mean, atol=1e-6)
        assert torch.allclose(gist.coords[number].double(), whole.coords[owned].double().mean(0), atol=0.5)
        if axes == 3:
            assert torch.allclose(gist.positions[number].double(), whole.positions[owned].double().mean(0), atol=0.5)
    assert torch.equal(gist.keys[:, :, :text], whole.keys[:, :, :text])
    assert torch.equal(gist.values[:, :, len(gist) - tail :], whole.values[:, :, len(whole) - tail :])
    assert gist.coords[:text].eq(-1).all() and gist.coords[len(gist) - tail :].eq(-1).all()
    if axes == 1:
        assert gist.positions[:, 0].tolist() == list(range(len(gist))) and gist.extent == len(gist)
    else:
        assert gist.extent == whole.extent and torch.equal(gist.positions[:text], whole.positions[:text])
        assert int(gist.positions.max()) <= int(whole.positions.max())
    assert (gist.block_id, gist.span_us, gist.place) == (5, (3, 9), 70)
    assert gist.keys.dtype == whole.keys.dtype


def test_the_gist_of_a_gist_is_no_larger() -> None:
    gist = gist_of(block([(h, w) for h in range(6) for w in range(6)]))
    assert len(gist_of(gist)) == len(gist) == 6


@pytest.mark.parametrize("text", [0, 3])
def test_a_block_without_visual_tokens_is_its_own_gist(text: int) -> None:
    whole = block([], text)
    assert gist_of(whole) is whole


def test_halves_are_pooled_with_care() -> None:
    whole = block([(0, w) for w in range(2)], text=0)
    halves = KVBlock(
        0, whole.keys.half() * 0 + 60_000.0, whole.values.half(), whole.positions, 2, whole.coords * 0, (0, 1)
    )
    assert gist_of(halves).keys.eq(60_000.0).all()  # their sum is no half
