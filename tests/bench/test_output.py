"""Files that a run writes at its end are refused before it begins."""

import os
from pathlib import Path

import pytest

from onlooker.bench.output import check_output, write_output
from onlooker.cli import main
from onlooker.errors import OnlookerError, SettingsError


def test_what_can_be_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    for name in ("old.json", "new.json"):
        check_output(tmp_path / name)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.json", "old")]


def test_what_cannot_be_written_is_refused_with_a_remedy(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path, "is a folder; give the name of a file"),
        (tmp_path / "no" / "x.json", "there is no folder .*no; make it"),
        (tmp_path / ("x" * 400), "too long; give another path"),
    ):
        with pytest.raises(SettingsError, match=f"cannot write .*{why}"):
            check_output(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_what_may_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(SettingsError, match="this user may not"):
        check_output(tmp_path / "locked" / "x.json")


def test_a_disk_that_refuses_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(OnlookerError, match=r"cannot write .*gone.*check the folder"):
        write_output(tmp_path / "gone" / "x.json", "[]")


@pytest.mark.parametrize(
    ("command", "option", "code"),
    [
        ("bench recall", "--json", 2),
        ("bench recall", "--plot", 2),
        ("bench speed", "--json", 2),
        ("memory calibrate", "--json", 2),
        ("memory calibrate", "--report", 2),
        ("memory calibrate", "--write", 4),
    ],
)
def test_commands_refuse_before_the_model_is_loaded(
    command: str, option: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "no" / "x.json"
    with pytest.raises(SystemExit) as caught:
        main.run([*command.split(), "--model", "no-such-model", option, str(place)])
    assert caught.value.code == code
    assert str(place) in capsys.readouterr().err
