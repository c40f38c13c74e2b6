"""The window stays inside both bounds and loses nothing on the way."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onlooker.errors import SettingsError
from onlooker.memory.block import KVBlock
from onlooker.memory.window import Window


def block(block_id: int, n: int) -> KVBlock:
    keys = torch.zeros(1, 1, n, 2)
    return KVBlock(block_id, keys, keys, torch.zeros(n, 1, dtype=torch.int64), n, torch.zeros(n, 3), (0, 0))


@given(st.lists(st.integers(0, 6), max_size=20), st.integers(0, 5), st.integers(0, 12), st.integers(1, 4))
def test_bounds_hold_and_blocks_leave_in_order(sizes: list[int], blocks: int, tokens: int, chunk: int) -> None:
    window, left = Window(blocks, tokens), []
    made = [block(i, n) for i, n in enumerate(sizes)]
    for at in range(0, len(made), chunk):
        left += window.push(made[at : at + chunk])
        assert len(window) <= blocks
        assert window.tokens == sum(len(b) for b in window.blocks) <= tokens
    one_by_one = Window(blocks, tokens)
    for b in made:
        one_by_one.push([b])
    assert window.blocks == one_by_one.blocks
    assert (*left, *window.blocks) == tuple(made)
    rest = window.blocks
    assert window.nbytes == sum(b.nbytes for b in rest)
    assert window.drain() == rest
    assert (len(window), window.tokens) == (0, 0)


def test_a_block_stays_as_long_as_it_fits() -> None:
    window = Window(3, 10)
    assert window.push([block(0, 4), block(1, 6)]) == ()
    assert [b.block_id for b in window.push([block(2, 1)])] == [0]


def test_negative_bounds_are_refused() -> None:
    with pytest.raises(SettingsError, match="-1 blocks"):
        Window(-1, 5)
