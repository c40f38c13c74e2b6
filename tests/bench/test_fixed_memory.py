"""What fixed memories have left of a stream, and that the ordinary reader reads it."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from onlooker.bench.fixed_memory import (
    FIXED_MEMORIES,
    encoded_features,
    stored_blocks,
    survivors_of,
    thinned,
)
from onlooker.errors import SettingsError
from onlooker.memory.block import KVBlock
from onlooker.memory.kv_eviction import thinned_block, visual_count
from onlooker.stream.reading import Reader

NAMES = sorted(FIXED_MEMORIES)


def made_blocks(seed: int, sizes: list[int]) -> tuple[list[KVBlock], dict[int, Tensor]]:
    """Make blocks of two text tokens around `size` visual ones, and features of those."""
    generator = torch.Generator().manual_seed(seed)
    blocks, features = [], {}
    for number, size in enumerate(sizes):
        keys, values = torch.randn(2, 2, 1, size + 2, 4, generator=generator)
        coords = torch.full((size + 2, 3), -1, dtype=torch.int32)
        for cell in range(size):
            coords[cell + 1] = torch.tensor([0, cell // 3, cell % 3])
        span_us = (number * 10, number * 10 + 10)
        block = KVBlock(2 * number, keys, values, torch.arange(size + 2)[:, None], size + 2, coords, span_us)
        blocks.append(block)
        features[block.block_id] = torch.randn(size, 6, generator=generator)
    return blocks, features


def as_lists(rows: Any) -> dict[int, list[int]]:
    return {block_id: kept.tolist() for block_id, kept in rows.items()}


@given(st.sampled_from(NAMES), st.lists(st.integers(0, 7), max_size=9), st.integers(1, 20), st.integers(0, 99))
def test_no_method_ever_holds_more_than_the_cap(name: str, sizes: list[int], cap: int, seed: int) -> None:
    blocks, features = made_blocks(seed, sizes)
    left = survivors_of(name, iter(blocks), features, cap)
    held = sum(len(kept) for kept in left.rows.values())
    assert held <= left.most_tokens <= cap
    if sum(sizes) <= cap:
        assert held == sum(sizes)  # nothing goes before it must
    for block in blocks:
        kept = left.rows[block.block_id].tolist() if block.block_id in left.rows else []
        assert kept == sorted(set(kept)) and all(0 <= row < visual_count(block) for row in kept)
    assert all(len(kept) for kept in left.rows.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_went_does_not_come_back(name: str) -> None:
    """Blocks come one at a time and in order, and what a shorter stream had left bounds what a longer one has."""
    blocks, features = made_blocks(3, [6] * 12)
    before: dict[int, list[int]] = {}
    for count in range(1, 13):
        left = as_lists(survivors_of(name, iter(blocks[:count]), features, 20).rows)
        for block_id, kept in left.items():
            assert block_id == 2 * (count - 1) or set(kept) <= set(before[block_id])
        before = left


def test_last_n_is_the_end_of_the_stream() -> None:
    blocks, features = made_blocks(0, [5, 0, 4, 6])
    left = survivors_of("last-n", blocks, features, 8)
    assert as_lists(left.rows) == {4: [2, 3], 6: [0, 1, 2, 3, 4, 5]}


def test_every_method_says_what_it_holds_besides_the_tokens() -> None:
    short, long = made_blocks(0, [6] * 8), made_blocks(0, [6] * 40)
    sizes = {name: survivors_of(name, *short, 20).state_bytes for name in NAMES}
    assert sizes == {name: survivors_of(name, *long, 20).state_bytes for name in NAMES}
    assert sizes["infinipot-v"] == sizes["livevlm-buckets"] == 0
    assert sizes["last-n"] == 20 * (8 + 8) < sizes["span"] == 20 * (8 + 8 + 6 * 4) < sizes["causalmem"]


def test_wrong_names_caps_and_features_are_refused() -> None:
    blocks, features = made_blocks(0, [4, 4])
    with pytest.raises(SettingsError, match="no fixed memory 'lru'; choose one of causalmem"):
        survivors_of("lru", blocks, features, 4)
    for name in NAMES:
        with pytest.raises(SettingsError, match="at least 1"):
            survivors_of(name, blocks, features, 0)
    for wrong in ({0: features[0]}, {0: features[0], 2: features[2][1:]}):
        with pytest.raises(SettingsError, match="block 2 has 4 visual tokens"):
            survivors_of("span", blocks, wrong, 4)


@pytest.fixture(scope="module")
def whole(make_moment: Any) -> tuple[Any, Any, dict[int, Tensor]]:
    """Give a moment at which every token was kept, its questions, and the features of its blocks."""
    moment, questions = make_moment(recipe="none", prune_rate=1.0, codec="raw")
    return moment, questions, encoded_features(moment)


def test_features_are_what_the_tower_made_of_each_block(whole: Any) -> None:
    moment, _, features = whole
    archive = moment.ingest.archive
    assert tuple(features) == archive.block_ids
    stored = {item.block_id: item.features for item in moment.ingest._encoded if item.block_id in features}
    assert stored
    for block_id, expected in stored.items():
        assert torch.allclose(features[block_id], expected, atol=1e-4)
    with pytest.raises(SettingsError, match="cannot be drawn again"):
        encoded_features(type(moment)(moment.ingest, moment.newest, lambda times: [moment.newest[0] for _ in times]))


def test_a_memory_that_keeps_everything_reads_as_before(whole: Any) -> None:
    moment, questions, features = whole
    ingest, heads = moment.ingest, moment.backbone.card.retrieval_heads
    everything = {block.block_id: torch.arange(visual_count(block)) for block in stored_blocks(ingest)}
    view = thinned(ingest, everything, features)
    assert view.archive.group_ids == ingest.archive.group_ids and view.archive.block_ids == ingest.archive.block_ids
    for question in questions[:4]:
        one, two = Reader(ingest, heads).read(question.text), Reader(view, heads).read(question.text)
        assert one.recalled.block_ids == two.recalled.block_ids
        assert torch.equal(one.context.keys, two.context.keys)


@pytest.mark.parametrize("name", NAMES)
def test_the_reader_reads_what_is_left(whole: Any, name: str) -> None:
    moment, questions, features = whole
    ingest, heads = moment.ingest, moment.backbone.card.retrieval_heads
    before = {block.block_id: block for block in stored_blocks(ingest)}
    cells = sum(map(visual_count, before.values()))
    left = survivors_of(name, before.values(), features, cells // 5)
    view = thinned(ingest, left.rows, features)
    archive = view.archive
    assert archive.block_ids == tuple(sorted(left.rows)) and len(archive) < len(ingest.archive) == len(before)
    for block in stored_blocks(view):
        old = before[block.block_id]
        expected = thinned_block(old, left.rows[block.block_id])
        assert torch.equal(block.keys, expected.keys) and torch.equal(block.values, expected.values)
        assert torch.equal(block.positions, expected.positions) and torch.equal(block.coords, expected.coords)
        assert (block.span_us, block.place, block.extent) == (old.span_us, old.place, expected.extent)
        assert archive.thumbnail(block.block_id) == ingest.archive.thumbnail(block.block_id)
    assert archive.traces.features is not None
    assert len(archive.traces.features.index) == sum(map(len, left.rows.values())) <= cells // 5
    for question in questions[:3]:
        reading = Reader(view, heads).read(question.text)
        assert set(reading.recalled.block_ids) <= set(left.rows)
    assert len(ingest.archive) == len(before)  # the whole memory is as it was


def test_a_view_can_be_made_of_a_view(whole: Any) -> None:
    """Caps may be lowered one after the other: rows are counted in what is there."""
    moment, _, features = whole
    first = {block.block_id: torch.arange(4) for block in stored_blocks(moment.ingest)}
    view = thinned(moment.ingest, first, features)
    second = thinned(view, {one: torch.tensor([0, 3]) for one in first}, {one: features[one][:4] for one in first})
    [block] = second.archive.read(list(first)[:1])
    whole_block = moment.ingest.archive.get(block.block_id)
    assert torch.equal(block.keys, thinned_block(whole_block, torch.tensor([0, 3])).keys)
