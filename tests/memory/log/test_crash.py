"""The power goes at every call a log makes to its disk: nothing acknowledged is lost, nothing false is read."""

import random

import pytest
from simulated_disk import PowerCutError, SimulatedDisk
from workload import FOLDER, Life, Model, check, contents, script

from onlooker.memory.log.log import SegmentLog

OUTCOMES = ("killed", "lost", "kept", "torn", "torn", "mixed", "mixed", "mixed")


READING = {"list", "size", "open_read", "open_write", "pread", "close"}


def trace_of_the_script() -> list[str]:
    disk = SimulatedDisk()
    script(Life(disk))
    return disk.trace


TRACE = trace_of_the_script()


def tells_apart(trace: list[str], cut_at: int) -> bool:
    """Say whether a cut before this call differs from one before the last: between two readings it does not."""
    return any(name not in READING for name in trace[max(cut_at - 2, 0) : cut_at])


CUTS = [cut_at for cut_at in range(1, len(TRACE) + 1) if tells_apart(TRACE, cut_at)]


def lived_until(cut_at: int) -> tuple[SimulatedDisk, Model]:
    disk = SimulatedDisk(cut_at=cut_at, rng=random.Random(cut_at))
    life = Life(disk)
    with pytest.raises(PowerCutError):
        script(life)
    return disk, life.model


def test_the_script_meets_everything_a_log_does_to_its_disk() -> None:
    disk = SimulatedDisk()
    life = Life(disk)
    script(life)
    names = set(disk.trace)
    assert {"make_folder", "create", "pwrite", "fdatasync", "fsync_folder", "rename", "unlink", "lock"} <= names
    assert len([name for name in disk.folders[FOLDER].names if name.endswith(".seg")]) > 2
    assert life.model.gone
    assert len(CUTS) > 100


@pytest.mark.parametrize("part", range(4))
def test_power_cut_at_every_call(part: int) -> None:
    for cut_at in CUTS[part::4]:
        disk, model = lived_until(cut_at)
        for seed, outcome in enumerate(OUTCOMES):
            after = disk.after_power_cut(outcome, random.Random(cut_at * 100 + seed))
            check(after, model, holes_possible=outcome == "mixed")


@pytest.mark.parametrize("part", range(4))
def test_power_cut_at_every_call_of_the_recovery(part: int) -> None:
    rng = random.Random(part)
    for cut_at in CUTS[part::4]:
        disk, model = lived_until(cut_at)
        if not model.created:
            continue
        outcome = rng.choice(("killed", *OUTCOMES))
        first = disk.after_power_cut(outcome, rng)
        whole = first.copy()
        SegmentLog.open(FOLDER, write=True, files=whole)
        for at in range(1, whole.calls + 1):
            if not tells_apart(whole.trace, at):
                continue
            second = first.copy()
            second.cut_at = at
            with pytest.raises(PowerCutError):
                SegmentLog.open(FOLDER, write=True, files=second)
            again = rng.choice(OUTCOMES)
            check(second.after_power_cut(again, rng), model, holes_possible="mixed" in (outcome, again))


def test_the_log_lives_on_through_many_power_cuts() -> None:
    rng = random.Random(5)
    disk, model = SimulatedDisk(), Model()
    for _ in range(100):
        disk.cut_at = disk.calls + rng.randint(1, 120)
        life = Life(disk, model, counter=rng.randrange(10**9))
        try:
            if not model.created:
                life.create()
            while True:
                life.reopen()
                for _ in range(rng.randint(1, 8)):
                    life.append(*(rng.randint(0, 400) for _ in range(rng.randint(1, 4))))
                    if rng.random() < 0.4:
                        life.sync()
                if rng.random() < 0.5:
                    dead = {sequence for sequence in model.synced if rng.random() < 0.2}
                    life.compact(dead, rng.choice([None, 300]))
        except PowerCutError:
            pass
        disk = disk.after_power_cut(rng.choice(["killed", "lost", "kept", "torn"]), rng)
        model = check(disk, model)
    assert model.last > 100


def test_short_writes_and_reads_change_nothing() -> None:
    disk = SimulatedDisk(most_per_write=100)
    life = Life(disk)
    script(life)
    with SegmentLog.open(FOLDER, write=False, files=disk) as log:
        live = {s: r for s, r in life.model.synced.items() if s not in life.model.gone}
        assert contents(log) == live


def test_recovery_after_a_kill_is_not_undone_by_a_power_cut() -> None:
    rng = random.Random(8)
    for cut_at in CUTS:
        disk, model = lived_until(cut_at)
        if not model.created:
            continue
        killed = disk.after_power_cut("killed", rng)
        with SegmentLog.open(FOLDER, write=True, files=killed) as log:
            durable = {i: r for i, r in contents(log).items() if i <= log.durable}
            assert log.durable == log.last
            for outcome in ("lost", "mixed", "mixed", "mixed"):
                with SegmentLog.open(FOLDER, write=False, files=killed.after_power_cut(outcome, rng)) as after:
                    assert contents(after) == durable
                    assert after.damage == ()


def test_no_old_segment_goes_before_the_name_of_the_new_one_is_safe() -> None:
    rng = random.Random(9)
    renamed = [cut_at for cut_at in CUTS if TRACE[cut_at - 2 : cut_at] == ["rename", "fsync_folder"]]
    assert len(renamed) > 2
    for cut_at in renamed:
        disk, model = lived_until(cut_at)
        killed = disk.after_power_cut("killed", rng)
        whole = killed.copy()
        SegmentLog.open(FOLDER, write=True, files=whole)
        for at in (place + 2 for place, name in enumerate(whole.trace) if name == "unlink"):
            second = killed.copy()
            second.cut_at = at
            with pytest.raises(PowerCutError):
                SegmentLog.open(FOLDER, write=True, files=second)
            for _ in range(20):
                check(second.after_power_cut("mixed", rng), model, holes_possible=True)


def test_a_payload_that_did_not_reach_the_disk_behind_its_header_is_no_record() -> None:
    life = Life(SimulatedDisk())
    life.create()
    life.append(30)
    life.sync()
    life.append(3000)
    after = life.files.after_power_cut("kept", random.Random(0))
    content = after.content(FOLDER / f"{2:016x}-0.seg")
    content[1024:2048] = bytes(1024)
    check(after, life.model)
