"""The archive stays under its cap for ever, forgets the oldest first and says what."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.errors import RecallError, SettingsError
from onlooker.memory.archive import ENTRY_BYTES, Archive
from onlooker.memory.block import KVBlock, KVLayout, RotarySpec
from onlooker.memory.traces import Traces
from onlooker.models.backbone import HeadId

LAYOUT = KVLayout(2, 4, 2, 8, torch.float32, RotarySpec((1.0, 0.1, 0.01, 0.001)), "test")
HEADS = (HeadId(0, 0), HeadId(0, 1), HeadId(1, 3))


def block(block_id: int, n: int, span: tuple[int, int]) -> KVBlock:
    return KVBlock(
        block_id,
        torch.full((2, 2, n, 8), float(block_id)),
        torch.zeros(2, 2, n, 8),
        torch.zeros(n, 1, dtype=torch.int64),
        n,
        torch.zeros(n, 3, dtype=torch.int32),
        span,
    )


def archive(cap: int, feature_dim: int = 6, shard_rows: int = 64) -> Archive:
    return Archive(cap, Traces(LAYOUT, HEADS, feature_dim, shard_rows=shard_rows))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50)), max_size=60), st.integers(0, 120_000))
def test_cap_holds_and_the_oldest_go_first(stream: list[tuple[int, int]], room: int) -> None:
    memory = archive(room + 100_000)
    gone: list[int] = []
    for block_id, (n, picture) in enumerate(stream):
        features = torch.ones(n, 6)
        gone += memory.append(block(block_id, n, (block_id, block_id + 1)), features, b"x" * picture * 100)
        stats = memory.stats()
        assert stats.used_bytes == memory.nbytes <= memory.cap_bytes
        assert stats.used_bytes == stats.kv_bytes + stats.trace_bytes + stats.entry_bytes
        assert stats.kv_bytes == sum(memory.get(i).nbytes for i in memory.block_ids)
        assert stats.entry_bytes == sum(len(memory.thumbnail(i)) + ENTRY_BYTES for i in memory.block_ids)
        assert stats.tokens == sum(memory.size(i) or 0 for i in memory.block_ids)
    assert gone == list(range(len(gone)))
    assert memory.block_ids == tuple(range(len(gone), len(stream)))
    forgotten = memory.forgotten
    if not gone:
        assert forgotten is None
    else:
        assert forgotten is not None
        assert (forgotten.start_us, forgotten.end_us, forgotten.count) == (0, len(gone), len(gone))
        with pytest.raises(RecallError, match="block 0 is not remembered"):
            memory.get(0)
    for trace in memory.traces.keys.values():
        assert len(trace.index) == memory.stats().tokens


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12), st.integers(0, 4), st.data())
def test_between_equals_the_definition(gaps: list[tuple[int, int]], drop: int, data: st.DataObject) -> None:
    memory = archive(10_000_000)
    spans: dict[int, tuple[int, int]] = {}
    start, end = 0, 0
    for block_id, (gap, length) in enumerate(gaps):
        start += gap
        end = max(end, start + length)
        memory.append(block(block_id, 1, (start, end)))
        spans[block_id] = (start, end)
    for _ in range(min(drop, len(spans))):
        del spans[memory._forget_oldest()]
    bound = st.none() | st.integers(-1, 40)
    since, until = data.draw(bound), data.draw(bound)
    expected = tuple(
        i for i, (a, b) in spans.items() if (until is None or a < until) and (since is None or max(b, a + 1) > since)
    )
    assert memory.between(since, until) == expected
    assert memory.span() == ((spans[min(spans)][0], spans[max(spans)][1]) if spans else None)


def test_views_are_copied_so_that_bytes_are_true() -> None:
    chunk = torch.zeros(2, 2, 100, 8)
    part = block(0, 3, (0, 1))
    view = KVBlock(0, chunk[:, :, :3], chunk[:, :, 3:6], part.positions, 3, part.coords, (0, 1))
    memory = archive(10_000_000)
    memory.append(view)
    held = memory.get(0)
    assert held.keys.untyped_storage().nbytes() == held.keys.numel() * 4
    assert memory.stats().kv_bytes == held.nbytes


def test_a_block_larger_than_the_cap_is_forgotten_at_once() -> None:
    memory = archive(100_000)
    assert memory.append(block(0, 500, (0, 1))) == (0,)
    assert len(memory) == 0 and memory.span() is None
    assert memory.append(block(1, 5, (1, 2))) == ()


def test_wrong_order_is_refused() -> None:
    memory = archive(10_000_000)
    memory.append(block(5, 1, (10, 20)))
    with pytest.raises(RecallError, match="came after block 5"):
        memory.append(block(5, 1, (20, 30)))
    with pytest.raises(RecallError, match="time order"):
        memory.append(block(6, 1, (9, 30)))
    with pytest.raises(RecallError, match="before its start"):
        memory.append(block(6, 1, (30, 29)))
    with pytest.raises(RecallError, match="features of shape"):
        memory.append(block(6, 1, (30, 31)), torch.zeros(1, 7))
    assert memory.block_ids == (5,)
    memory.append(block(6, 1, (30, 31)), torch.zeros(1, 6))  # a refused block left nothing behind


def test_a_cap_below_what_recall_needs_is_refused() -> None:
    with pytest.raises(SettingsError, match="raise the cap"):
        archive(10)
    with pytest.raises(SettingsError, match="head 9 of layer 0"):
        Traces(LAYOUT, (HeadId(0, 9),))


@pytest.mark.slow
def test_a_hundred_thousand_blocks_leave_memory_where_it_was() -> None:
    memory = archive(3_000_000, feature_dim=0, shard_rows=1024)
    keys = torch.zeros(2, 2, 1, 8)
    positions, coords = torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.int32)
    resident = 0
    for block_id in range(100_000):
        memory.append(KVBlock(block_id, keys, keys, positions, 1, coords, (block_id, block_id + 1)), None, b"jpeg")
        if block_id == 5_000:
            resident = resident_bytes()
    assert memory.nbytes <= 3_000_000
    assert len(memory) > 500
    assert memory.forgotten is not None
    assert memory.forgotten.count + len(memory) == 100_000
    assert resident_bytes() - resident < 4_000_000


def resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc to read resident memory")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
