"""Memories in folders at the command line: kept, gone on with, asked alone, shown, forgotten, verified, copied."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onlooker.bench.video import VideoSettings, write_video
from onlooker.cli import main
from onlooker.theatre.show import Show

QUESTION = "where is the red ball?"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of 30 s of theatre at 2 frames/s, walk.mp4 and run.mp4."""
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in ((3, "walk.mp4"), (4, "run.mp4")):
        settings = VideoSettings(preset="ultrafast", keyframe_frames=8)
        write_video(folder / name, Show(seed, 30.0, 64).frames(2.0), settings)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `onlooker WORDS`; give exit code, stdout and stderr."""

    def run_it(*words: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main.run([str(word) for word in words])
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    return run_it


@pytest.fixture
def ask(run: Run, tiny_folder: Path) -> Run:
    """Run `onlooker ask WORDS` with the tiny model."""
    return lambda *words: run("ask", *words, "--max-tokens", "4", "--model", tiny_folder, "--device", "cpu")


@pytest.fixture(scope="module")
def watched(clips: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A memory of all of walk.mp4, that no test changes."""
    folder = tmp_path_factory.mktemp("watched") / "walk.memory"
    words = ["ask", str(clips / "walk.mp4"), "--memory", str(folder), "-q"]
    with pytest.raises(SystemExit) as caught:
        main.run([*words, "--model", str(tiny_folder), "--device", "cpu"])
    assert caught.value.code == 0
    return folder


@pytest.fixture
def memory(watched: Path, tmp_path: Path) -> Path:
    """A copy of it, that may be changed."""
    return Path(shutil.copytree(watched, tmp_path / "copy.memory"))


def frames(err: str) -> int:
    found = re.search(r"([\d,]+) frames in", err)
    return int(found[1].replace(",", "")) if found else 0


def answer(out: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(out)
    del told["timings"]
    return told


def test_a_video_is_not_watched_twice(ask: Run, clips: Path, tmp_path: Path) -> None:
    words = [clips / "walk.mp4", QUESTION, "--memory", tmp_path / "m", "--json"]
    code, out, err = ask(*words)
    assert code == 0 and frames(err) == 60
    again = ask(*words)
    assert again[0] == 0 and "up to 0:29: going on" in again[2] and frames(again[2]) == 0
    assert answer(again[1]) == answer(out)
    alone = ask(QUESTION, "--memory", tmp_path / "m", "--json")
    assert alone[0] == 0 and answer(alone[1]) == answer(out) and frames(alone[2]) == 0
    plain = ask(clips / "walk.mp4", QUESTION, "--json")
    assert answer(plain[1]) == answer(out)


def test_watching_in_two_parts_is_watching_at_once(ask: Run, clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    first = ask(clips / "walk.mp4", "--memory", folder, "--to", "12")
    assert first[0] == 0 and first[1] == "" and frames(first[2]) == 24
    second = ask(clips / "walk.mp4", QUESTION, "--memory", folder, "--json")
    assert frames(second[2]) == 36 and "up to 0:11: going on" in second[2]
    assert answer(second[1]) == answer(ask(clips / "walk.mp4", QUESTION, "--json")[1])


def test_a_memory_takes_no_other_video(ask: Run, clips: Path, memory: Path) -> None:
    code, out, err = ask(clips / "run.mp4", QUESTION, "--memory", memory)
    assert (code, out) == (2, "")
    assert "this memory is of" in err and "walk.mp4" in err and "run.mp4 is another video" in err


def test_the_same_video_may_have_moved(ask: Run, clips: Path, memory: Path, tmp_path: Path) -> None:
    (tmp_path / "moved.mp4").write_bytes((clips / "walk.mp4").read_bytes())
    assert ask(tmp_path / "moved.mp4", QUESTION, "--memory", memory)[0] == 0


def test_a_moment_before_what_was_watched_is_refused(ask: Run, clips: Path, memory: Path) -> None:
    code, out, err = ask(clips / "walk.mp4", QUESTION, "--memory", memory, "--at", "10")
    assert (code, out) == (2, "")
    assert "--at 0:10 was watched before" in err and "up to 0:29" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--memory", "MEMORY"), "no question is given"),
        ((QUESTION, "--memory", "MEMORY", "--at", "5"), "no video is given"),
        ((QUESTION, "--memory", "MEMORY", "--from", "5"), "no video is given"),
        ((QUESTION, "--memory", "MEMORY", "--to", "5"), "no video is given"),
        ((), "no video is given"),
    ],
)
def test_asking_a_memory_alone_needs_a_question_and_no_times(
    ask: Run, watched: Path, words: tuple[str, ...], told: str
) -> None:
    code, out, err = ask(*(watched if word == "MEMORY" else word for word in words))
    assert (code, out) == (2, "") and told in err


def test_asking_where_there_is_no_memory_fails_and_makes_none(ask: Run, tmp_path: Path) -> None:
    code, out, err = ask(QUESTION, "--memory", tmp_path / "none")
    assert (code, out) == (5, "") and str(tmp_path / "none") in err
    assert not (tmp_path / "none").exists()


def test_another_models_memory_is_refused_with_both_named(
    run: Run, watched: Path, make_tiny_model: Callable[..., Path], tmp_path: Path, tiny_folder: Path
) -> None:
    other = make_tiny_model(tmp_path / "other", seed=1)
    code, _, err = run("ask", QUESTION, "--memory", watched, "--model", other, "--device", "cpu")
    assert code == 5 and str(other) in err and str(tiny_folder) in err


