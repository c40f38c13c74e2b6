"""Every bit of a small log is flipped, and every file cut at every length: no wrong byte is ever read."""

import random
from pathlib import Path

import pytest
from simulated_disk import SimulatedDisk
from workload import FOLDER, Life, Record, contents

from onlooker.errors import StorageError
from onlooker.memory.log.log import SegmentLog
from onlooker.memory.log.view import LOCK_NAME


def small_log(closed: bool) -> tuple[SimulatedDisk, dict[int, Record]]:
    """Give a log of a compacted segment, a sealed one and the last one."""
    disk = SimulatedDisk()
    life = Life(disk)
    life.create()
    life.append(8)
    life.append(9, 0)
    life.sync()
    life.compact({1})
    life.append(7)
    life.append(1300)
    life.append(1, 12)
    life.append(10)
    life.sync()
    known = {s: r for s, r in life.model.synced.items() if s != 1}
    # The large record has done its work, to make a segment full; without it there are fewer bits to flip.
    life.compact({5})
    life.append(11, 4)
    life.append(6)
    life.sync()
    known = {s: r for s, r in life.model.synced.items() if s not in {1, 5}}
    if closed:
        life.close()
    return disk.copy(), known


def data_files(disk: SimulatedDisk) -> list[Path]:
    return [FOLDER / name for name in sorted(disk.folders[FOLDER].names) if name != LOCK_NAME]


def state(disk: SimulatedDisk, write: bool) -> tuple[dict[int, Record], bool]:
    """Give what can be read, and whether anything wrong was noticed."""
    with SegmentLog.open(FOLDER, write=write, files=disk) as log:
        log.scrub()
        found = contents(log)
        return found, bool(log.damage or log.torn_bytes)


@pytest.mark.parametrize("write", [False, True])
def test_each_flipped_bit_is_noticed_and_costs_one_record_at_most(write: bool) -> None:
    disk, known = small_log(closed=True)
    assert state(disk.copy(), write) == (known, False)
    for path in data_files(disk):
        for bit in range(len(disk.content(path)) * 8):
            # Opened for writing the outcome differs only at the edges: every bit there, some bits elsewhere.
            if write and bit % 7:
                continue
            flipped = disk.copy()
            flipped.content(path)[bit // 8] ^= 1 << bit % 8
            found, noticed = state(flipped, write)
            assert noticed, f"bit {bit} of {path.name}"
            assert found.items() <= known.items()
            assert len(found) >= len(known) - 1, f"bit {bit} of {path.name}"


def test_a_flipped_bit_behind_the_last_sync_costs_one_append_at_most() -> None:
    disk, known = small_log(closed=False)
    path = data_files(disk)[-3]
    assert path.suffix == ".seg"
    for bit in range(len(disk.content(path)) * 8):
        flipped = disk.copy()
        flipped.content(path)[bit // 8] ^= 1 << bit % 8
        found, noticed = state(flipped, write=True)
        assert noticed
        assert found.items() <= known.items()
        assert len(found) >= len(known) - 2


def test_files_cut_at_every_length_give_no_wrong_record() -> None:
    disk, known = small_log(closed=True)
    for path in data_files(disk):
        whole = bytes(disk.content(path))
        for size in range(len(whole)):
            cut = disk.copy()
            del cut.content(path)[size:]
            found, noticed = state(cut, write=size % 2 == 0)
            assert found.items() <= known.items()
            newest = path == [p for p in data_files(disk) if p.suffix == ".seg"][-1]
            # Of the last segment alone, an end between two appends tells nobody that there was more.
            assert noticed or newest
            elsewhere = {s for s in known if not newest or s < int(path.name[:16], 16)}
            if newest:
                assert elsewhere <= set(found)


def test_a_cut_off_and_continued_log_never_shows_the_cut_off_records_again() -> None:
    disk, known = small_log(closed=False)
    path = [p for p in data_files(disk) if p.suffix == ".seg"][-1]
    del disk.content(path)[-3:]
    with SegmentLog.open(FOLDER, write=True, files=disk) as log:
        assert log.torn_bytes > 0
        (sequence,) = log.append([(3, b"new")])
    assert sequence == max(known)
    found, noticed = state(disk, write=True)
    assert not noticed
    assert found[sequence] == (3, b"new")


def test_both_copies_of_the_description_damaged_is_a_clear_refusal() -> None:
    disk, _ = small_log(closed=True)
    for name in ("about", "about.copy"):
        disk.content(FOLDER / name)[40] ^= 1
    with pytest.raises(StorageError, match="description of the log in /memory is damaged"):
        SegmentLog.open(FOLDER, write=False, files=disk)


def test_a_damaged_description_is_restored_by_the_writer() -> None:
    disk, known = small_log(closed=True)
    disk.content(FOLDER / "about")[50] ^= 1
    assert state(disk, write=True) == (known, True)
    assert state(disk, write=True) == (known, False)
    assert disk.content(FOLDER / "about") == disk.content(FOLDER / "about.copy")


def test_copies_of_old_records_inside_a_payload_are_never_taken_for_records() -> None:
    disk = SimulatedDisk()
    life = Life(disk)
    life.create()
    life.append(30)
    life.append(40)
    life.close()
    copied = bytes(disk.content(FOLDER / "0000000000000001-0.seg"))
    with SegmentLog.open(FOLDER, write=True, files=disk, segment_bytes=8192) as log:
        log.append([(1, copied + b"end")])
        log.append([(2, b"behind")])
    path = FOLDER / "0000000000000001-0.seg"
    start = bytes(disk.content(path)).rindex(copied)
    rng = random.Random(1)
    for bit in rng.sample(range(start * 8 - 72 * 8, (start + len(copied)) * 8), 300):
        flipped = disk.copy()
        flipped.content(path)[bit // 8] ^= 1 << bit % 8
        with SegmentLog.open(FOLDER, write=False, files=flipped) as log:
            log.scrub()
            assert {d.sequence for d in log.damage} == {3}
            assert set(contents(log)) == {1, 2, 4}


def test_damage_survives_a_compaction_as_a_notice() -> None:
    disk, known = small_log(closed=True)
    path = next(p for p in data_files(disk) if p.suffix == ".seg")
    content = disk.content(path)
    content[72 + 5] ^= 1  # the header of the first record
    content[-1] ^= 1  # the payload of the last one
    with SegmentLog.open(FOLDER, write=True, files=disk) as log:
        lost = known.keys() - {info.sequence for info in log.records()}
        assert len(lost) == 1
        log.scrub()
        (bad,) = {info.sequence for info in log.records()} & {d.sequence for d in log.damage}
        log.compact(lambda info: True)
        assert path.name not in disk.folders[FOLDER].names
        assert any("1 records were lost" in d.what for d in log.damage)
        assert bad in {d.sequence for d in log.damage}
    for _ in range(2):
        with SegmentLog.open(FOLDER, write=True, files=disk) as log:
            assert any("1 records were lost" in d.what for d in log.damage)
            assert [d.sequence for d in log.scrub().damage] == [bad]
            assert contents(log) == {s: r for s, r in known.items() if s not in lost | {bad}}
            log.append([(1, b"x")])
            log.append([(1, b"y" * 600)])
            log.compact(lambda info: info.sequence in known)
