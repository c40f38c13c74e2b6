"""The examples run: with a tiny model and a short clip for their mechanics, with `pocket` for their answers."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

import onlooker
from onlooker.bench.video import VideoSettings, write_video
from onlooker.theatre.show import Show

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_video(path, Show(3, 24.0, 64).frames(4.0), VideoSettings(preset="ultrafast"))
    return path


def test_ask_file(tiny_folder: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("ask_file").main(str(tiny_folder), clip)
    lines = capsys.readouterr().out.splitlines()
    times = [float(line.split(" s:")[0]) for line in lines if re.match(r" *\d+\.\d s: ", line)]
    assert times
    assert times == sorted(times)
    assert times[-1] == 23.5


def test_robot_loop(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("robot_loop").main(str(tiny_folder), seconds=24.0)
    assert re.search(r"^\d+ moments remembered in \d+\.\d MB$", capsys.readouterr().out, re.M)


@pytest.mark.slow
def test_the_bundled_model_answers_about_the_bundled_clip() -> None:
    """The first two minutes: most questions of each kind that is asked of one event are answered right."""
    asked = json.loads((EXAMPLES / "theatre.json").read_text(encoding="utf-8"))
    early = [item for item in asked if item["kind"] != "present" and (item["end_s"] or 999) < 120]
    right = 0
    with onlooker.load("pocket").session() as session:
        for frame in onlooker.open_source(str(EXAMPLES / "theatre.mp4"), fps=2, end_us=120_000_000):
            session.see(frame)
        for item in early:
            text = session.ask(item["question"]).text
            right += text == item["answer"] or (item["kind"] == "when" and told_in_time(text, item))
    assert right >= 0.75 * len(early) > 6


def told_in_time(text: str, item: dict[str, float]) -> bool:
    match = re.fullmatch(r"at (\d+):(\d\d)", text)
    return match is not None and item["start_s"] - 2 <= int(match[1]) * 60 + int(match[2]) <= item["end_s"]
