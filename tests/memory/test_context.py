"""Contexts are what rotating every part at its absolute place gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onlooker.errors import RecallError
from onlooker.memory.block import KVBlock, KVLayout, RotarySpec
from onlooker.memory.context import assemble
from onlooker.memory.rotary import angle_table, rotate

FREQ = (1.0, 0.1, 0.01, 0.001)
SPECS = (RotarySpec(FREQ), RotarySpec(FREQ, (2, 1, 1)), RotarySpec(FREQ, (2, 1, 1), interleaved=True, scaling=1.1))


def layout(spec: RotarySpec, dtype: torch.dtype = torch.float32) -> KVLayout:
    return KVLayout(2, 4, 2, 8, dtype, spec, "test")


def block(block_id: int, n: int, axes: int, extent: int, seed: int) -> KVBlock:
    rng = torch.Generator().manual_seed(seed)
    shape = (2, 2, n, 8)
    return KVBlock(
        block_id,
        torch.randn(shape, generator=rng),
        torch.randn(shape, generator=rng),
        torch.randint(0, max(extent, 1), (n, axes), generator=rng),
        extent,
        torch.zeros((n, 3), dtype=torch.int32),
        (block_id, block_id + 1),
    )


sizes = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=5)


@given(st.sampled_from(SPECS), sizes, st.integers(0, 10**8))
def test_keys_are_rotated_at_contiguous_absolute_positions(
    spec: RotarySpec, shapes: list[tuple[int, int]], start: int
) -> None:
    parts = [block(i, n, spec.axes, extent, i) for i, (n, extent) in enumerate(shapes)]
    context = assemble(layout(spec), parts, start)
    row, position = 0, start
    for part in parts:
        cos, sin = angle_table(part.positions + position, spec, torch.float32)
        torch.testing.assert_close(
            context.keys[:, :, row : row + len(part)], rotate(part.keys, cos, sin), rtol=0, atol=0
        )
        assert torch.equal(context.values[:, :, row : row + len(part)], part.values)
        row, position = row + len(part), position + part.extent
    assert len(context) == row
    assert context.next_position == position
    assert context.block_ids == tuple(range(len(parts)))


@given(st.sampled_from(SPECS), st.integers(0, 1000))
def test_moving_a_block_changes_its_rotation_alone(spec: RotarySpec, shift: int) -> None:
    part = block(3, 5, spec.axes, 7, 1)
    raw = part.keys.clone()
    here, there = assemble(layout(spec), [part]), assemble(layout(spec), [part], shift)
    assert torch.equal(here.values, there.values)
    assert torch.equal(part.keys, raw)  # read-only for the parts
    # q·k depends on the distance alone: the moved context asked from a moved place scores the same
    query = torch.randn(3, 8, generator=torch.Generator().manual_seed(5))
    at = torch.full((3, spec.axes), 20)
    scores = [
        rotate(query, *angle_table(at + moved, spec, torch.float32)) @ context.keys[0, 0].T
        for moved, context in ((0, here), (shift, there))
    ]
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-4, atol=1e-4)


def test_order_of_parts_decides_positions() -> None:
    spec = SPECS[0]
    a, b = block(0, 2, 1, 2, 1), block(1, 3, 1, 5, 2)
    ahead, behind = assemble(layout(spec), [a, b]), assemble(layout(spec), [b, a])
    assert not torch.equal(ahead.keys[:, :, :2], behind.keys[:, :, 3:])
    assert ahead.next_position == behind.next_position == 7


def test_empty_context_and_dtype() -> None:
    context = assemble(layout(SPECS[0], torch.bfloat16), [], 5)
    assert len(context) == 0 and context.next_position == 5
    assert assemble(layout(SPECS[0], torch.bfloat16), [block(0, 2, 1, 2, 1)]).keys.dtype == torch.bfloat16


def test_a_part_of_another_model_is_refused() -> None:
    part = block(9, 2, 3, 2, 1)
    with pytest.raises(RecallError, match="block 9 has positions"):
        assemble(layout(SPECS[0]), [part])
    with pytest.raises(RecallError, match="block 9 has keys"):
        assemble(KVLayout(3, 4, 2, 8, torch.float32, SPECS[1], "other"), [part])
