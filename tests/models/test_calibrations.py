import json
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


FIELDS = {
    "model": "owner/model",
    "weights": "0a1b",
    "fingerprint": "ffff",
    "retrieval_heads": [[3, 1]],
    "relevance": 0.31,
    "span_recall": [0.8, 0.9, 0.95],
    "streams": "4 streams",
}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        "[" * 100_000,
        *(
            json.dumps({**FIELDS, **change})
            for change in (
                {"span_recall": [1, 2]},
                {"span_recall": [0, 1, "x"]},
                {"retrieval_heads": []},
                {"retrieval_heads": [[0.9, 1.7]]},
                {"retrieval_heads": [["1", "2"]]},
                {"retrieval_heads": [[True, False]]},
                {"retrieval_heads": [[0, -1]]},
                {"retrieval_heads": [[0, 1], [0, 1]]},
                {"relevance": float("nan")},
                {"relevance": 7},
                {"relevance": "0.3"},
            )
        ),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    kept = Calibrations(tmp_path)
    kept.path_of("0a1b").write_text(content)
    with pytest.raises(ModelError, match=r"0a1b\.json.*remove it and calibrate again"):
        kept.find("0a1b")


def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    kept = Calibrations(tmp_path)
    kept.path_of("0a1b").write_text(json.dumps({**FIELDS, "weights": "cccc"}))
    with pytest.raises(ModelError, match=r"of other weights \(cccc\)"):
        kept.find("0a1b")


def test_a_folder_that_cannot_be_entered_holds_nothing(tmp_path: Path) -> None:
    assert Calibrations(tmp_path / ("x" * 400)).find("0a1b") is None


def test_a_user_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert default_folder({}) is None
    assert default_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/onlooker/calibrations")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OnlookerError, match="cannot write"):
        Calibrations(tmp_path / "file" / "calibrations").save(STORED)


def test_the_folder_is_the_users(tmp_path: Path) -> None:
    assert default_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/onlooker/calibrations")
    assert default_folder({}) == Path.home() / ".local" / "share" / "onlooker" / "calibrations"
