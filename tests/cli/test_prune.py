"""`onlooker prune`: what is kept of a video, counted and drawn."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from onlooker.bench.video import VideoSettings, write_video
from onlooker.cli import main, showing
from onlooker.cli.interruption import Interruption
from onlooker.cli.model_options import ModelChoice
from onlooker.cli.showing import PruneRequest
from onlooker.errors import SourceError
from onlooker.frame import Frame
from onlooker.models.loading import load_backbone
from onlooker.pruning import RECIPES
from onlooker.settings import Settings
from onlooker.stream.ingest import Ingest
from onlooker.stream.source import open_source
from onlooker.theatre.show import Show

SHOW = Show(7, 64.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 32 s of a show."""
    path = tmp_path_factory.mktemp("prune") / "clip.mp4"
    write_video(path, SHOW.frames(4.0, 0, 32_000_000), VideoSettings(preset="ultrafast", keyframe_frames=8))
    return path


@pytest.fixture
def prune(clip: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `onlooker prune` with pocket; give exit code, stdout and stderr."""

    def run(*words: str, video: str | None = None) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main.run(["prune", *([str(clip)] if video is None else [video] if video else []), *words])
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    return run


def counted(out: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    *keyframes, summary = map(json.loads, out.splitlines())
    assert all(line["event"] == "keyframe" for line in keyframes) and summary["event"] == "summary"
    return keyframes, summary


def picture(path: Path) -> np.ndarray[Any, Any]:
    read = cv2.imread(str(path))
    assert read is not None
    return np.asarray(read)


def test_people_get_a_sheet_and_a_table(prune: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    code, told, err = prune("--recipe", "novelty, random", "--out", str(out), "--device", "cpu")
    assert code == 0
    head, _, novelty, random, _, last = told.splitlines()
    assert head.split()[:4] == ["recipe", "kept", "tokens", "of"]
    assert novelty.startswith("novelty") and random.startswith("random")
    size = re.search(r": (\d+) of (\d+) keyframes \(64 frames seen\), (\d+) x (\d+) pixels", last)
    assert size is not None and picture(out).shape[:2] == (int(size[4]), int(size[3]))
    assert int(size[1]) == min(24, int(size[2]))
    assert "pocket knows only" in err and "Traceback" not in err


def test_what_is_counted_is_what_a_session_would_keep(prune: Callable[..., Any], clip: Path) -> None:
    keyframes, _ = counted(prune("--json", "--rate", "0.3", "-q", "--recipe", "novelty")[1])
    backbone = load_backbone("pocket")
    ingest = Ingest(backbone, Settings(recipe="novelty", prune_rate=0.3), ())
    with open_source(str(clip), 2.0) as source:
        for frame in source:
            ingest.see(frame)
    report = ingest.report
    assert len(keyframes) == report.keyframes > 8
    stored = report.cells // 16
    assert 0 < stored <= len(keyframes)
    assert sum(line["kept"]["novelty"] for line in keyframes[:stored]) == report.tokens
    assert {line["gate"] for line in keyframes} <= {"cut", "keep", "heartbeat"} and keyframes[0]["gate"] == "cut"


def test_programs_get_a_line_a_keyframe_and_a_sum(prune: Callable[..., Any]) -> None:
    code, out, err = prune("--json", "-q", "--recipe", "none,random,none", "--keyframes", "all")
    assert (code, err) == (0, "")
    keyframes, summary = counted(out)
    assert [line["number"] for line in keyframes] == list(range(64))
    assert [line["time_s"] for line in keyframes] == [number / 2 for number in range(64)]
    assert all(line["kept"] == {"none": 16, "random": 4} and line["cells"] == 16 for line in keyframes)
    assert summary["recipes"]["random"]["kept"] == 256 and summary["recipes"]["random"]["share"] == 0.25
    assert (summary["frames"], summary["keyframes"], summary["complete"], summary["sheet"]) == (64, 64, True, None)


def test_which_frames_are_shown_changes_nothing_that_is_kept(prune: Callable[..., Any], tmp_path: Path) -> None:
    tells, sizes = [], []
    for number, words in enumerate((["--frames", "2"], ["--every", "3"], ["--every", "1", "--columns", "2"])):
        out = tmp_path / f"{number}.png"
        keyframes, summary = counted(prune("--json", "-q", "--out", str(out), "--recipe", "novelty", *words)[1])
        assert summary["sheet"] == str(out)
        tells.append(keyframes)
        sizes.append(picture(out).shape[:2])
    assert tells[0] == tells[1] == tells[2]
    assert sizes[0][1] < sizes[1][1] and sizes[2][0] > 2 * sizes[1][0]


def test_the_stretch_is_watched_alone_and_from_its_start(prune: Callable[..., Any]) -> None:
    keyframes, summary = counted(prune("--json", "-q", "--from", "10", "--to", "0:14", "--keyframes", "all")[1])
    assert (summary["from_s"], summary["to_s"]) == (10.0, 13.5)
    assert keyframes[0]["kept"]["novelty"] == 16 and keyframes[0]["number"] == 0


def test_the_same_video_gives_the_same_sheet(prune: Callable[..., Any], tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for out in (first, second):
        assert prune("--recipe", "novelty,pool", "--out", str(out), "-q", "--to", "8")[0] == 0
    assert first.read_bytes() == second.read_bytes()


def test_a_file_that_is_there_is_replaced_only_with_leave(prune: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "sheet.jpg"
    out.write_bytes(b"mine")
    code, _, err = prune("--out", str(out), "--to", "4")
    assert code == 2 and "--force" in err and out.read_bytes() == b"mine"
    assert prune("--out", str(out), "--to", "4", "--force")[0] == 0
    assert out.read_bytes().startswith(b"\xff\xd8")


@pytest.mark.parametrize(
    ("words", "video", "code", "message"),
    [
        (["--recipe", "novelty,noveltie", "--json"], None, 2, r"no pruning recipe 'noveltie'.*none, novelty"),
        (["--recipe", " , ", "--json"], None, 2, "name one or more"),
        (["--json"], "", 2, "no video is given"),
        (["--json"], "no-such-film.mp4", 3, "there is no file no-such-film.mp4"),
        (["--json"], "theatre:7", 2, "live source"),
        ([], None, 2, "nothing to write"),
        (["--out", "no-such-folder/sheet.png"], None, 2, "no folder no-such-folder"),
        (["--out", "sheet.gif"], None, 2, "ends in .png"),
        (["--json", "--frames", "3", "--every", "2"], None, 2, "give one of them"),
        (["--json", "--frames", "300", "--recipe", "novelty,random"], None, 2, "--frames 200 or less"),
        (["--json", "--frames", "400", "--columns", "1"], None, 2, "longest side"),
        (["--json", "--from", "9", "--to", "3"], None, 2, "not after its start"),
        (["--json", "--from", "1:00:00"], None, 3, "no frame in the range"),
    ],
)
def test_what_cannot_work_is_refused_in_a_line(
    prune: Callable[..., Any], words: list[str], video: str | None, code: int, message: str
) -> None:
    found, out, err = prune(*words, "-q", video=video)
    assert (found, out) == (code, "")
    assert re.search(message, err) and len(err.splitlines()) == 1


def test_stopping_draws_what_was_seen_so_far(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, interruption = tmp_path / "sheet.png", Interruption()
    interruption.stop.set()  # as Ctrl-C does; the frame in work is the last one
    showing.run(PruneRequest(str(clip), ("novelty",), 0.25, ModelChoice(device="cpu"), out, quiet=True), interruption)
    assert picture(out).size
    streams = capsys.readouterr()
    assert "1 of 1 keyframes (1 frames seen)" in streams.out and "stopped at 0:00.0" in streams.err
    assert not interruption.watching


def test_a_video_that_breaks_off_is_drawn_up_to_there_and_reported(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def opened(*arguments: Any) -> Any:
        source = open_source(*arguments)
        whole = type(source).__iter__

        class Breaking(type(source)):  # type: ignore[misc]  # a class made at run time
            def __iter__(self) -> Iterator[Frame]:
                for frame in whole(self):
                    if frame.seq == 20:
                        raise SourceError("the disk is gone")
                    yield frame

        source.__class__ = Breaking
        return source

    monkeypatch.setattr(showing, "open_source", opened)
    out = tmp_path / "sheet.png"
    request = PruneRequest(str(clip), ("novelty",), 0.25, ModelChoice(device="cpu"), out, as_json=True, quiet=True)
    with pytest.raises(SourceError, match="the disk is gone"):
        showing.run(request, Interruption())
    assert picture(out).size
    _, summary = counted(capsys.readouterr().out)
    assert (summary["frames"], summary["complete"]) == (20, False)


@pytest.mark.parametrize(("height", "width"), [(16, 640), (320, 16), (16, 16)])
def test_frames_of_any_shape_can_be_drawn(prune: Callable[..., Any], tmp_path: Path, height: int, width: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, height, width, 3), dtype=np.uint8)
    video, out = tmp_path / "odd.mp4", tmp_path / "odd.png"
    write_video(video, (Frame(image, number * 500_000, number) for number, image in enumerate(noise)))
    code, told, _ = prune("--out", str(out), "--keyframes", "all", "-q", video=str(video))
    assert code == 0 and "6 of 6 keyframes" in told
    assert max(picture(out).shape) < 4000


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_every_family_and_every_recipe_can_be_drawn(
    prune: Callable[..., Any], make_tiny_model: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    folder, out = make_tiny_model(tmp_path / family, family=family), tmp_path / "sheet.png"
    words = ["--recipe", ",".join(RECIPES), "--rate", "0.5", "--to", "5", "--keyframes", "all", "--frames", "3"]
    code, told, err = prune(*words, "--out", str(out), "--model", str(folder), "--json", "-q")
    assert code == 0, err
    keyframes, summary = counted(told)
    assert set(summary["recipes"]) == set(RECIPES) and len(keyframes) == 10
    assert all(0 <= count <= line["cells"] for line in keyframes for count in line["kept"].values())


def test_recipes_are_listed_with_what_they_do_need_and_cost(prune: Callable[..., Any]) -> None:
    code, out, _ = prune("--list", video="")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert set(RECIPES) <= set(lines)
    assert re.search(r"^novelty +- +yes +- +7\.\d .*Keep what was not kept before near its place", lines["novelty"])
    listed = {entry["name"]: entry for entry in json.loads(prune("--list", "--json", video="")[1])}
    assert set(listed) == set(RECIPES)
    assert listed["pool"]["merges"] and not listed["uniform"]["merges"] and listed["none"]["multiply_adds"] == 0
    assert all(entry["what"] for entry in listed.values())


def test_help_teaches_by_example(prune: Callable[..., Any]) -> None:
    lines = prune("--help", video="")[1].splitlines()
    assert sum(line.startswith("    onlooker prune ") for line in lines) >= 2
    assert max(map(len, lines)) <= 80
