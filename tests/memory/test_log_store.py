"""A store on disk: what was closed comes back, what was dropped is nowhere, what is damaged costs itself alone."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.errors import RecallError, StorageError
from onlooker.memory.archive import Archive
from onlooker.memory.block import KVBlock, KVLayout, RotarySpec
from onlooker.memory.codec_set import codecs_of, ladder_of
from onlooker.memory.log.errors import DamagedError
from onlooker.memory.log.log import SegmentLog
from onlooker.memory.log_store import LogStore
from onlooker.memory.traces import Traces

LAYOUT = KVLayout(2, 4, 2, 8, torch.float32, RotarySpec((1.0, 0.1, 0.01, 0.001)), "test")
CODECS = codecs_of(LAYOUT)
SEGMENT = 4096


def head_of(group_id: int, size: int = 40) -> bytes:
    """What begins as a group's head does; the store reads no more of it."""
    return b"OLGH" + bytes(4) + group_id.to_bytes(8, "little") + b"h" * size


def create(folder: Path, **options: Any) -> LogStore:
    return LogStore(SegmentLog.create(folder, {}, segment_bytes=SEGMENT), SEGMENT, **options)


def reopen(folder: Path, write: bool = True) -> LogStore:
    log = SegmentLog.open(folder, write=write, segment_bytes=SEGMENT)
    return LogStore(log, SEGMENT, writing=write)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LogStore]:
    with create(tmp_path / "log", sync_s=3600.0) as made:
        made.limit(10_000)
        yield made


def content(store: LogStore) -> dict[str, object]:
    heads = list(store.heads())
    ids = [int.from_bytes(head[8:16], "little") for head in heads]
    return {
        "heads": heads,
        "bodies": [store.body(one) for one in ids],
        "sizes": [store.body_bytes(one) for one in ids],
        "notes": [store.noted(key) for key in ("a", "b", "checkpoint")],
        "live": store._live_bytes,
        "newest": store.noted("checkpoint", newest=True),
    }


def segments(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*")))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 6), st.integers(0, 900)),
        st.tuples(st.just("drop"), st.integers(0, 6), st.integers(0, 2)),
        st.tuples(st.just("note"), st.integers(0, 2), st.integers(0, 300)),
        st.tuples(st.just("reclaim"), st.just(0), st.just(0)),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=40)
