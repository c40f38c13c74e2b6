from dataclasses import replace
from pathlib import Path

import pytest

from onlooker.errors import ModelError, OnlookerError
from onlooker.models.backbone import HeadId
from onlooker.models.calibrations import Calibrations, StoredCalibration, default_folder

STORED = StoredCalibration(
    "owner/model", "0a1b", "ffff", (HeadId(3, 1), HeadId(0, 2)), 0.31, (0.8, 0.9, 0.95), "4 streams"
)


def test_what_is_saved_is_found(tmp_path: Path) -> None:
    kept = Calibrations(tmp_path / "data" / "calibrations")
    assert kept.find("0a1b") is None and kept.all() == ()
    assert kept.save(STORED) == kept.path_of("0a1b")
    other = replace(STORED, model="a/model", weights="77", relevance=None)
    kept.save(other)
    assert kept.find("0a1b") == STORED
    assert kept.all() == (other, STORED)
    newer = replace(STORED, heads=(HeadId(1, 1),))
    kept.save(newer)
    assert kept.find("0a1b") == newer
    assert len(list(kept.folder.iterdir())) == 2  # nothing half written is left


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"span_recall": [1, 2]}', '{"span_recall": [0, 1, "x"]}'])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    kept = Calibrations(tmp_path)
    kept.path_of("0a1b").write_text(content)
    with pytest.raises(ModelError, match=r"0a1b\.json.*remove it and calibrate again"):
        kept.find("0a1b")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OnlookerError, match="cannot write"):
        Calibrations(tmp_path / "file" / "calibrations").save(STORED)


def test_the_folder_is_the_users(tmp_path: Path) -> None:
    assert default_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/onlooker/calibrations")
    assert default_folder({}) == Path.home() / ".local" / "share" / "onlooker" / "calibrations"
