"""What is given up first, and what each step down the ladder leaves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onlooker.memory.archive import Archive
from onlooker.memory.block import KVBlock, KVLayout, RotarySpec
from onlooker.memory.catalogue import GROUP
from onlooker.memory.codec_set import codecs_of, ladder_of
from onlooker.memory.coding import code_group
from onlooker.memory.consolidation import COARSE, FRESH, GIST, LEVEL_NAMES, THIN, Ladder, consolidate, next_group
from onlooker.memory.group import Body
from onlooker.memory.traces import Traces
from onlooker.models.backbone import HeadId

LAYOUT = KVLayout(3, 4, 2, 8, torch.float32, RotarySpec((1.0, 0.1, 0.01, 0.001)), "test")
CODECS = codecs_of(LAYOUT)
LADDER = ladder_of(CODECS)


def groups_of(
    levels: list[int], reads: list[int] | None = None, spans: list[tuple[int, int]] | None = None
) -> NDArray[np.void]:
    rows = np.zeros(len(levels), dtype=GROUP)
    rows["id"], rows["level"] = range(len(levels)), levels
    spans = spans or [(n * 10, n * 10 + 10) for n in range(len(levels))]
    rows["start_us"], rows["end_us"] = [a for a, _ in spans], [b for _, b in spans]
    rows["reads"] = reads or [0] * len(levels)
    return rows


@given(st.lists(st.integers(FRESH, GIST), min_size=1, max_size=8))
def test_of_groups_of_one_age_the_least_changed_is_next(levels: list[int]) -> None:
    rows = groups_of(levels, spans=[(0, 10)] * len(levels))
    assert levels[next_group(rows)] == min(levels)


@given(st.integers(FRESH, GIST), st.integers(1, 9))
def test_of_groups_of_one_level_the_oldest_is_next(level: int, count: int) -> None:
    assert next_group(groups_of([level] * count)) == 0


def test_a_group_that_is_read_is_spared_longer() -> None:
    assert next_group(groups_of([FRESH] * 4, reads=[3, 0, 0, 0])) == 1
    order, rows = list[int](), groups_of([FRESH] * 6, reads=[0, 0, 30, 0, 0, 0])
    while (rows["level"] <= GIST).any():
        live = rows[rows["level"] <= GIST]
        place = int(live["id"][next_group(live)])
        order.append(place)
        rows["level"][place] += 1
    last = {place: len(order) - 1 - order[::-1].index(place) for place in range(6)}
    assert last[2] > last[3]  # forgotten behind the one after it
    assert last[0] < last[1] < last[3] < last[4] < last[5]


def test_all_are_coded_more_coarsely_before_the_oldest_is_forgotten() -> None:
    rows = groups_of([FRESH] * 50)
    while (rows["level"] <= GIST).all():
        rows["level"][next_group(rows)] += 1
        levels = rows["level"].tolist()
        assert levels == sorted(levels, reverse=True)  # the older, the further down
    assert rows["level"][0] > GIST and rows["level"][-1] > FRESH
    assert len(set(rows["level"].tolist())) >= 3


def body_of(sizes: list[int], codec: str = "int4", axes: int = 1, seed: int = 0) -> tuple[Body, NDArray[np.void]]:
    blocks = []
    for number, cells in enumerate(sizes):
        n = 2 + cells
        made = torch.Generator().manual_seed(seed * 100 + number)
        keys, values = torch.randn(2, 3, 2, n, 8, generator=made)
        coords = torch.full((n, 3), -1, dtype=torch.int32)
        coords[2:] = torch.stack((torch.zeros(cells), torch.arange(cells) // 5, torch.arange(cells) % 5), dim=1).int()
        positions = torch.arange(n)[:, None] if axes == 1 else torch.where(coords < 0, 0, coords).long()
        span = (number * 10, number * 10 + 10)
        blocks.append(KVBlock(number, keys, values, positions, n if axes == 1 else 9, coords, span, number * 40))
    head, body = code_group(CODECS[codec], Traces(LAYOUT, ()), blocks, [None] * len(blocks), [b"jpeg"] * len(blocks))
    return body, head.table


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 25), min_size=1, max_size=5),
    st.sampled_from(["raw", "raw16", "int8", "int4", "int2"]),
    st.sampled_from([1, 3]),
)
def test_every_step_leaves_less_and_what_is_left_fits_together(sizes: list[int], codec: str, axes: int) -> None:
    body, table = body_of(sizes, codec, axes)
    levels = [body.level]
    while body.level < GIST:
        before, rows_before = body, table
        body, table = consolidate(body, table, LADDER)
        levels.append(body.level)
        assert body.level > before.level
        assert len(body.codes) < len(before.codes) or (body.level == GIST and body.codes == before.codes)
        assert table["row"].tolist() == [0, *np.cumsum(table["tokens"])[:-1].tolist()]
        assert len(body.positions) == len(body.coords) == table["tokens"].sum()
        assert LADDER.codecs[body.codec].tokens(body.codes) == table["tokens"].sum()
        for name in ("id", "start_us", "end_us", "place", "vectors", "visual", "picture_bytes"):
            assert table[name].tolist() == rows_before[name].tolist()
        assert body.pictures == before.pictures
        for entry, cells in zip(table, sizes, strict=True):
            block = body.block(entry, LADDER.codecs[body.codec])
            assert len(block) == entry["tokens"] <= 2 + cells
            assert block.coords[:2].eq(-1).all()  # its time stamp stays
            if axes == 1:
                assert block.positions[:, 0].tolist() == list(range(len(block))) and block.extent == len(block)
            else:
                assert block.extent == 9 and int(block.positions.max()) < 9
    assert levels[-1] == GIST and levels == sorted(set(levels))


def test_the_steps_are_coarser_codes_then_fewer_tokens_then_gist() -> None:
    body, table = body_of([25, 25, 25])
    seen = [(body.level, body.codec, table["tokens"].tolist())]
    while body.level < GIST:
        body, table = consolidate(body, table, LADDER)
        seen.append((body.level, body.codec, table["tokens"].tolist()))
    assert [level for level, *_ in seen] == [FRESH, COARSE, THIN, GIST]
    assert [codec for _, codec, _ in seen] == ["int4", "int2", "int2", "int4"]
    assert seen[1][2] == [27, 27, 27] and sum(seen[2][2]) == 6 + round(0.5 * 75)
    assert seen[2][2][0] == 27  # nothing was there before the first frame
    assert all(2 < tokens <= 6 for tokens in seen[3][2])
    assert LEVEL_NAMES[body.level] == "gist"


def test_thinning_drops_what_was_there_in_the_frame_before() -> None:
    """Frame two repeats frame one but for one cell: that cell stays, at the cost of none of frame one."""
    body, table = body_of([8, 10], "raw")
    keys, values = CODECS["raw"].decode(body.codes)
    keys = keys.clone()
    keys[:, :, 12:20] = keys[:, :, 2:10]
    keys[:, :, 17] = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(9))
    body = replace(body, codes=CODECS["raw"].encode(keys, values), level=COARSE)
    thin, rows = consolidate(body, table, Ladder(CODECS, "raw", "int4"))
    assert thin.level == THIN and sum(rows["tokens"]) == 4 + 9  # half of the cells
    kept = [thin.block(entry, CODECS["raw"]).coords[2:] for entry in rows]
    # Frame one has 8 cells, frame two 2 that were not there before; of these 10 the last in order goes.
    assert [len(cells) for cells in kept] == [8, 1]
    assert kept[1].tolist() == [[0, 1, 3]]


def test_an_archive_gives_every_block_after_each_step() -> None:
    traces = Traces(LAYOUT, (HeadId(0, 0),), 4)
    memory = Archive(10_000_000, traces, CODECS["int8"], ladder=LADDER, working_cap_bytes=100_000)
    for first in range(0, 12, 4):
        blocks = []
        for block_id in range(first, first + 4):
            keys, values = torch.randn(2, 3, 2, 20, 8, generator=torch.Generator().manual_seed(block_id))
            coords = torch.stack((torch.zeros(20), torch.arange(20) // 5, torch.arange(20) % 5), dim=1).int()
            span = (block_id, block_id + 1)
            blocks.append(KVBlock(block_id, keys, values, torch.arange(20)[:, None], 20, coords, span, 0))
        memory.extend(blocks, [torch.ones(20, 4)] * 4, [bytes([first])] * 4)
    steps = 0
    while len(memory):
        memory.read(memory.block_ids)
        sizes, bytes_before = {i: memory.size(i) for i in memory.block_ids}, memory.stats().body_bytes
        gone = memory._upkeep.step()
        steps += 1
        assert memory.stats().body_bytes < bytes_before
        for block_id in memory.block_ids:
            block = memory.get(block_id)
            assert len(block) == memory.size(block_id) <= (sizes[block_id] or 0)
            [read] = memory.read([block_id])
            assert torch.equal(read.keys, block.keys)  # nothing old is left in the working set
            assert memory.thumbnail(block_id) == bytes([block_id // 4 * 4])
            assert memory.span_of(block_id) == (block_id, block_id + 1)
        assert all(len(trace.index) == 20 * len(memory) for trace in memory.traces.keys.values())
        assert not set(gone) & set(memory.block_ids)
    assert steps == 12 and [(one.start_us, one.end_us) for one in memory.forgotten] == [(0, 12)]


@pytest.mark.parametrize("reads", [0, 1_000_000])
def test_the_choice_is_made_for_one_group_alone(reads: int) -> None:
    assert next_group(groups_of([GIST], [reads], [(5, 5)])) == 0
