"""Files that earlier versions wrote are still read, and what is written today is the same to the byte."""

from pathlib import Path

import pytest

from onlooker.memory.log.log import SegmentLog

GOLDEN = Path(__file__).with_name("golden")
RECORDS = {1: (1, b"first"), 3: (65535, bytes(range(256))), 4: (7, b""), 6: (2, b"last")}


def write(folder: Path) -> None:
    """Write a log with each kind of file: compacted, sealed, last, closed and gone on with, exported."""
    with SegmentLog.create(folder, {"model": "golden"}, segment_bytes=512, log_id=0x0123456789ABCDEF) as log:
        log.append([(1, b"first"), (5, b"dropped")])
        log.append([RECORDS[3]])
        log.compact(lambda info: info.sequence != 2)
        log.append([RECORDS[4], (9, b"z" * 400)])
    with SegmentLog.open(folder, write=True, segment_bytes=512) as log:
        log.append([RECORDS[6]])
        log.export(folder / "export", lambda info: info.sequence != 5)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write(tmp_path / "log")
    return tmp_path / "log"


def test_the_first_version_is_still_read() -> None:
    with SegmentLog.open(GOLDEN / "version1", write=False) as log:
        assert log.about == {"model": "golden"}
        assert log.log_id == 0x0123456789ABCDEF
        assert {i.sequence: (i.kind, log.read(i.sequence)) for i in log.records() if i.sequence != 5} == RECORDS
        assert (log.read(5), log.last, log.durable, log.damage, log.torn_bytes) == (b"z" * 400, 6, 6, (), 0)


def test_the_first_versions_export_is_still_read(tmp_path: Path) -> None:
    with SegmentLog.import_(GOLDEN / "version1" / "export", tmp_path / "log") as log:
        assert {i.sequence: (i.kind, log.read(i.sequence)) for i in log.records()} == RECORDS


def test_the_same_bytes_are_written_today(written: Path) -> None:
    def everything(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}

    assert everything(written) == everything(GOLDEN / "version1")
    assert len(everything(written)) == 7
