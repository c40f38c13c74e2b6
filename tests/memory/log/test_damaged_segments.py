"""Whole segments are destroyed or removed: the rest stays, the loss stays known, no sequence is given twice."""

from pathlib import Path

import pytest
from simulated_disk import SimulatedDisk
from workload import FOLDER, SEGMENT_BYTES, Life, Record, contents

from onlooker.memory.log.log import SegmentLog


@pytest.fixture
def life() -> Life:
    """Give a closed log of several segments."""
    life = Life(SimulatedDisk())
    life.create()
    for size in (100, 900, 300, 700, 10, 1200, 30, 40):
        life.append(size)
    life.close()
    return life


def segments(disk: SimulatedDisk) -> list[Path]:
    return [FOLDER / name for name in sorted(disk.folders[FOLDER].names) if name.endswith(".seg")]


def opened(disk: SimulatedDisk) -> SegmentLog:
    return SegmentLog.open(FOLDER, write=True, files=disk, segment_bytes=SEGMENT_BYTES)


def test_a_destroyed_last_segment_costs_no_sequence_twice(life: Life) -> None:
    disk, last = life.files, life.model.last
    path = segments(disk)[-1]
    first = int(path.name[:16], 16)
    disk.content(path)[:] = bytes(len(disk.content(path)))
    known = {s: r for s, r in life.model.synced.items() if s < first}
    for size in (73, 100, 143, 144, len(disk.content(path))):
        broken = disk.copy()
        del broken.content(path)[size:]
        with SegmentLog.open(FOLDER, write=False, files=broken) as reader:
            assert contents(reader) == known
            assert reader.damage
        with opened(broken) as log:
            assert log.damage == reader.damage
            (new,) = log.append([(1, b"new")])
            assert new > first
            assert new > last or size < len(disk.content(path))
        for _ in range(2):
            with opened(broken) as log:
                assert contents(log) == known | {new: (1, b"new")}
                assert log.damage
                log.compact(lambda info: True)
                assert log.damage
        assert path not in segments(broken)


def test_a_torn_creation_of_the_last_segment_is_no_damage(life: Life) -> None:
    disk = life.files
    path = segments(disk)[-1]
    known = {s: r for s, r in life.model.synced.items() if s < int(path.name[:16], 16)}
    for size in (0, 10, 71):
        torn = disk.copy()
        del torn.content(path)[size:]
        with opened(torn) as log:
            assert (contents(log), log.damage, log.torn_bytes) == (known, (), size)


def test_missing_segments_stay_known_through_compactions(life: Life) -> None:
    for gone in range(len(segments(life.files)) - 1):
        disk = life.files.copy()
        with opened(disk) as log:
            log.compact(lambda info: info.sequence != 2)
        path = segments(disk)[gone]
        before = contents(opened(disk.copy()))
        del disk.folders[FOLDER].names[path.name]
        with opened(disk) as log:
            left: dict[int, Record] = contents(log)
            assert left.items() < before.items()
            assert "missing" in log.damage[0].what
        for _ in range(2):
            with opened(disk) as log:
                log.compact(lambda info: info.sequence not in (3, 7))
                assert log.damage
                assert contents(log) == {s: r for s, r in left.items() if s not in (3, 7)}


def test_the_header_of_a_compacted_segment_costs_no_record(life: Life) -> None:
    disk = life.files
    with opened(disk) as log:
        log.compact(lambda info: info.sequence % 2 == 0)
        known = contents(log)
    for path in segments(disk):
        broken = disk.copy()
        broken.content(path)[20] ^= 4
        for _ in range(2):
            with opened(broken) as log:
                assert contents(log) == known
                assert bool(log.damage) == (len(disk.content(path)) > 72)
                log.append([(1, b"x")])
                known = contents(log)
                log.compact(lambda info: True)
        known = {s: r for s, r in known.items() if r != (1, b"x")}


def test_a_synced_record_gone_bad_in_front_of_a_torn_append_is_damage_and_stays() -> None:
    life = Life(SimulatedDisk())
    life.create()
    for size in (10, 20):
        life.append(size)
        life.sync()
    disk = life.files
    path = segments(disk)[-1]
    second = disk.content(path).rindex(b"\xf5OLr")
    end = len(disk.content(path))
    life.append(30, 40)
    torn = disk.after_power_cut("kept", life.files.rng)
    torn.content(path)[second + 20] ^= 1
    del torn.content(path)[-1:]
    for outcome in ("kept", "lost", "lost"):
        torn = torn.after_power_cut(outcome, torn.rng)
        log = opened(torn)  # and never closed
        assert [(d.offset, d.bytes) for d in log.damage] == [(second, end - second)]
        assert (set(contents(log)), log.last) == ({1}, 2)
        assert len(torn.content(path)) >= end