@given(STEPS)
def test_a_reopened_store_is_the_one_that_was_closed(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("store") / "log"
    store, groups, notes = create(folder), dict[int, tuple[bytes, bytes]](), dict[str, bytes]()
    keys = ("a", "b", "checkpoint")
    for number, (step, one, size) in enumerate(steps):
        if step == "put":
            groups[one] = (head_of(one, size // 9), number.to_bytes(4, "big") * size)
            store.put(one, *groups[one])
        elif step == "drop":
            store.drop(range(one, one + size))
            for gone in range(one, one + size):
                groups.pop(gone, None)
        elif step == "note":
            notes[keys[one]] = b"%d" % number * size
            store.note(keys[one], notes[keys[one]])
        elif step == "reclaim":
            before = store.disk_bytes
            assert store.reclaim() == before - store.disk_bytes
        else:
            before_close = content(store)
            store.close()
            store = reopen(folder)
            assert content(store) == before_close
        found = content(store)
        assert found["heads"] == [groups[one][0] for one in sorted(groups)]
        assert found["bodies"] == [groups[one][1] for one in sorted(groups)]
        assert found["notes"] == [notes.get(key) or None for key in keys]
        assert store.disk_bytes == sum(path.stat().st_size for path in folder.iterdir())
    store.close()


def test_a_checkpoint_counts_while_no_group_changes(store: LogStore) -> None:
    store.put(0, head_of(0), b"x")
    assert store.noted("checkpoint") is None
    store.note("checkpoint", b"one")
    store.note("other", b"two")
    assert store.noted("checkpoint", newest=True) == b"one"
    for change in (lambda: store.put(1, head_of(1), b"y"), lambda: store.drop([0])):
        store.note("checkpoint", b"again")
        assert store.noted("checkpoint", newest=True) == b"again"
        change()
        assert store.noted("checkpoint", newest=True) is None
        assert store.noted("checkpoint") == b"again"
    store.unnote("checkpoint")
    assert store.noted("checkpoint") is None


@pytest.mark.parametrize("cached", [0, 100_000])
def test_what_was_dropped_or_replaced_is_in_no_file_after_reclaiming(tmp_path: Path, cached: int) -> None:
    folder = tmp_path / "log"
    markers = [b"marker-%02d-" % n * 9 for n in range(30)]
    with create(folder) as store:
        store.limit(cached)
        for number, marker in enumerate(markers):
            store.put(number, head_of(number), marker * 7)
        store.note("words", markers[0] + b"old")
        store.note("words", b"new")
        store.drop(range(5, 12))
        store.put(20, head_of(20), b"replaced")
        store.sync()
        assert all(marker in segments(folder) for marker in markers)
        assert store.dead_bytes > 7 * len(markers[0]) * 8
        assert store.reclaim() > 0
        gone = {*range(5, 12), 20}
        assert {n for n, marker in enumerate(markers) if marker not in segments(folder)} == gone
        assert markers[0] + b"old" not in segments(folder)
        store.reclaim()
        overhead = store.dead_bytes
        assert overhead < 30 * SEGMENT
        for number in set(range(30)) - gone:
            assert store.body(number) == markers[number] * 7
        store.drop(range(30))
        store.reclaim()
        store.reclaim()
        assert store._drops == {} or not any(marker in segments(folder) for marker in markers)
        assert list(store.heads()) == [] and store.dead_bytes == store.disk_bytes - store.noted_bytes
    with reopen(folder) as store:
        assert list(store.heads()) == [] and store.noted("words") == b"new"


def damage(folder: Path, log: SegmentLog, sequence: int, header: bool = False) -> None:
    """Change a byte in the middle of a record's payload, or in its header."""
    [info] = [info for info in log.records() if info.sequence == sequence]
    path = folder / info.segment
    data = bytearray(path.read_bytes())
    data[info.offset + (20 if header else 72 + info.payload_bytes // 2)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("header", [False, True], ids=["payload", "header"])
@pytest.mark.parametrize(
    ("record", "lost"), [("body", {2}), ("head", {2}), ("name", set[int]()), ("dropped", set[int]()), ("note", set())]
)
def test_damage_costs_its_group_alone(tmp_path: Path, record: str, lost: set[int], header: bool) -> None:
    folder = tmp_path / "log"
    with create(folder) as store:
        for group_id in range(6):
            store.put(group_id, head_of(group_id), b"%d" % group_id * 50)
        store.drop([0])
        store.note("words", b"words")
        store.put(6, head_of(6), b"6" * 50)
        first = store._groups[2][0]
        place = {"body": first, "head": first + 1, "name": first + 2, "dropped": 19, "note": 20}[record]
    log = SegmentLog.open(folder, write=False, segment_bytes=SEGMENT)
    damage(folder, log, place, header)
    for write in (False, True):
        with reopen(folder, write) as store:
            kept = [int.from_bytes(head[8:16], "little") for head in store.heads()]
            readable = set()
            for group_id in kept:
                try:
                    assert store.body(group_id) == b"%d" % group_id * 50
                    readable.add(group_id)
                except DamagedError:
                    assert record == "body"
            back = {0} if record == "dropped" else set()
            assert readable == ({1, 2, 3, 4, 5, 6} - lost) | back
            assert store.noted("words") == (None if record == "note" else b"words")
            store.fetch([*kept, 99])  # raises nothing


def test_an_older_name_that_is_damaged_does_not_make_an_old_checkpoint_the_newest(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with create(folder) as store:
        store.put(0, head_of(0), b"0")
        store.note("checkpoint", b"old")
        store.put(1, head_of(1), b"1")
    damage(folder, SegmentLog.open(folder, write=False, segment_bytes=SEGMENT), 3)
    with reopen(folder) as store:
        assert [store.body(one) for one in (0, 1)] == [b"0", b"1"]
        assert store.noted("checkpoint", newest=True) is None


def test_a_replaced_group_whose_newer_name_is_damaged_is_the_newer_one(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with create(folder) as store:
        store.put(0, head_of(0), b"older")
        store.put(0, head_of(0), b"newer")
    damage(folder, SegmentLog.open(folder, write=False, segment_bytes=SEGMENT), 6)
    with reopen(folder) as store:
        assert store.body(0) == b"newer"


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from(["put", "body", "fetch", "limit", "drop"]), st.integers(0, 9)), max_size=40),
    st.integers(0, 9_000),
)
def test_the_cache_never_passes_its_cap(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], cap: int
) -> None:
    with create(tmp_path_factory.mktemp("store") / "log", sync_s=3600.0) as store:
        store.limit(cap)
        bodies = dict[int, bytes]()
        for step, one in steps:
            if step == "put":
                bodies[one] = b"%d" % one * (one * 137)
                store.put(one, head_of(one), bodies[one])
            elif step == "drop":
                store.drop([one])
                bodies.pop(one, None)
            elif step == "limit":
                cap = one * 1_000
                store.limit(cap)
            elif step == "fetch":
                store.fetch(range(one))
            elif one in bodies:
                assert store.body(one) == bodies[one]
            held = sum(len(body) for body in store._cache.values())
            assert store._cache_bytes == held <= store._cap
            assert store.host_bytes == held + 420 * len(bodies)
        store.limit(cap)
        assert store.host_bytes <= max(cap, 420 * len(bodies))


def test_fetched_bodies_are_read_from_memory(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for group_id in range(4):
        store.put(group_id, head_of(group_id), b"%d" % group_id * 20)
    store.limit(0)
    store.limit(10_000)
    store.fetch([0, 1, 2])
    monkeypatch.setattr(store.log, "read", lambda _: 1 / 0)
    assert [store.body(one) for one in (0, 1, 2)] == [b"%d" % one * 20 for one in (0, 1, 2)]
    with pytest.raises(ZeroDivisionError):
        store.body(3)


def test_what_is_not_here_says_so(store: LogStore) -> None:
    for ask in (store.body, store.body_bytes, store.head):
        with pytest.raises(RecallError, match="group 7 is not remembered"):
            ask(7)
    store.drop([7])
    assert store.log.last == 0  # nothing was written for it


def test_what_was_put_becomes_durable_by_itself(tmp_path: Path) -> None:
    with create(tmp_path / "log", sync_s=0.01) as store:
        for number in range(3):
            store.put(number, head_of(number), b"x")
            limit = time.monotonic() + 30.0
            while store.log.durable < store.log.last and time.monotonic() < limit:
                threading.Event().wait(0.005)
            assert store.log.durable == store.log.last == 3 * (number + 1)


def test_without_a_delay_every_put_is_durable_at_once(tmp_path: Path) -> None:
    with create(tmp_path / "log", sync_s=0.0) as store:
        for change in (
            lambda: store.put(0, head_of(0), b"x"),
            lambda: store.note("a", b"b"),
            lambda: store.drop([0]),
        ):
            change()
            assert store.log.durable == store.log.last > 0


def test_closing_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    store = create(tmp_path / "log", sync_s=3600.0)
    store.put(0, head_of(0), b"x")
    store.limit(0)
    store.fetch([0, 0])
    assert threading.active_count() > before
    store.close()
    assert threading.active_count() == before


def test_who_only_reads_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with create(folder) as store:
        store.put(0, head_of(0), b"x")
    before = segments(folder)
    with reopen(folder, write=False) as store:
        store.note("a", b"b")
        store.drop([0])
        assert list(store.heads()) == []
    assert segments(folder) == before
    with reopen(folder, write=False) as store:
        assert len(list(store.heads())) == 1


def group(first: int, count: int, n: int) -> tuple[list[KVBlock], list[None], list[bytes]]:
    blocks = []
    for block_id in range(first, first + count):
        keys, values = torch.randn(2, 2, 2, n, 8, generator=torch.Generator().manual_seed(block_id))
        cells = torch.stack((torch.zeros(n), torch.arange(n) // 16, torch.arange(n) % 16), dim=1).int()
        span = (block_id * 10, block_id * 10 + 10)
        blocks.append(KVBlock(block_id, keys, values, torch.arange(n)[:, None], n, cells, span, block_id * n))
    return blocks, [None] * count, [np.random.default_rng(first).bytes(200)] * count


@pytest.mark.parametrize(("n", "codec"), [(150, "int4"), (40, "raw"), (450, "raw")])
def test_the_cap_on_disk_is_never_passed(tmp_path: Path, n: int, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at whenever something was written, compactions included; groups from a part of a segment to several."""
    cap, segment = 1_500_000, 1_500_000 // 32
    folder = tmp_path / "log"
    log = SegmentLog.create(folder, {}, segment_bytes=segment)
    most = 0

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any) -> Any:
            nonlocal most
            result = real(*words)
            most = max(most, sum(path.stat().st_size for path in folder.iterdir()))
            return result

        return call

    files = log._files
    for name in ("pwrite", "rename"):
        monkeypatch.setattr(files, name, watched(getattr(files, name)))
    with LogStore(log, segment, sync_s=3600.0) as store:
        memory = Archive(
            10_000_000, Traces(LAYOUT, ()), CODECS[codec], ladder=ladder_of(CODECS), store=store, disk_cap_bytes=cap
        )
        rounds = 2_400_000 // (4 * n * LAYOUT.token_bytes // (8 if codec == "int4" else 1))
        for number in range(rounds):
            memory.extend(*group(number * 4, 4, n))
            stats = memory.stats()
            assert stats.disk_bytes == store.disk_bytes <= cap
            memory.read(memory.block_ids[-2:])
        assert most <= cap
        assert max(stats.levels[1:]) > 0 or stats.forgotten
        assert stats.disk_bytes > cap // 3  # and it is made use of
        ids = memory.block_ids
        assert ids[-4:] == tuple(range(rounds * 4 - 4, rounds * 4))
        assert all(len(memory.get(one)) == memory.size(one) for one in ids)
    with reopen(folder) as store:
        again = Archive(10_000_000, Traces(LAYOUT, ()), CODECS["raw"], ladder=ladder_of(CODECS), store=store)
        again.load()
        assert again.block_ids == ids and again.forgotten == memory.forgotten
        assert [again.size(one) for one in ids] == [memory.size(one) for one in ids]


def test_where_even_nothing_has_room_it_says_so_and_gives_nothing_up(tmp_path: Path) -> None:
    with create(tmp_path / "log", sync_s=3600.0) as store:
        memory = Archive(
            10_000_000, Traces(LAYOUT, ()), CODECS["raw"], ladder=ladder_of(CODECS), store=store, disk_cap_bytes=40_000
        )
        memory.extend(*group(0, 1, 20))
        with pytest.raises(StorageError, match="do not fit into the 40000 that the memory may take on disk"):
            memory.extend(*group(1, 1, 120))
        assert memory.block_ids == (0,) and store.disk_bytes <= 40_000
        memory.extend(*group(1, 1, 20))
        store.note("checkpoint", b"c" * 9_000)  # what lives beside the groups cannot be reclaimed
        for number in range(2, 30):
            memory.extend(*group(number, 1, 20))
            assert store.disk_bytes <= 40_000
        assert memory.forgotten


def test_a_cache_gives_way_before_anything_is_given_up(tmp_path: Path) -> None:
    with create(tmp_path / "log", sync_s=3600.0) as store:
        memory = Archive(60_000, Traces(LAYOUT, ()), CODECS["raw"], ladder=ladder_of(CODECS), store=store)
        for number in range(40):
            memory.extend(*group(number, 1, 20))
            assert memory.nbytes <= 60_000
        assert memory.stats().levels[0] == 40 and not memory.forgotten
        assert store.host_bytes > 20_000
