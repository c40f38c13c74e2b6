import json
import os
from pathlib import Path

import pytest

from onlooker.errors import SettingsError, StorageError
from onlooker.stream.server.folders import GRACE_S, MemoryFolders, Ticket, new_session_id

DAY_S = 86_400.0


class Clock:
    """A wall clock; the steady one beside it runs `steady_s` behind, until someone sets the wall clock."""

    def __init__(self) -> None:
        self.now_s, self.steady_s = 1_000_000.0, 0.0

    def __call__(self) -> float:
        return self.now_s

    def steady(self) -> float:
        return self.steady_s

    def run(self, seconds: float) -> None:
        self.now_s += seconds
        self.steady_s += seconds


def folders(tmp_path: Path, clock: Clock, most: int = 10, up_s: float = GRACE_S) -> MemoryFolders:
    """Make them as of a server that is up for so long."""
    made = MemoryFolders(tmp_path / "memories", DAY_S, most, clock, clock.steady)
    made.prepare()
    clock.steady_s += up_s
    clock.now_s += up_s
    return made


def keep(made: MemoryFolders, used_unix_s: float, written_unix_s: float | None = None) -> str:
    """Leave a memory whose ticket, and whose newest file, are of these times."""
    name = new_session_id()
    folder = made.session(name)
    folder.mkdir()
    (folder / "log").write_bytes(b"x")
    made.write(name, Ticket(("ab" * 32, "cd" * 32), used_unix_s, {"prune_rate": 0.5, "gate": "auto"}))
    os.utime(folder / "log", (0.0, used_unix_s if written_unix_s is None else written_unix_s))
    for path in (folder, folder.with_suffix(".json")):
        os.utime(path, (0.0, used_unix_s))
    return name


def test_a_ticket_comes_back_as_it_was_written_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    clock = Clock()
    made = folders(tmp_path, clock)
    name = keep(made, clock.now_s)
    assert made.ticket(name) == Ticket(("ab" * 32, "cd" * 32), clock.now_s, {"prune_rate": 0.5, "gate": "auto"})
    path = tmp_path / "memories" / "sessions" / f"{name}.json"
    assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "memories").stat().st_mode & 0o077 == 0
    assert not path.with_suffix(".half").exists()


@pytest.mark.parametrize("session_id", ["../cameras/hall", "", "A" * 24, "0" * 23, "..", "0" * 24 + "\n"])
def test_only_ids_that_were_made_here_name_a_folder(tmp_path: Path, session_id: str) -> None:
    made = folders(tmp_path, Clock())
    assert made.ticket(session_id) is None
    for call in (made.session, made.forget):
        with pytest.raises(StorageError, match="no session's id"):
            call(session_id)
    with pytest.raises(SettingsError):
        made.camera("../hall")
    assert made.camera("hall-2").parent.name == "cameras"


def test_a_damaged_ticket_or_one_without_a_memory_lets_nobody_in(tmp_path: Path) -> None:
    clock = Clock()
    made = folders(tmp_path, clock)
    name = keep(made, clock.now_s)
    path = made.session(name).with_suffix(".json")
    whole = path.read_text()
    for damaged in (
        "",
        "[]",
        whole[:-3],
        json.dumps(json.loads(whole) | {"format": 2}),
        whole.replace('"ab', '1, "ab'),
    ):
        path.write_text(damaged)
        assert made.ticket(name) is None
    path.write_text(whole)
    (made.session(name) / "log").unlink()
    made.session(name).rmdir()
    assert made.ticket(name) is None


def test_what_was_not_used_for_long_is_deleted_and_what_lives_stays(tmp_path: Path) -> None:
    clock = Clock()
    made = folders(tmp_path, clock)
    old, living, new = (keep(made, clock.now_s + later) for later in (0.0, 0.0, 10.0))
    clock.run(DAY_S + 5.0)
    assert made.ticket(old) is None  # whether it was swept yet or not
    assert made.sweep({living}) == 1
    assert not made.session(old).exists()
    assert not made.session(old).with_suffix(".json").exists()
    assert made.session(living).exists() and made.session(new).exists()


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    clock = Clock()
    made = folders(tmp_path, clock, most=3)
    kept = [keep(made, clock.now_s + number) for number in range(5)]
    assert made.sweep({kept[0]}) == 2
    assert [made.session(name).exists() for name in kept] == [True, False, False, True, True]
    assert made.sweep({kept[0], new_session_id()}) == 1  # one that is being opened has no folder yet
    assert [made.session(name).exists() for name in kept] == [True, False, False, False, True]


def test_a_memory_that_lost_its_ticket_is_swept_by_the_age_of_its_folder(tmp_path: Path) -> None:
    clock = Clock()
    made = folders(tmp_path, clock)
    name = keep(made, clock.now_s)
    made.session(name).with_suffix(".json").unlink()
    clock.run(DAY_S - 10.0)
    assert made.sweep(()) == 0
    clock.run(20.0)
    assert made.sweep(()) == 1


def test_a_memory_that_was_written_until_a_power_cut_outlives_its_old_ticket(tmp_path: Path) -> None:
    clock = Clock()
    made = folders(tmp_path, clock)
    name = keep(made, clock.now_s - 3 * DAY_S, written_unix_s=clock.now_s - 60.0)
    assert made.sweep(()) == 0
    assert made.ticket(name) is not None
    clock.run(DAY_S)
    assert made.ticket(name) is None and made.sweep(()) == 1


def test_a_living_session_that_writes_nothing_is_noted_as_used(tmp_path: Path) -> None:
    clock = Clock()
    made = folders(tmp_path, clock)
    name = keep(made, clock.now_s)
    clock.run(DAY_S + 5.0)
    assert made.sweep({name}) == 0
    clock.run(5.0)  # killed here; the next server finds it
    assert made.sweep(()) == 0 and made.ticket(name) is not None
    clock.run(DAY_S)
    assert made.sweep(()) == 1


def test_nothing_is_too_old_in_the_first_minutes(tmp_path: Path) -> None:
    clock = Clock()
    made = folders(tmp_path, clock, up_s=0.0)
    name = keep(made, clock.now_s - 3 * DAY_S)
    assert made.sweep(()) == 0 and made.ticket(name) is not None
    clock.run(GRACE_S)
    assert made.ticket(name) is None and made.sweep(()) == 1


@pytest.mark.parametrize("step_s", [3 * DAY_S, 365 * DAY_S])
def test_a_step_of_the_clock_sweeps_nothing_until_it_has_stood_for_minutes(tmp_path: Path, step_s: float) -> None:
    clock = Clock()
    made = folders(tmp_path, clock)
    name = keep(made, clock.now_s)
    assert made.sweep(()) == 0
    clock.now_s += step_s
    assert made.sweep(()) == 0 and made.ticket(name) is not None
    clock.run(GRACE_S / 2)
    assert made.sweep(()) == 0
    clock.now_s -= step_s  # it is set right
    assert made.sweep(()) == 0
    clock.run(2 * GRACE_S)
    assert made.sweep(()) == 0 and made.ticket(name) is not None


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    made = folders(tmp_path, Clock())
    other = tmp_path / "memories" / "sessions" / "notes"
    other.mkdir()
    assert made.sweep(()) == 0
    assert other.exists()


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"--memory .*file: memories cannot be written there"):
        MemoryFolders(tmp_path / "file", DAY_S, 1).prepare()
