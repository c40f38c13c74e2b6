"""The archive stays under its caps for ever, gives up the oldest first, says what is gone, and survives interrupts."""

import os
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.errors import RecallError, SettingsError, StorageError
from onlooker.memory.archive import Archive
from onlooker.memory.block import KVBlock, KVLayout, RotarySpec
from onlooker.memory.codec_set import codecs_of, ladder_of
from onlooker.memory.group import Body
from onlooker.memory.store import RamStore
from onlooker.memory.traces import Traces
from onlooker.models.backbone import HeadId

LAYOUT = KVLayout(2, 4, 2, 8, torch.float32, RotarySpec((1.0, 0.1, 0.01, 0.001)), "test")
HEADS = (HeadId(0, 0), HeadId(0, 1), HeadId(1, 3))
CODECS = codecs_of(LAYOUT)


def block(block_id: int, n: int, span: tuple[int, int]) -> KVBlock:
    """A block of its own numbers, the same at each call; two text tokens where it is long enough, then cells."""
    made = torch.Generator().manual_seed(block_id)
    cells = torch.stack((torch.zeros(n), torch.arange(n) // 4, torch.arange(n) % 4), dim=1).int()
    cells[: 2 if n > 4 else 0] = -1
    keys, values = torch.randn(2, 2, 2, n, 8, generator=made)
    return KVBlock(block_id, keys, values, torch.arange(n)[:, None], n, cells, span, 10 * block_id)


def archive(cap: int = 10_000_000, codec: str = "raw", ladder: bool = False, **options: Any) -> Archive:
    traces = Traces(LAYOUT, HEADS, 6, shard_rows=64)
    return Archive(cap, traces, CODECS[codec], ladder=ladder_of(CODECS) if ladder else None, **options)


def fill(memory: Archive, groups: int, each: int = 4, n: int = 6, first: int = 0) -> None:
    for group in range(groups):
        ids = range(first + group * each, first + (group + 1) * each)
        take(memory, [block(i, n, (i * 10, i * 10 + 10)) for i in ids])


def take(memory: Archive, blocks: list[KVBlock], picture: int = 20) -> tuple[int, ...]:
    features = [torch.randn(len(one), 6, generator=torch.Generator().manual_seed(one.block_id)) for one in blocks]
    return memory.extend(blocks, features, [bytes([one.block_id % 251]) * picture for one in blocks])


def assert_counted(memory: Archive) -> None:
    """What stats say is what the store, the tables and the indexes hold."""
    stats, store = memory.stats(), memory.store
    assert isinstance(store, RamStore)
    assert stats.used_bytes == memory.nbytes <= memory.cap_bytes
    assert stats.used_bytes == stats.trace_bytes + stats.table_bytes + store.host_bytes
    assert stats.trace_bytes == memory.traces.nbytes
    assert stats.body_bytes == sum(len(store.body(group_id)) for group_id in memory.group_ids)
    assert store.host_bytes - stats.body_bytes == pytest.approx(260 * len(memory.group_ids))
    assert stats.blocks == len(memory) == len(memory.block_ids)
    assert stats.tokens == sum(memory.size(i) or 0 for i in memory.block_ids)
    assert stats.tokens == sum(len(memory.get(i)) for i in memory.block_ids)
    assert sum(stats.levels) == len(memory.group_ids) == sum(memory.codec_counts().values())
    assert stats.working_bytes == memory.working.nbytes <= stats.working_cap_bytes
    assert (stats.disk_bytes, stats.forgotten) == (0, memory.forgotten)


@settings(max_examples=12)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20)), min_size=1, max_size=5), max_size=12),
    st.integers(0, 60_000),
    st.booleans(),
    st.sampled_from(["raw", "int4"]),
)
def test_caps_hold_and_the_oldest_go_first(
    stream: list[list[tuple[int, int]]], room: int, ladder: bool, codec: str
) -> None:
    memory = archive(room + 40_000, codec, ladder, working_cap_bytes=5_000)
    gone: list[int] = []
    block_id = 0
    for group in stream:
        blocks = []
        for n, _ in group:
            blocks.append(block(block_id, n, (block_id, block_id + 1)))
            block_id += 1
        features = [torch.ones(len(one), 6) for one in blocks]
        gone += memory.extend(blocks, features, [b"x" * picture * 100 for _, picture in group])
        if ladder:
            memory.read(memory.block_ids[::3])
        assert_counted(memory)
    if not ladder:
        assert gone == list(range(len(gone)))
    assert set(memory.block_ids) == set(range(block_id)) - set(gone)
    assert sum(one.count for one in memory.forgotten) == len(gone)
    for lost in gone:
        assert any(one.start_us <= lost < one.end_us for one in memory.forgotten)
        with pytest.raises(RecallError, match=f"block {lost} is not remembered"):
            memory.get(lost)
    for trace in memory.traces.keys.values():
        assert len(trace.index) == sum(stream_tokens(stream)[i] for i in memory.block_ids)