def test_without_a_model_the_memorys_own_is_taken(run: Run, watched: Path, tiny_folder: Path) -> None:
    code, out, err = run("ask", QUESTION, "--memory", watched, "--device", "cpu", "--json", "--max-tokens", "4")
    assert code == 0 and answer(out)["question"] == QUESTION
    assert "pocket" not in err


def test_show_tells_what_there_is(run: Run, watched: Path, tiny_folder: Path) -> None:
    code, out, _ = run("memory", "show", watched)
    assert code == 0
    told = dict(line.split(None, 1) for line in out.splitlines())
    assert told["model"].startswith(f"{tiny_folder} (fingerprint ")
    assert told["source"].endswith("walk.mp4")
    assert re.match(r"0:00 to 0:\d\d, \d+ keyframes, \d+ tokens", told["remembers"])
    facts = json.loads(run("memory", "show", watched, "--json")[1])
    assert facts["model"] == str(tiny_folder) and facts["damaged"] == facts["forgotten_s"] == []
    assert 0 < facts["keyframes"] <= 60 and facts["groups"]["fresh"] == sum(facts["codecs"].values())
    assert facts["disk_bytes"] == sum(path.stat().st_size for path in watched.iterdir())
    assert facts["start_s"] == 0.0 and 10 < facts["end_s"] <= 29.5


def test_what_is_forgotten_is_shown_and_gone(run: Run, ask: Run, memory: Path, clips: Path) -> None:
    before = json.loads(run("memory", "show", memory, "--json")[1])
    code, out, _ = run("memory", "forget", memory, "--from", "5", "--to", "0:10")
    assert code == 0 and re.match(r"forgot \d+ keyframes and freed ", out)
    after = json.loads(run("memory", "show", memory, "--json")[1])
    [[start, end]] = after["forgotten_s"]
    assert start <= 5.0 and end >= 10.0
    assert after["keyframes"] == before["keyframes"] - int(out.split()[1])
    assert "forgotten  0:0" in run("memory", "show", memory)[1]
    assert run("memory", "forget", memory, "--from", "6", "--to", "7")[1] == "nothing was remembered of that\n"
    going_on = ask(clips / "walk.mp4", QUESTION, "--memory", memory, "--json")
    assert going_on[0] == 0 and 0 < frames(going_on[2]) < 30
    assert run("memory", "forget", memory, "--all")[0] == 0
    assert json.loads(run("memory", "show", memory, "--json")[1])["keyframes"] == 0
    assert "remembers  nothing yet" in run("memory", "show", memory)[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "say what to forget"),
        (("--all", "--from", "5"), "--all forgets everything"),
        (("--from", "9", "--to", "5"), "--to is not after --from"),
        (("--from", "soon"), "not a time"),
    ],
)
def test_forgetting_needs_a_stretch(run: Run, watched: Path, words: tuple[str, ...], told: str) -> None:
    code, out, err = run("memory", "forget", watched, *words)
    assert (code, out) == (2, "") and told in " ".join(err.split())


def test_verify_finds_a_flipped_bit(run: Run, ask: Run, memory: Path) -> None:
    code, out, _ = run("memory", "verify", memory)
    assert code == 0 and re.fullmatch(r"(\d+) of \1 groups are whole\n", out)
    [path] = memory.glob("*.seg")
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 1
    path.write_bytes(data)
    code, out, err = run("memory", "verify", memory)
    assert code == 5 and f"{path.name} at byte" in out and "is damaged in" in err
    assert "damaged    " in run("memory", "show", memory)[1]
    assert ask(QUESTION, "--memory", memory)[0] == 0  # what is whole can be asked about


def test_compacting_makes_it_no_larger_and_changes_no_answer(run: Run, ask: Run, memory: Path) -> None:
    before = answer(ask(QUESTION, "--memory", memory, "--json")[1])
    code, out, _ = run("memory", "compact", memory)
    assert code == 0 and re.match(r".+ before, .+ after\n", out)
    assert answer(ask(QUESTION, "--memory", memory, "--json")[1]) == before


def test_an_export_is_imported_as_the_same_memory(run: Run, ask: Run, watched: Path, tmp_path: Path) -> None:
    file, folder = tmp_path / "talk.onlooker", tmp_path / "again.memory"
    code, out, _ = run("memory", "export", watched, file)
    assert code == 0 and out.startswith(f"{file}: ") and "damaged" not in out
    code, out, err = run("memory", "export", watched, file)
    assert (code, out) == (2, "") and "is there already" in err
    assert run("memory", "export", watched, file, "--force")[0] == 0
    code, out, _ = run("memory", "import", file, folder)
    assert code == 0 and "a memory of" in out
    answers = [answer(ask(QUESTION, "--memory", one, "--json")[1]) for one in (watched, folder)]
    assert answers[0] == answers[1]
    assert run("memory", "import", file, folder)[0] == 5  # there is one already


@pytest.mark.parametrize("command", ["show", "verify", "compact"])
def test_where_there_is_no_memory_the_exit_code_is_5(run: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("no folder")
    for folder in (tmp_path, tmp_path / "none", tmp_path / "file"):
        code, out, err = run("memory", command, folder)
        assert (code, out) == (5, "") and "there is no memory in" in err
        assert "Traceback" not in err
    assert run("memory", "forget", tmp_path, "--all")[0] == 5
    assert run("memory", "export", tmp_path, tmp_path / "x")[0] == 5
    assert run("memory", "import", tmp_path / "file", tmp_path / "y")[0] == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
