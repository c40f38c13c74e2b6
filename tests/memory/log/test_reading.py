"""Readers beside a writer, the lock, and what a log is asked that it cannot do; on the real disk."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from onlooker.errors import StorageError
from onlooker.memory.log.about import About
from onlooker.memory.log.files import OsFiles
from onlooker.memory.log.log import SegmentLog
from onlooker.memory.log.segments import SegmentHeader


@pytest.fixture
def log(tmp_path: Path) -> SegmentLog:
    return SegmentLog.create(tmp_path / "log", {"codec": "raw16"}, segment_bytes=1024)


def numbers(log: SegmentLog) -> list[int]:
    return [info.sequence for info in log.records()]


def test_records_come_back_in_order_with_kind_and_place(log: SegmentLog, tmp_path: Path) -> None:
    assert log.append([]) == ()
    assert log.append([(1, b"one"), (65535, b"")]) == (1, 2)
    assert log.append([(7, b"x" * 5000)]) == (3,)
    assert (log.last, log.durable) == (3, 2)  # a new segment was begun for the third, so the first two were synced
    assert log.sync() == 3
    assert [(i.sequence, i.kind, i.payload_bytes) for i in log.records()] == [(1, 1, 3), (2, 65535, 0), (3, 7, 5000)]
    assert [log.read(i) for i in (3, 2, 1)] == [b"x" * 5000, b"", b"one"]
    assert log.disk_bytes == sum(path.stat().st_size for path in (tmp_path / "log").iterdir())
    assert log.damage == ()


def test_only_the_owner_may_read_the_files(log: SegmentLog, tmp_path: Path) -> None:
    log.append([(1, b"footage")])
    log.close()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "log").iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("records", "message"),
    [([(0, b"")], "kind is 0; give one from 1"), ([(65536, b"")], "kind is 65536"), ([(1, b"")] * 65536, "65536 rec")],
)
def test_impossible_appends_are_refused(log: SegmentLog, records: list[tuple[int, bytes]], message: str) -> None:
    with pytest.raises(StorageError, match=message):
        log.append(records)
    assert log.append([(1, b"fine")]) == (1,)


def test_unknown_sequences_are_refused(log: SegmentLog) -> None:
    log.append([(1, b"a")])
    for sequence in (0, -1, 2):
        with pytest.raises(StorageError, match=f"there is no record {sequence}"):
            log.read(sequence)


def test_one_process_writes_and_the_others_are_told(log: SegmentLog, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"another process is writing the log in .*/log"):
        SegmentLog.open(tmp_path / "log", write=True)
    with pytest.raises(StorageError, match="another process is writing"):
        SegmentLog.create(tmp_path / "log", {})
    code = (
        "import sys; from pathlib import Path; from onlooker.memory.log.log import SegmentLog\n"
        "SegmentLog.open(Path(sys.argv[1]), write=True)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "log"], capture_output=True, text=True, check=False)
    assert "another process is writing" in done.stderr
    log.close()
    SegmentLog.open(tmp_path / "log", write=True).close()


def test_a_closed_log_is_not_written(log: SegmentLog) -> None:
    log.append([(1, b"a")])
    log.close()
    log.close()
    with pytest.raises(StorageError, match="closed"):
        log.append([(1, b"b")])


def test_a_log_opened_for_reading_changes_no_byte(log: SegmentLog, tmp_path: Path) -> None:
    log.append([(1, b"a" * 100)])
    log.sync()
    segment = tmp_path / "log" / "0000000000000001-0.seg"
    with segment.open("ab") as file:
        file.write(b"torn")
    log.close()

    def everything() -> dict[str, tuple[bytes, int]]:
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "log").iterdir()}

    before = everything()
    reader = SegmentLog.open(tmp_path / "log", write=False)
    for call in (lambda: reader.append([(1, b"b")]), reader.sync, lambda: reader.compact(lambda info: True)):
        with pytest.raises(StorageError, match="write=True"):
            call()
    reader.refresh()
    reader.scrub()
    reader.close()
    assert everything() == before


def test_a_reader_sees_what_was_appended_after_a_refresh(log: SegmentLog, tmp_path: Path) -> None:
    reader = SegmentLog.open(tmp_path / "log", write=False)
    for number in range(1, 30):
        log.append([(1, bytes([number]) * 100)])
        assert reader.last == number - 1
        reader.refresh()
        assert numbers(reader) == list(range(1, number + 1))
        assert reader.read(number) == bytes([number]) * 100
    log.compact(lambda info: info.sequence % 2 == 0)
    assert [reader.read(number)[0] for number in range(2, 30, 2)] == list(range(2, 30, 2))
    with pytest.raises(StorageError, match="compacted away"):
        reader.read(3)
    assert numbers(reader) == list(range(2, 30, 2))
    assert reader.damage == ()


def test_readers_survive_a_writer_that_never_rests(log: SegmentLog, tmp_path: Path) -> None:
    done = threading.Event()
    troubles: list[BaseException] = []
    dead: set[int] = set()

    def read(log: SegmentLog) -> None:
        count = 0
        try:
            while not done.is_set() or count == 0:
                count += 1
                log.refresh()
                for info in log.records():
                    try:
                        assert log.read(info.sequence) == info.sequence.to_bytes(4, "big") * (info.sequence % 40)
                    except StorageError:
                        assert info.sequence in dead
                assert log.damage == ()
        except (AssertionError, StorageError) as error:
            troubles.append(error)

    readers = [log, SegmentLog.open(tmp_path / "log", write=False)]
    threads = [threading.Thread(target=read, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    for number in range(1, 200):
        log.append([(1, number.to_bytes(4, "big") * (number % 40))])
        if number % 20 == 0:
            dead.update(range(max(1, number - 90), number, 3))
            log.compact(lambda info: info.sequence not in dead)
    done.set()
    for thread in threads:
        thread.join()
    assert troubles == []


def test_a_read_does_not_wait_for_a_sync(tmp_path: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()

    class SlowSync(OsFiles):
        slow = False

        def fdatasync(self, descriptor: int) -> None:
            if self.slow:
                reached.set()
                assert go_on.wait(30)
            super().fdatasync(descriptor)

    files = SlowSync()
    with SegmentLog.create(tmp_path / "log", {}, files=files) as log:
        log.append([(1, b"here")])
        files.slow = True
        thread = threading.Thread(target=log.sync)
        thread.start()
        assert reached.wait(30)
        assert log.read(1) == b"here"
        assert numbers(log) == [1]
        assert log.scrub().finished
        assert log.durable == 0
        files.slow = False
        go_on.set()
        thread.join()
        assert log.durable == 1


def test_a_compaction_holds_up_neither_appends_nor_reads(log: SegmentLog) -> None:
    for number in range(20):
        log.append([(1, bytes([number]) * 100)])
    appended: list[int] = []

    def is_live(info: object) -> bool:
        if not appended:
            appended.extend(log.append([(2, b"meanwhile")]))
        return log.read(1)[0] == 0

    log.compact(is_live)
    assert appended == [21]
    assert numbers(log) == list(range(1, 22))


def test_compaction_removes_dead_bytes_and_goes_on_where_it_stopped(log: SegmentLog, tmp_path: Path) -> None:
    for number in range(1, 41):
        log.append([(1, b"secret%03d" % number * 20)])
    before = log.disk_bytes
    calls = 0
    while True:
        calls += 1
        done = log.compact(lambda info: info.sequence % 2 == 1, budget_bytes=300)
        if done.finished:
            break
        assert done.after_bytes < done.before_bytes
    assert calls > 3
    assert log.disk_bytes == done.after_bytes < before * 0.65
    held = b"".join(path.read_bytes() for path in (tmp_path / "log").iterdir())
    assert [number for number in range(1, 41) if b"secret%03d" % number in held] == list(range(1, 41, 2))
    assert log.compact(lambda info: info.sequence % 2 == 1).copied_bytes == 0


def test_small_segments_are_joined_but_not_over_and_over(tmp_path: Path) -> None:
    copied = files = 0
    with SegmentLog.create(tmp_path / "log", {}, segment_bytes=1 << 20) as log:
        for _ in range(200):
            log.append([(1, b"x" * 1000)])
            copied += log.compact(lambda info: True).copied_bytes
        files = len(list((tmp_path / "log").glob("*.seg")))
    assert files < 20
    assert copied < 200 * 1072 * 10


def test_scrub_goes_on_where_it_stopped(log: SegmentLog, tmp_path: Path) -> None:
    for number in range(10):
        log.append([(1, bytes([number]) * 300)])
    log.sync()
    path = sorted((tmp_path / "log").glob("*.seg"))[1]
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    reports = [log.scrub(700) for _ in range(5)]
    assert [report.records for report in reports] == [2] * 5
    assert [report.finished for report in reports] == [False] * 4 + [True]
    assert [d.sequence for report in reports for d in report.damage] == [3]
    assert log.scrub().damage == log.damage


def test_an_export_comes_back_as_the_same_log(log: SegmentLog, tmp_path: Path) -> None:
    for number in range(1, 30):
        log.append([(number, bytes([number]) * number * 10)])
    log.compact(lambda info: info.sequence > 4)
    done = log.export(tmp_path / "portable", lambda info: info.sequence % 5 != 0)
    wanted = {i.sequence: (i.kind, log.read(i.sequence)) for i in log.records() if i.sequence % 5}
    assert (done.records, done.bytes, done.damaged) == (20, (tmp_path / "portable").stat().st_size, 0)
    assert (tmp_path / "portable").stat().st_mode & 0o777 == 0o600
    for segment_bytes in (512, 1 << 20):
        folder = tmp_path / f"copy{segment_bytes}"
        with SegmentLog.import_(tmp_path / "portable", folder, segment_bytes=segment_bytes) as copy:
            assert (copy.about, copy.log_id, copy.last, copy.damage) == (log.about, log.log_id, 29, ())
            assert {i.sequence: (i.kind, copy.read(i.sequence)) for i in copy.records()} == wanted
            assert copy.append([(1, b"on")]) == (30,)
        with SegmentLog.open(folder, write=True) as copy:
            assert len(numbers(copy)) == 21
            assert copy.damage == ()
    with pytest.raises(StorageError, match="there is a log"):
        SegmentLog.import_(tmp_path / "portable", tmp_path / "copy512")


def test_an_empty_log_can_be_exported(log: SegmentLog, tmp_path: Path) -> None:
    log.export(tmp_path / "portable")
    with SegmentLog.import_(tmp_path / "portable", tmp_path / "copy") as copy:
        assert (copy.last, copy.damage, copy.append([(1, b"")])) == (0, (), (1,))


def test_a_damaged_export_is_refused_and_leaves_nothing(log: SegmentLog, tmp_path: Path) -> None:
    log.append([(1, b"a" * 20)])
    log.append([(2, b"b" * 9), (3, b"")])
    log.export(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    broken = [whole[:size] for size in range(len(whole))] + [whole + b"x"]
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        broken.append(bytes(flipped))
    for content in broken:
        (tmp_path / "broken").write_bytes(content)
        with pytest.raises(StorageError, match="damaged"):
            SegmentLog.import_(tmp_path / "broken", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_damaged_records_are_left_out_of_an_export_and_counted(log: SegmentLog, tmp_path: Path) -> None:
    log.append([(1, b"a" * 100)])
    log.append([(1, b"b" * 100)])
    log.sync()
    path = tmp_path / "log" / "0000000000000001-0.seg"
    path.write_bytes(path.read_bytes().replace(b"bbbb", b"bbab", 1))
    done = log.export(tmp_path / "portable")
    assert (done.records, done.damaged) == (1, 1)
    with SegmentLog.import_(tmp_path / "portable", tmp_path / "copy") as copy:
        assert numbers(copy) == [1]
        assert [d.what for d in copy.damage] == ["1 records were lost to damage before this segment was compacted"]


def test_folders_that_cannot_be_logs_are_refused(tmp_path: Path, log: SegmentLog) -> None:
    log.close()
    with pytest.raises(StorageError, match="there is a log"):
        SegmentLog.create(tmp_path / "log", {})
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="in, a file"):
            SegmentLog.create(folder, {})
        with pytest.raises(StorageError, match="no log"):
            SegmentLog.open(folder, write=True)
    (tmp_path / "empty").mkdir()
    for write in (True, False):
        with pytest.raises(StorageError, match="there is no log in"):
            SegmentLog.open(tmp_path / "empty", write=write)
        with pytest.raises(StorageError, match="there is no log in"):
            SegmentLog.open(tmp_path / "nowhere", write=write)
    assert list((tmp_path / "empty").iterdir()) == []
    with pytest.raises(StorageError, match="JSON"):
        SegmentLog.create(tmp_path / "new", {"what": object()})
    with pytest.raises(StorageError, match="segment_bytes is 3"):
        SegmentLog.create(tmp_path / "new", {}, segment_bytes=3)
    assert not (tmp_path / "new").exists()


def test_records_without_a_description_are_not_overwritten(tmp_path: Path, log: SegmentLog) -> None:
    log.append([(1, b"precious")])
    log.close()
    for name in ("about", "about.copy"):
        (tmp_path / "log" / name).unlink()
    with pytest.raises(StorageError, match="without a description"):
        SegmentLog.create(tmp_path / "log", {})


def test_foreign_files_stay_where_they_are(tmp_path: Path, log: SegmentLog) -> None:
    log.close()
    for name in ("notes.txt", "draft.tmp", "1-0.seg"):
        (tmp_path / "log" / name).write_text("mine")
    with SegmentLog.open(tmp_path / "log", write=True) as log:
        log.append([(1, b"x" * 2000)])
        log.compact(lambda info: False)
        assert log.damage == ()
    assert (tmp_path / "log" / "draft.tmp").read_text() == "mine"


def test_another_logs_segment_and_a_renamed_one_are_refused(tmp_path: Path, log: SegmentLog) -> None:
    log.append([(1, b"x")])
    log.close()
    segment = tmp_path / "log" / "0000000000000001-0.seg"
    whole = segment.read_bytes()
    other = SegmentHeader(log.log_id ^ 1, 2)
    (tmp_path / "log" / other.name).write_bytes(other.pack())
    with pytest.raises(StorageError, match="belongs to log"):
        SegmentLog.open(tmp_path / "log", write=True)
    (tmp_path / "log" / other.name).write_bytes(whole)
    with pytest.raises(StorageError, match=r"was renamed: call it 0000000000000001-0.seg"):
        SegmentLog.open(tmp_path / "log", write=True)


def test_unknown_versions_are_refused_by_number(
    tmp_path: Path, log: SegmentLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.close()
    with monkeypatch.context() as future:
        future.setattr("onlooker.memory.log.about.FORMAT_VERSION", 9)
        about = About(log.log_id, {}).pack()
        future.setattr("onlooker.memory.log.segments.FORMAT_VERSION", 8)
        header = SegmentHeader(log.log_id, 1).pack()
    segment = tmp_path / "log" / "0000000000000001-0.seg"
    whole = segment.read_bytes()
    segment.write_bytes(header + whole[len(header) :])
    with pytest.raises(StorageError, match=r"format version 8 .* knows version 1"):
        SegmentLog.open(tmp_path / "log", write=False)
    segment.write_bytes(whole)
    (tmp_path / "log" / "about").write_bytes(about)
    with pytest.raises(StorageError, match=r"format version 9; this Onlooker knows version 1"):
        SegmentLog.open(tmp_path / "log", write=True)


def test_a_missing_segment_is_damage(tmp_path: Path, log: SegmentLog) -> None:
    for number in range(20):
        log.append([(1, bytes([number]) * 200)])
    log.close()
    names = sorted(path.name for path in (tmp_path / "log").glob("*.seg"))
    for name in names[:-1]:
        path = tmp_path / "log" / name
        whole = path.read_bytes()
        path.unlink()
        with SegmentLog.open(tmp_path / "log", write=False) as reader:
            (damage,) = reader.damage
            assert "are missing" in damage.what
            assert 0 < 20 - len(numbers(reader)) < 5
        path.write_bytes(whole)