def stream_tokens(stream: list[list[tuple[int, int]]]) -> list[int]:
    return [n for group in stream for n, _ in group]


def test_room_is_made_by_coding_more_coarsely_before_anything_is_forgotten() -> None:
    plain, with_ladder = archive(150_000), archive(150_000, ladder=True)
    for memory in (plain, with_ladder):
        fill(memory, 12, n=20)
    assert plain.forgotten and not with_ladder.forgotten
    stats = with_ladder.stats()
    assert stats.levels[0] < 12 and with_ladder.codec_counts().keys() > {"raw"}
    fill(with_ladder, 60, n=20, first=48)
    assert with_ladder.forgotten[0].start_us == 0  # at last the oldest go
    levels = [int(level) for level in with_ladder._holdings.groups.rows["level"]]
    assert levels[-1] <= min(levels[: len(levels) // 2])
    assert_counted(with_ladder)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12), st.integers(0, 4), st.data())
def test_between_equals_the_definition(gaps: list[tuple[int, int]], drop: int, data: st.DataObject) -> None:
    memory = archive()
    spans: dict[int, tuple[int, int]] = {}
    start, end = 0, 0
    for block_id, (gap, length) in enumerate(gaps):
        start += gap
        end = max(end, start + length)
        memory.append(block(block_id, 1, (start, end)))
        spans[block_id] = (start, end)
        assert memory.span_of(block_id) == (start, end) and memory.size(block_id) == 1
    for block_id in memory.group_ids[:drop]:
        memory._upkeep.forget(block_id)
        del spans[block_id]
        assert memory.size(block_id) is None and block_id not in memory
    bound = st.none() | st.integers(-1, 40)
    since, until = data.draw(bound), data.draw(bound)
    expected = tuple(
        i for i, (a, b) in spans.items() if (until is None or a < until) and (since is None or max(b, a + 1) > since)
    )
    assert memory.between(since, until) == expected
    assert memory.span() == ((spans[min(spans)][0], spans[max(spans)][1]) if spans else None)


@settings(max_examples=15)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.data(), st.sampled_from(["raw", "int4"]))
def test_forgetting_takes_just_those_blocks(sizes: list[int], data: st.DataObject, codec: str) -> None:
    memory = archive(codec=codec, working_cap_bytes=100_000)
    count = 0
    for size in sizes:
        take(memory, [block(i, 5 + i % 3, (i * 10, i * 10 + 10)) for i in range(count, count + size)])
        count += size
    memory.read(memory.block_ids)
    before = {i: held(memory, i) for i in memory.block_ids}
    bound = st.none() | st.integers(-5, count * 10 + 5)
    since, until = data.draw(bound), data.draw(bound)
    expected = memory.between(since, until)
    assert memory.forget(since, until) == expected
    assert memory.block_ids == tuple(i for i in range(count) if i not in expected)
    assert {i: held(memory, i) for i in memory.block_ids} == {i: before[i] for i in memory.block_ids}
    assert not memory.forget(since, until)
    for one in expected:
        assert any(gone.start_us <= one * 10 and one * 10 + 10 <= gone.end_us for gone in memory.forgotten)
        with pytest.raises(RecallError):
            memory.get(one)
        assert memory.working.get(one) is None
    assert sum(gone.count for gone in memory.forgotten) == len(expected)
    tokens = sum(5 + i % 3 for i in memory.block_ids)
    for trace in (*memory.traces.keys.values(), memory.traces.features):
        assert trace is not None
        assert len(trace.index) == tokens
        found = trace.index.search(torch.randn(1, trace.index.dim).numpy(), 1000)
        assert found.block_ids.tolist() == list(memory.block_ids)
    assert_counted(memory)


def held(memory: Archive, block_id: int) -> tuple[object, ...]:
    one = memory.get(block_id)
    [read] = memory.read([block_id])
    tensors = tuple(t.numpy().tobytes() for b in (one, read) for t in (b.keys, b.values, b.positions, b.coords))
    return (*tensors, one.extent, one.span_us, one.place, memory.thumbnail(block_id))


