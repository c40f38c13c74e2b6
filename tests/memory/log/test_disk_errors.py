"""Calls to the disk fail: the log says so, keeps what it has, and goes on where that is safe."""

import errno
import random
from pathlib import Path

import pytest
from simulated_disk import SimulatedDisk
from workload import FOLDER, SEGMENT_BYTES, Life, Model, check, contents, script

from onlooker.errors import StorageError
from onlooker.memory.log.log import SegmentLog

SPACE, INPUT_OUTPUT = errno.ENOSPC, errno.EIO


def calls_of_the_script() -> int:
    disk = SimulatedDisk()
    script(Life(disk))
    return disk.calls


@pytest.mark.parametrize("code", [SPACE, INPUT_OUTPUT])
def test_an_error_at_every_call_loses_nothing_acknowledged(code: int) -> None:
    for at in range(1, calls_of_the_script() + 1):
        disk = SimulatedDisk(errors={at: code}, rng=random.Random(at))
        life = Life(disk)
        told = True
        try:
            script(life)
            told = False
        except StorageError:
            pass
        # Closing a synced file, and the note that all was synced, may fail without anybody losing anything.
        assert told or disk.trace[at - 1] == "close" or disk.trace[at - 2 : at] == ["fdatasync", "pwrite"]
        # The same machine goes on: another process opens the log.
        survivor = disk.copy()
        check(survivor, life.model)
        # The power goes too.
        outcome = random.Random(at).choice(["lost", "torn", "kept"])
        check(disk.after_power_cut(outcome, random.Random(at)), life.model)


def log_with_three(disk: SimulatedDisk) -> Life:
    life = Life(disk)
    life.create()
    for size in (50, 60, 70):
        life.append(size)
    life.sync()
    return life


def next_call(disk: SimulatedDisk, code: int, name: str, life: Life) -> None:
    """Make the next call of a name fail once."""
    original = getattr(disk, name)

    def failing(*arguments: object) -> object:
        setattr(disk, name, original)
        disk.errors[disk.calls + 1] = code
        return original(*arguments)

    setattr(disk, name, failing)


@pytest.mark.parametrize("code", [SPACE, INPUT_OUTPUT])
def test_a_failed_append_leaves_nothing_and_the_next_one_works(code: int) -> None:
    disk = SimulatedDisk(rng=random.Random(3))
    life = log_with_three(disk)
    before = disk.content(FOLDER / "0000000000000001-0.seg").copy()
    next_call(disk, code, "pwrite", life)
    with pytest.raises(StorageError):
        life.append(300, 30)
    assert disk.content(FOLDER / "0000000000000001-0.seg") == before
    life.model.attempt = {}
    assert contents(life.log) == life.model.synced
    life.append(300, 30)
    life.sync()
    life.close()
    check(disk, life.model)


def test_a_full_disk_is_told_with_numbers_and_remedy() -> None:
    disk = SimulatedDisk()
    life = log_with_three(disk)
    next_call(disk, SPACE, "pwrite", life)
    with pytest.raises(StorageError, match=r"372 bytes were needed .* 12345 bytes are free; make room"):
        life.append(300)


def test_a_write_that_cannot_be_undone_stops_the_writer_but_not_reads() -> None:
    disk = SimulatedDisk(rng=random.Random(3))
    life = log_with_three(disk)
    assert life.log is not None
    next_call(disk, SPACE, "pwrite", life)
    next_call(disk, INPUT_OUTPUT, "truncate", life)
    with pytest.raises(StorageError, match="full"):
        life.append(300)
    for call in (lambda: life.log.append([(1, b"x")]), life.log.sync, lambda: life.log.compact(lambda info: False)):
        with pytest.raises(StorageError, match="reopen it"):
            call()
    assert contents(life.log) == life.model.synced
    life.close()
    check(disk, life.model)


