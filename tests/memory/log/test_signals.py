"""A signal in the middle of an append gives no number out twice."""

from pathlib import Path
from typing import Any

import pytest

from onlooker.memory.log.log import SegmentLog
from onlooker.memory.log.table import RecordTable


@pytest.mark.parametrize("call", [1, 2, 3])
def test_an_append_that_is_cut_off_by_a_signal_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    real, calls = RecordTable.append, 0

    def interrupted(self: RecordTable, *words: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        real(self, *words)

    with SegmentLog.create(tmp_path / "log", {}) as log:
        assert log.append([(1, b"before")]) == (1,)
        with monkeypatch.context() as patch:
            patch.setattr(RecordTable, "append", interrupted)
            with pytest.raises(KeyboardInterrupt):
                log.append([(1, b"a"), (2, b"b"), (3, b"c")])
        assert log.append([(1, b"after")]) == (5,)
        log.sync()
        expected = [b"before", b"a", b"b", b"c", b"after"]
        assert [log.read(info.sequence) for info in log.records()] == expected
    with SegmentLog.open(tmp_path / "log", write=True) as log:
        assert [log.read(info.sequence) for info in log.records()] == expected and log.damage == ()