def test_what_is_older_than_wanted_is_forgotten_and_nothing_else() -> None:
    memory = archive(keep_us=100)
    for group in range(10):
        take(memory, [block(i, 5, (i * 10, i * 10 + 10)) for i in range(group * 4, group * 4 + 4)])
        newest = group * 40 + 40
        assert memory.block_ids == tuple(i for i in range(group * 4 + 4) if i * 10 + 10 > newest - 100)
    take(memory, [block(40, 5, (400, 900))])
    assert memory.block_ids == (40,)  # longer than what is kept, and not older
    take(memory, [block(41, 5, (900, 910))])
    assert memory.block_ids == (40, 41)


def test_views_are_copied_so_that_bytes_are_true() -> None:
    chunk = torch.zeros(2, 2, 100, 8)
    part = block(0, 3, (0, 1))
    view = KVBlock(0, chunk[:, :, :3], chunk[:, :, 3:6], part.positions, 3, part.coords, (0, 1))
    memory = archive(working_cap_bytes=10_000)
    memory.append(view)
    [read] = memory.read([0])
    for one in (memory.get(0), read):
        for tensor in (one.keys, one.values, one.positions, one.coords):
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    assert memory.stats().working_bytes == read.nbytes


def test_a_block_larger_than_the_cap_is_forgotten_at_once() -> None:
    memory = archive(100_000)
    assert memory.append(block(0, 500, (0, 1))) == (0,)
    assert len(memory) == 0 and memory.span() is None
    assert memory.append(block(1, 5, (1, 2))) == ()
    assert memory.extend([], [], []) == ()


def test_wrong_order_is_refused() -> None:
    memory = archive()
    memory.append(block(5, 1, (10, 20)))
    with pytest.raises(RecallError, match="came after block 5"):
        memory.append(block(5, 1, (20, 30)))
    with pytest.raises(RecallError, match="came after block 7"):
        take(memory, [block(7, 1, (20, 30)), block(6, 1, (30, 40))])
    with pytest.raises(RecallError, match="time order"):
        memory.append(block(6, 1, (9, 30)))
    with pytest.raises(RecallError, match="before its start"):
        memory.append(block(6, 1, (30, 29)))
    with pytest.raises(RecallError, match="features of shape"):
        memory.append(block(6, 1, (30, 31)), torch.zeros(1, 7))
    assert memory.block_ids == (5,) and memory.last_id == 5
    memory.append(block(6, 1, (30, 31)), torch.zeros(1, 6))  # a refused block left nothing behind


def test_a_cap_below_what_recall_needs_is_refused() -> None:
    with pytest.raises(SettingsError, match="raise the cap"):
        archive(10)
    with pytest.raises(SettingsError, match="head 9 of layer 0"):
        Traces(LAYOUT, (HeadId(0, 9),))


def test_a_damaged_group_is_left_out_of_what_is_read_and_noted() -> None:
    memory = archive()
    fill(memory, 3)
    store = memory.store
    store.put(4, b"", store.body(4)[:-3])
    assert [one.block_id for one in memory.read([1, 5, 6, 9])] == [1, 9]
    assert [(one.start_us, one.end_us, one.count) for one in memory.forgotten] == [(40, 80, 4)]
    assert memory.block_ids == (0, 1, 2, 3, 8, 9, 10, 11)
    assert_counted(memory)


def test_a_damaged_group_is_forgotten_when_a_part_of_it_is_to_go() -> None:
    memory = archive()
    fill(memory, 2)
    memory.store.put(0, b"", b"nonsense")
    memory.forget(0, 10)
    assert memory.block_ids == (4, 5, 6, 7)


def test_the_working_set_stays_under_its_cap_and_follows_changes() -> None:
    memory = archive(working_cap_bytes=4_000)
    fill(memory, 6)
    for number in range(24):
        [read] = memory.read([number])
        assert read.block_id == number and memory.working.nbytes <= 4_000
    assert len(memory.working) == 4_000 // read.nbytes
    assert memory.read([23])[0] is memory.read([23])[0]  # ready, not decoded again
    memory.forget(210, 220)
    assert memory.working.get(23) is None and [one.block_id for one in memory.read([20, 23])] == [20, 23]


def test_groups_count_how_often_they_were_read() -> None:
    memory = archive()
    fill(memory, 3)
    memory.read([1, 2])
    memory.read([1, 9])
    assert memory._holdings.groups.rows["reads"].tolist() == [2, 0, 1]


