"""`onlooker ask --reading`: the options reach the session, and their help names what there is."""

import re
from pathlib import Path

import pytest

import onlooker
from onlooker.cli import main
from onlooker.cli.ask import READINGS as NAMED
from onlooker.frame import Frame
from onlooker.pruning.readings import READINGS
from onlooker.theatre.show import Show


def test_the_help_names_every_reading() -> None:
    assert set(re.findall(r"[a-z]+(?:-[a-z]+)?", re.sub(r"\(.*?\)", "", NAMED))) - {"or"} == set(READINGS)


@pytest.fixture(scope="module")
def memory(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory") / "kept"
    settings = onlooker.Settings(keyframes="all", recipe="none")
    with onlooker.load(str(tiny_folder), device="cpu").session(settings=settings, memory=folder) as session:
        for frame in Show(3, 20.0, 56).frames(2.0):
            session.see(Frame(frame.image, frame.time_us))
    return folder


def recalled(words: list[str], tiny_folder: Path, memory: Path, capsys: pytest.CaptureFixture[str]) -> int:
    line = ["ask", "--memory", str(memory), "where was the red ball?", "--model", str(tiny_folder), "--device", "cpu"]
    with pytest.raises(SystemExit) as caught:
        main.run([*line, "--json", "--max-tokens", "2", "--gate", "always", *words])
    out, err = capsys.readouterr()
    if caught.value.code:
        raise ValueError(err)
    found = re.search(r'"recalled_tokens": (\d+)', out)
    assert found is not None
    return int(found[1])


def test_less_is_read_as_the_options_say(tiny_folder: Path, memory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = recalled([], tiny_folder, memory, capsys)
    half = recalled(["--reading", "cdpruner"], tiny_folder, memory, capsys)
    tenth = recalled(["--reading", "cdpruner", "--reading-rate", "0.1"], tiny_folder, memory, capsys)
    assert tenth < half < whole
    assert recalled(["--reading", "feather"], tiny_folder, memory, capsys) < whole
    assert recalled([], tiny_folder, memory, capsys) == whole  # nothing was left behind in the folder


def test_an_unknown_reading_is_refused(tiny_folder: Path, memory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="there is no reading 'best'; choose one of none"):
        recalled(["--reading", "best"], tiny_folder, memory, capsys)