def test_a_failed_sync_stops_the_writer_and_is_not_glossed_over() -> None:
    disk = SimulatedDisk()
    life = log_with_three(disk)
    assert life.log is not None
    life.append(80)
    next_call(disk, INPUT_OUTPUT, "fdatasync", life)
    with pytest.raises(StorageError, match="reopen"):
        life.sync()
    assert life.log.durable == 3
    with pytest.raises(StorageError, match="reopen it"):
        life.log.append([(1, b"x")])
    with pytest.raises(StorageError, match="reopen it"):
        life.log.sync()
    assert len(life.log.read(4)) == 80
    with pytest.raises(StorageError, match="up to sequence 3"):
        life.close()
    # The system holds the record as written though it is not on the disk: whoever calls it durable must see to it.
    with SegmentLog.open(FOLDER, write=True, files=disk) as log:
        assert log.durable == 4
        after = disk.after_power_cut("lost", random.Random(0))
    with SegmentLog.open(FOLDER, write=False, files=after) as log:
        assert len(log.read(4)) == 80


def test_a_compaction_that_fails_can_be_called_again() -> None:
    disk = SimulatedDisk()
    calls = 0
    for name in ("create", "fdatasync", "pwrite", "unlink", "open_read"):
        life = log_with_three(disk)
        for _ in range(6):
            life.append(500)
        life.sync()
        next_call(disk, SPACE, name, life)
        dead = {1, 2, 5}
        try:
            life.compact(dead)
        except StorageError:
            calls += 1
        try:
            life.compact(dead)
        except StorageError:
            life.reopen()
            life.compact(dead)
        assert {s for s in life.model.synced if s not in dead} == set(contents(life.log))
        held = b"".join(bytes(inode.cache) for inode in disk.folders[FOLDER].names.values())
        assert not [s for s in dead if life.model.synced[s][1] in held]
        life.close()
        check(disk, life.model)
        disk = SimulatedDisk()
    assert calls == 5


def test_an_unreadable_record_is_reported_by_scrub_and_raised_by_read() -> None:
    disk = SimulatedDisk()
    life = log_with_three(disk)
    assert life.log is not None
    next_call(disk, INPUT_OUTPUT, "pread", life)
    with pytest.raises(StorageError, match="cannot read record 2"):
        life.log.read(2)
    disk.errors[disk.calls + 8] = INPUT_OUTPUT
    report = life.log.scrub()
    assert report.finished
    assert len(report.damage) == 1
    assert contents(life.log) == life.model.synced


def test_a_signal_in_the_middle_of_an_append_leaves_no_trace() -> None:
    disk = SimulatedDisk()
    life = log_with_three(disk)
    original = disk.pwrite

    def interrupted(descriptor: int, data: memoryview, offset: int) -> int:
        disk.pwrite = original
        original(descriptor, data[:100], offset)
        raise KeyboardInterrupt

    disk.pwrite = interrupted
    with pytest.raises(KeyboardInterrupt):
        life.append(200)
    life.model.attempt = {}
    life.append(20)
    life.close()
    check(disk, life.model)


def test_other_errors_name_the_folder() -> None:
    with pytest.raises(StorageError, match="there is no log in /nowhere"):
        SegmentLog.open(Path("/nowhere"), write=True, files=SimulatedDisk())
    disk = SimulatedDisk()
    life = log_with_three(disk)
    life.close()
    next_call(disk, errno.EACCES, "lock", life)
    with pytest.raises(StorageError, match="permissions"):
        SegmentLog.open(FOLDER, write=True, files=disk)
    next_call(disk, errno.EROFS, "lock", life)
    with pytest.raises(StorageError, match="cannot lock the log in /memory"):
        SegmentLog.open(FOLDER, write=True, files=disk)
    log = SegmentLog.open(FOLDER, write=False, files=disk)
    assert contents(log) == life.model.synced
    check(disk, Model(True, life.model.synced))
    assert SEGMENT_BYTES > 512


@pytest.mark.parametrize("name", ["pwrite", "fdatasync"])
def test_a_segment_that_could_not_be_made_does_not_come_back_and_vouch_for_the_one_before(name: str) -> None:
    for seed in range(30):
        rng = random.Random(seed)
        disk = SimulatedDisk(rng=rng)
        life = log_with_three(disk)
        next_call(disk, SPACE, name, life)
        with pytest.raises(StorageError):
            life.append(1390)
        life.model.attempt = {}
        life.append(150, 500)
        check(disk.after_power_cut(rng.choice(["torn", "mixed"]), rng), life.model)