def interrupting(real: Callable[..., Any], at: int, after: bool, raised: list[int]) -> Callable[..., Any]:
    """Raise KeyboardInterrupt at one call, before it does anything or behind it."""
    calls = 0

    def call(*words: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        now = calls == at
        if now:
            raised.append(at)
        if now and not after:
            raise KeyboardInterrupt
        result = real(*words, **named)
        if now:
            raise KeyboardInterrupt
        return result

    return call


STEPS = [
    ("store", "put"),
    ("store", "drop"),
    ("store", "note"),
    ("store", "limit"),
    ("traces", "_add"),
    ("traces", "take"),
    ("traces", "forget"),
    ("_holdings.blocks", "append"),
    ("_holdings.blocks", "remove"),
    ("_holdings.groups", "append"),
    ("_holdings.groups", "remove"),
    ("working", "drop"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "name"), STEPS)
def test_an_interrupt_and_a_repeated_call_lose_and_double_nothing(
    owner: str, name: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step of taking in, forgetting and consolidating, whichever call of it is hit."""
    whole = archive(100_000, ladder=True)
    script(whole)
    expected = facts(whole)
    hit = 0
    for at in (1, 3, 8):
        memory = archive(100_000, ladder=True)
        holder = attrgetter(owner)(memory)
        raised: list[int] = []
        with monkeypatch.context() as patch:
            patch.setattr(holder, name, interrupting(getattr(holder, name), at, after, raised))
            script(memory)
        assert facts(memory) == expected
        hit += len(raised)
    assert hit


def script(memory: Archive) -> None:
    """Take in, forget, and take in until room is short; a call that is interrupted is made again."""
    done: list[Callable[[], object]] = []
    for group in range(9):
        blocks = [block(i, 20, (i * 10, i * 10 + 10)) for i in range(group * 4, group * 4 + 4)]
        done.append(lambda blocks=blocks: again(memory, blocks))  # type: ignore[misc]
        if group == 3:
            done.append(lambda: memory.forget(50, 70))
            done.append(lambda: memory.forget(80, 120))
    for one in done:
        while True:
            try:
                one()
                break
            except KeyboardInterrupt:
                continue


def facts(memory: Archive) -> dict[str, object]:
    assert_counted(memory)
    return {
        "ids": memory.block_ids,
        "held": {i: held(memory, i) for i in memory.block_ids[::5]},
        "gone": memory.forgotten,
        "groups": memory._holdings.groups.rows[["id", "level", "blocks", "tokens", "body_bytes", "codec"]].tolist(),
        "indexed": [len(trace.index) for _, trace in memory.traces.named()],
        "last": memory.last,
    }


def again(memory: Archive, blocks: list[KVBlock]) -> None:
    if memory.last_id is None or memory.last_id < blocks[-1].block_id:
        take(memory, blocks)


def failing(*_: object) -> None:
    raise StorageError("the disk is full")


@pytest.mark.parametrize("name", ["put", "drop", "note"])
def test_a_disk_that_fails_leaves_everything_as_it_was(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = archive()
    fill(memory, 4)
    before = {i: held(memory, i) for i in memory.block_ids}
    with monkeypatch.context() as patch:
        patch.setattr(memory.store, name, failing)
        with pytest.raises(StorageError):
            fill(memory, 1, first=16) if name == "put" else memory.forget(0, 40)
        assert {i: held(memory, i) for i in memory.block_ids} == before and memory.forgotten == ()
        assert_counted(memory)
    fill(memory, 1, first=16)
    assert memory.forget(0, 40) == (0, 1, 2, 3)
    assert [one.count for one in memory.forgotten] == [4]


def test_bodies_of_an_unknown_codec_say_that_tables_are_missing() -> None:
    memory = archive()
    fill(memory, 1)
    body = Body.from_bytes(memory.store.body(0))
    del memory._upkeep.codecs["raw"]
    with pytest.raises(RecallError, match="its tables are missing"):
        memory.codec_of(body)


@pytest.fixture
def resident() -> Callable[[], int]:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc to read resident memory")
    return lambda: int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.parametrize("ladder", [False, True])
def test_a_hundred_thousand_blocks_leave_memory_where_it_was(resident: Callable[[], int], ladder: bool) -> None:
    traces = Traces(LAYOUT, HEADS, 0, shard_rows=1024)
    memory = Archive(3_000_000, traces, CODECS["int8"], ladder=ladder_of(CODECS) if ladder else None)
    keys = torch.zeros(2, 2, 2, 8)
    positions, coords = torch.arange(2)[:, None], torch.zeros(2, 3, dtype=torch.int32)
    early = 0
    for first in range(0, 100_000, 8):
        blocks = [KVBlock(i, keys, keys, positions, 2, coords, (i, i + 1)) for i in range(first, first + 8)]
        memory.extend(blocks, [None] * 8, [b"jpeg"] * 8)
        if first == 16_000:
            early = resident()
    assert memory.nbytes <= 3_000_000
    assert len(memory) > 500
    assert sum(one.count for one in memory.forgotten) + len(memory) == 100_000
    assert resident() - early < 4_000_000
