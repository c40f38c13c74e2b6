"""Where the blocks of a context stand: end to end, with gaps, by the clock."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onlooker.memory.block import KVBlock, KVLayout, RotarySpec
from onlooker.memory.context import assemble
from onlooker.memory.positions import (
    CAPPED_GAP,
    Gaps,
    cell_positions,
    clock_extent,
    clock_place,
    starts_of,
    text_positions,
)
from onlooker.memory.rotary import angle_table, rotate

GAPS: list[Gaps] = ["contiguous", "capped", "kept"]


def layout_of(axes: int, ids_per_second: int = 0) -> KVLayout:
    sections = (1, 1, 1) if axes == 3 else ()
    return KVLayout(2, 2, 1, 6, torch.float32, RotarySpec((1.0, 0.1, 0.01), sections), "", ids_per_second)


def block(block_id: int, positions: torch.Tensor, extent: int, place: int | None) -> KVBlock:
    keys = torch.randn(2, 1, len(positions), 6, generator=torch.Generator().manual_seed(block_id + 9))
    coords = torch.zeros(len(positions), 3, dtype=torch.int32)
    return KVBlock(block_id, keys, keys, positions, extent, coords, (0, 0), place)


def text_block(count: int, axes: int, place: int | None = None, block_id: int = -1) -> KVBlock:
    return block(block_id, text_positions(count, 0, axes), count, place)


def frame_block(block_id: int, place: int, extent: int, height: int = 2, width: int = 3) -> KVBlock:
    cells = torch.cartesian_prod(torch.arange(1), torch.arange(height), torch.arange(width)).int()
    return block(block_id, cell_positions(cells, 3), extent, place)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 500)), min_size=1, max_size=8), st.integers(0, 50))
def test_on_one_axis_blocks_stand_end_to_end_or_with_their_gaps(parts: list[tuple[int, int]], first: int) -> None:
    """parts: how long each block is, and how much of the stream was left out before it."""
    layout, blocks, place = layout_of(1), [text_block(4, 1)], 0
    for number, (length, gap) in enumerate(parts):
        place += gap
        blocks.append(text_block(length, 1, place, number))
        place += length
    lengths, gaps = [4, *(length for length, _ in parts)], [0, 0, *(gap for _, gap in parts[1:])]
    for how, kept in [
        ("contiguous", [0] * len(gaps)),
        ("capped", [min(gap, CAPPED_GAP) for gap in gaps]),
        ("kept", gaps),
    ]:
        starts, after, following = starts_of(layout, blocks, first, how)  # type: ignore[arg-type]
        want, position = [], first
        for length, gap in zip(lengths, kept, strict=True):
            want.append((position + gap,))
            position += gap + length
        assert starts == want
        assert (after, following) == (position, (position,))


def test_a_frame_takes_its_larger_side_on_all_three_axes() -> None:
    """Qwen3-VL: six cells of 2 x 3 take three positions; what follows starts behind them."""
    layout = layout_of(3)
    parts = [text_block(5, 3), frame_block(0, 0, 3), frame_block(1, 3, 3), frame_block(7, 21, 3)]
    assert starts_of(layout, parts) == ([(0,) * 3, (5,) * 3, (8,) * 3, (11,) * 3], 14, (14,) * 3)
    assert starts_of(layout, parts, gaps="kept")[0][-1] == (26,) * 3  # 15 of the stream left out


def test_under_absolute_time_frames_share_their_places_and_follow_the_clock() -> None:
    """Qwen2.5-VL: h and w stay where the video began, t moves; text behind it stands one past the largest."""
    layout = layout_of(3, ids_per_second=2)
    parts = [text_block(5, 3), frame_block(0, 0, 1), frame_block(1, 1, 8), frame_block(7, 200, 4)]
    starts, after, following = starts_of(layout, parts)
    assert starts == [(0, 0, 0), (5, 5, 5), (6, 5, 5), (14, 5, 5)]
    assert (after, following) == (15, (18, 5, 5))
    assert starts_of(layout, parts, gaps="kept")[0][-1] == (205, 5, 5)
    assert starts_of(layout, parts, gaps="capped")[0][-1] == (14 + CAPPED_GAP, 5, 5)
    # A short video of tall frames: the largest position is on another axis.
    assert starts_of(layout, [text_block(5, 3), frame_block(0, 0, 1, height=9)])[1:] == (14, (6, 5, 5))
    assert starts_of(layout, [text_block(5, 3)])[1:] == (5, (5, 5, 5))


@pytest.mark.parametrize("gaps", GAPS)
@given(
    times_us=st.lists(st.integers(1, 40_000_000), min_size=2, max_size=12),
    kept=st.sets(st.integers(0, 11), min_size=1),
    first_us=st.integers(0, 10**12),
)
def test_what_the_stream_had_apart_is_never_laid_on_one_place(
    gaps: Gaps, times_us: list[int], kept: set[int], first_us: int
) -> None:
    """Under absolute time two frames share a t only where they do in the stream, and t never moves far at a time."""
    layout = layout_of(3, ids_per_second=2)
    moments = [first_us + sum(times_us[:n]) for n in range(len(times_us))]
    places = [clock_place(layout, moment, first_us) for moment in moments]
    frames = [
        frame_block(n, place, clock_extent(layout, place, after, first_us))
        for n, (place, after) in enumerate(zip(places, moments[1:], strict=False))
    ]
    chosen = [frame for frame in frames if frame.block_id in kept] or frames
    starts = starts_of(layout, chosen, gaps=gaps)[0]
    for (before, after), (one, other) in zip(pairwise(chosen), pairwise(starts), strict=True):
        assert other[0] - one[0] >= (before.place != after.place)
        assert other[1:] == one[1:] == (0, 0)
        assert gaps == "kept" or other[0] - one[0] <= 2 * CAPPED_GAP
        if gaps == "kept" or (after.block_id == before.block_id + 1 and after.place - before.place <= CAPPED_GAP):
            assert other[0] - one[0] == after.place - before.place


@pytest.mark.parametrize("gaps", ["contiguous", "capped"])
def test_a_night_without_a_frame_does_not_tear_the_positions_apart(gaps: Gaps) -> None:
    layout = layout_of(3, ids_per_second=2)
    moments = [0, 500_000, 1_000_000, 36_001_000_000, 36_001_500_000]
    places = [clock_place(layout, moment, 0) for moment in moments]
    frames = [
        frame_block(n, place, clock_extent(layout, place, after, 0))
        for n, (place, after) in enumerate(zip(places, moments[1:], strict=False))
    ]
    assert frames[2].extent == CAPPED_GAP and places[3] == 72_002
    assert starts_of(layout, frames, gaps=gaps)[0][3][0] == 2 + CAPPED_GAP * (2 if gaps == "capped" else 1)


@pytest.mark.parametrize("gaps", GAPS)
def test_the_stream_from_its_start_has_no_gaps(gaps: Gaps) -> None:
    layout = layout_of(3, ids_per_second=2)
    places = [clock_place(layout, time, 300) for time in (300, 1_200_000, 1_900_000, 31_000_000)]
    parts = [frame_block(n, place, after - place) for n, (place, after) in enumerate(pairwise(places))]
    assert starts_of(layout, parts, gaps=gaps) == starts_of(layout, parts)
    assert starts_of(layout, parts)[2] == (places[-1], 0, 0)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 50))
def test_the_clock_never_runs_back_and_loses_nothing(time: int, more: int, rate: int) -> None:
    layout = layout_of(3, rate)
    before, after = clock_place(layout, time, 0), clock_place(layout, time + more, 0)
    assert 0 <= before <= after
    assert before * 1_000_000 <= time * rate < (before + 1) * 1_000_000
    assert clock_place(layout, time + 3_600_000_000, 0) == before + 3600 * rate


def test_assembly_rotates_keys_at_their_places() -> None:
    layout = layout_of(3, ids_per_second=2)
    parts = [text_block(5, 3), frame_block(0, 0, 1), frame_block(7, 200, 4)]
    context = assemble(layout, parts, 100, gaps="kept")
    row = 0
    for part, start in zip(parts, [(100,) * 3, (105,) * 3, (305, 105, 105)], strict=True):
        at = part.positions + torch.tensor(start)
        want = rotate(part.keys, *angle_table(at, layout.rotary, torch.float32))
        torch.testing.assert_close(context.keys[:, :, row : row + len(part)], want, atol=1e-6, rtol=0)
        row += len(part)
    assert (context.next_position, context.next_start) == (306, (309, 105, 105))
    assert context.block_ids == (-1, 0, 7)
