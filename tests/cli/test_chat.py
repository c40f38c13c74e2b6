"""`onlooker chat`: what may be typed, what is said, how a terminal shows it, and that nothing is lost at the end."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import onlooker
from onlooker.bench.video import VideoSettings, write_video
from onlooker.cli import main
from onlooker.cli.chat_commands import COMMANDS, EVERYTHING, Command, Span, parse_command, parse_range, parse_since
from onlooker.cli.chat_reports import bar
from onlooker.cli.halting import Halting
from onlooker.cli.prompt_line import PromptLine, cells, folded, printable
from onlooker.cli.voices import JsonVoice, TerminalVoice
from onlooker.errors import SettingsError
from onlooker.memory.timeline import Stretch
from onlooker.stream.engine.events import WatchCleared, WatchFired
from onlooker.theatre.show import Show

SECOND = 1_000_000
PATIENCE_S = 120.0


# What may be typed


def test_a_stroke_makes_a_command_and_everything_else_is_a_question() -> None:
    assert parse_command("What is there now?") is None
    assert parse_command("/mark  the red car ") == Command("mark", "the red car")
    assert parse_command("/EXIT") == Command("quit", "")
    with pytest.raises(SettingsError, match=r"no /statsu: did you mean /status\?"):
        parse_command("/statsu")


@pytest.mark.parametrize(
    ("words", "span", "question"),
    [
        ("2m", Span(last_us=120 * SECOND), ""),
        ("90", Span(last_us=90 * SECOND), ""),
        ("1:30", Span(since_us=90 * SECOND), ""),
        ("2m what moved?", Span(last_us=120 * SECOND), "what moved?"),
        ("off", EVERYTHING, ""),
    ],
)
def test_since_takes_a_length_back_from_now_or_a_moment(words: str, span: Span, question: str) -> None:
    assert parse_since(words) == (span, question)


@pytest.mark.parametrize("words", ["", "soon", "0", "-5", "2m4x what?"])
def test_since_says_what_it_wants(words: str) -> None:
    with pytest.raises(SettingsError, match="/since 2m"):
        parse_since(words)


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.sampled_from(["{} {}", "{}-{}", "{} – {}", "{} to {}"]))
def test_range_reads_two_times_however_they_are_joined(start_s: int, length_s: int, form: str) -> None:
    def spelt(seconds: int) -> str:
        return f"{seconds // 60}:{seconds % 60:02d}"

    words = form.format(spelt(start_s), spelt(start_s + length_s))
    wanted = Span(start_s * SECOND, (start_s + length_s) * SECOND)
    assert parse_range(words) == (wanted, "")
    assert parse_range(f"{words} who came in?") == (wanted, "who came in?")


@pytest.mark.parametrize("words", ["", "1:00", "2:00 1:00", "1:00 1:00", "one two", "1:99 2:00"])
def test_range_refuses_what_is_no_stretch(words: str) -> None:
    with pytest.raises(SettingsError, match="/range 1:00 2:30"):
        parse_range(words)


def test_a_length_back_moves_with_the_stream() -> None:
    span = Span(last_us=5 * SECOND)
    assert span.bounds(60 * SECOND) == (55 * SECOND, None)
    assert span.bounds(61 * SECOND) == (56 * SECOND, None)


# How a terminal shows it


class Screen(io.StringIO):
    """A terminal of a few rows that knows the sequences that the prompt line writes, and refuses others."""

    def __init__(self, rows: int = 8, columns: int = 40) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        self.cells = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0
        self.kept, self.bells = (0, 0), 0

    def write(self, text: str) -> int:
        for part in re.findall(r"\033(?:\[[\d;]*[A-Za-z]|[78D])|[^\033]", text):
            self._take(part)
        return len(text)

    def _take(self, part: str) -> None:
        match part:
            case "\n" | "\033D":
                if self.row == self.rows - 1:
                    self.cells = [*self.cells[1:], [" "] * self.columns]
                else:
                    self.row += 1
                if part == "\n":
                    self.column = 0
            case "\r":
                self.column = 0
            case "\a":
                self.bells += 1
            case "\0337":
                self.kept = (self.row, self.column)
            case "\0338":
                self.row, self.column = self.kept
            case "\033[A":
                self.row -= 1
            case "\033[B":
                self.row = min(self.row + 1, self.rows - 1)
            case "\033[K":
                self.cells[self.row][self.column :] = [" "] * (self.columns - self.column)
            case "\033[L":
                self.cells = [*self.cells[: self.row], [" "] * self.columns, *self.cells[self.row : -1]]
            case _ if part.startswith("\033["):
                assert part.endswith("m"), part
            case _:
                assert self.column < self.columns, "written over the edge"
                self.cells[self.row][self.column] = part
                self.column += 1

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self.cells]


@pytest.fixture
def typed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Screen, PromptLine, str, int, Callable[[], None]], None]:
    """Give what stands for a person: types, leaves the cursor so far from the end, and lets something happen."""
    monkeypatch.setenv("TERM", "xterm")

    def type_at(screen: Screen, line: PromptLine, typed: str, left: int, happens: Callable[[], None]) -> None:
        def fake_input(prompt: str) -> str:
            screen.write(prompt + typed)
            screen.column -= left
            happens()
            return typed

        monkeypatch.setattr("builtins.input", fake_input)
        monkeypatch.setattr(line, "_typed", lambda: typed)
        assert line.read(" 0:01 > ") == typed

    return type_at


@pytest.mark.parametrize("above", [0, 3, 7])
def test_news_stand_above_the_line_and_move_nothing_in_it(above: int, typed_at: Any) -> None:
    screen = Screen()
    screen.write("older\n" * above)
    line = PromptLine(screen, width=lambda: screen.columns)
    places = []

    def happens() -> None:
        places.append((screen.row, screen.column))
        line.above("the first news\nthe second, which is too long for one row of it")
        places.append((screen.row, screen.column))

    typed_at(screen, line, "half a question", 4, happens)
    shown = [text for text in screen.lines if text and text != "older"]
    assert shown == [
        "the first news",
        "the second, which is too long for one",
        "row of it",
        " 0:01 > half a question",
    ]
    (_, column), (row, after) = places
    assert after == column
    assert screen.lines[row] == " 0:01 > half a question"


def test_the_clock_of_the_prompt_goes_on_under_the_line_that_is_typed(typed_at: Any) -> None:
    screen = Screen()
    line = PromptLine(screen, width=lambda: screen.columns)
    typed_at(screen, line, "half", 2, lambda: line.tick(" 0:02 > "))
    assert screen.lines[0] == " 0:02 > half"
    assert screen.column == len(" 0:02 > half") - 2


@pytest.mark.parametrize("prompt", ["10:00:00 > ", " 0:02 > "])
def test_the_clock_is_left_alone_where_it_does_not_fit(prompt: str, typed_at: Any) -> None:
    screen = Screen(columns=60)
    line = PromptLine(screen, width=lambda: 20 if len(prompt) == 8 else 60)
    typed_at(screen, line, "a line that scrolls", 0, lambda: line.tick(prompt))
    assert screen.lines[0] == " 0:01 > a line that scrolls"


def test_nothing_that_is_said_can_steer_the_terminal(typed_at: Any) -> None:
    screen = Screen()
    line = PromptLine(screen, width=lambda: screen.columns)
    line.above("evil \033[2J\033]0;title\a camera")
    assert screen.lines[0] == "evil  [2J ]0;title  camera"
    assert printable("a\tb\u202ec") == "a b c"


@given(st.text(st.sampled_from("ab 猫é"), max_size=200), st.integers(20, 80))
def test_folded_rows_fit_and_lose_no_letter(text: str, width: int) -> None:
    rows = folded(text, width)
    assert all(cells(row) <= width for row in rows)
    assert "".join("".join(rows).split()) == "".join(text.split())


FIRED = WatchFired("1", "is there a dog?", 63_500_000, 12.5, "yes")
CLEARED = WatchCleared("1", "is there a dog?", 70_000_000)


def test_an_alert_stands_above_the_line_that_is_typed_and_rings(typed_at: Any) -> None:
    screen = Screen(columns=60)
    line = PromptLine(screen, width=lambda: screen.columns)
    voice = TerminalVoice(line)
    typed_at(screen, line, "half", 0, lambda: (voice.alert("1", FIRED), voice.alert("1", CLEARED)))
    assert screen.lines[:3] == ["! 1:03  is there a dog?  [1]", "  1:10  no more: is there a dog?  [1]", " 0:01 > half"]
    assert screen.bells == 1


def test_programs_get_alerts_as_json_lines() -> None:
    out = io.StringIO()
    voice = JsonVoice(out, lambda text: None)
    voice.alert("1", FIRED)
    voice.alert("1", CLEARED)
    fired, cleared = (json.loads(line) for line in out.getvalue().splitlines())
    assert fired == {
        "event": "watch_fired",
        "watch": "1",
        "condition": "is there a dog?",
        "time_s": 63.5,
        "text": "yes",
        "latency_ms": 12.5,
    }
    assert cleared == {"event": "watch_cleared", "watch": "1", "condition": "is there a dog?", "time_s": 70.0}


def test_an_answer_takes_the_place_of_the_sign_of_waiting(typed_at: Any) -> None:
    screen = Screen(columns=60)
    answers = TerminalVoice(PromptLine(screen, width=lambda: screen.columns)).answers
    seen = (onlooker.Evidence(1_000_000, 3_000_000, 1.0, "recalled"),)
    answers.begin("who?", 0)
    assert screen.lines[0] == "…"
    answers.piece(" the")
    answers.piece(" fox")
    answers.end(onlooker.Answer("who?", "the fox", "answered", 5_000_000, 1_000_000, seen), [None])
    answers.begin("and now?", 0)
    answers.end(onlooker.Answer("and now?", "", "cancelled", 5_000_000), [])
    assert [line for line in screen.lines if line] == ["the fox", "  seen at 0:01–0:03", "(cancelled)"]


# Ctrl-C


class FakeInquiry:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def test_ctrl_c_cancels_the_answer_first_and_interrupts_second() -> None:
    inquiry: Any = FakeInquiry()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a runner in the background begins with it ignored
    with Halting() as halting:
        with halting.cancelling(inquiry):
            os.kill(os.getpid(), signal.SIGINT)
            assert inquiry.cancelled
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert not halting.is_over()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert halting.is_over()
        halting.ignore()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# Drawing memory


def test_the_bar_shows_what_is_left_of_the_stream() -> None:
    laid = [
        Stretch(0, 25, "forgotten"),
        Stretch(25, 50, "gist"),
        Stretch(60, 100, "kept"),
    ]
    assert bar(laid, 20) == "·····▒▒▒▒▒  ████████"
    assert bar([Stretch(5, 5, "kept")], 4) == "█   "
    assert bar([], 3) == "   "


# A conversation with a pipe


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a clip that is over after three seconds."""
    path = tmp_path_factory.mktemp("chat") / "clip.mp4"
    write_video(path, (frame for frame in Show(3, 24.0, 64).frames(4.0) if frame.time_us < 3e6), VideoSettings())
    return path


@pytest.fixture
def chat(
    tiny_folder: Path, clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run `onlooker chat SOURCE WORDS` with lines on stdin; give exit code, stdout and stderr."""

    def run(lines: str, *words: str, source: Path | str = clip) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        with pytest.raises(SystemExit) as caught:
            main.run(["chat", str(source), "--max-tokens", "8", *words, "--model", str(tiny_folder), "--device", "cpu"])
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    return run


def test_a_pipe_gets_json_lines_of_answers_and_of_commands(chat: Callable[..., Any]) -> None:
    lines = [
        "what is there now?",
        "/wait",
        "/mark the end",
        "/since 2s what was there?",
        "/range 0:00 0:01",
        "/watch the dog",
        "/watch",
        "/unwatch 1",
        "/memory",
        "/status",
        "/help",
        "/quit",
        "never asked?",
    ]
    code, out, _ = chat("\n".join(lines) + "\n", "--json")
    assert code == 0
    told = [json.loads(line) for line in out.splitlines()]
    first, mark, second, span, watching, listed, gone, memory, status, usage = told
    assert (first["question"], second["question"]) == ("what is there now?", "what was there?")
    assert first["text"]
    assert first["asked_at_s"] < 2.0 < second["asked_at_s"]
    assert mark["event"] == "mark"
    assert mark["label"] == "the end"
    assert mark["time_s"] == second["asked_at_s"] == status["now_s"]
    assert (span["since_s"], span["until_s"]) == (0.0, 1.0)
    assert (watching["watch"], listed["watches"], gone["watch"]) == ("1", {"1": "the dog"}, "1")
    assert memory["marks"] == [{"label": "the end", "time_s": mark["time_s"]}]
    assert memory["timeline"][0]["kind"] == "kept"
    assert (status["state"], status["event"]) == ("ended", "status")
    assert status["received"] == status["taken"] + sum(status["dropped"].values()) > 3
    assert len(usage["lines"]) == len(COMMANDS) + 2


def test_people_get_the_text_and_below_it_when_it_was_seen(chat: Callable[..., Any]) -> None:
    code, out, err = chat("what is there now?\n\n/frob\n/save\n/watch\n/unwatch 7\n")
    assert code == 0
    heading, answer, seen, *rest = out.splitlines()
    assert heading == "# at 0:00: what is there now?"
    assert answer.strip()
    assert seen.startswith("seen at 0:0")
    assert rest[-1] == "nothing is watched for; /watch CONDITION begins"
    for remark in ("there is no /frob", "start with --memory DIR", "no condition has the number '7'"):
        assert remark in err


def test_what_was_seen_is_kept_and_gone_on_with(chat: Callable[..., Any], clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "chat.memory"
    code, out, err = chat("/wait 2s\n/save\n/mark first\n", "--json", "--memory", str(folder))
    assert code == 0
    assert f"the memory is saved; go on with: onlooker chat {clip} --memory {folder}" in err
    seen_s = json.loads(out.splitlines()[-1])["time_s"]
    code, out, _ = chat("/wait 1s\n/memory\n", "--json", "--memory", str(folder))
    told = json.loads(out)
    assert code == 0
    assert told["span_s"][0] < 1.0
    assert told["span_s"][1] > seen_s
    assert [mark["label"] for mark in told["marks"]] == ["first"]


def test_a_memory_of_another_source_is_refused(chat: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "chat.memory"
    assert chat("", "--memory", str(folder))[0] == 0
    code, _, err = chat("", "--memory", str(folder), source="theatre:7")
    assert code == 2
    assert "this memory is of" in err


def test_a_condition_of_the_command_line_is_watched_for(chat: Callable[..., Any]) -> None:
    code, out, _ = chat("/watch\n", "--json", "--watch", "the dog", "--watch", "the cat")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["watches"] == {"1": "the dog", "2": "the cat"}


@pytest.mark.parametrize(("source", "code"), [("no-such-file.mp4", 3), ("theatre:x", 3), ("  ", 2)])
def test_a_source_that_cannot_be_read_ends_it_at_once(source: str, code: int, chat: Callable[..., Any]) -> None:
    given_code, out, err = chat("what is there now?\n", source=source)
    assert (given_code, out) == (code, "")
    assert err.startswith("onlooker: ")


def test_help_teaches_by_example(chat: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.run(["chat", "--help"])
    out = capsys.readouterr().out
    assert "    onlooker chat theatre:7\n" in out
    assert "| onlooker chat theatre:7 --json" in out


# A conversation on a terminal


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, *words: str) -> None:
        self.master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "100"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_ITS_OWN_TERMINAL, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def until(self, wanted: str) -> str:
        """Read until something stands there; give all since the last time."""
        end = time.monotonic() + PATIENCE_S
        before = len(self.shown)
        while wanted not in self.shown[before:]:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {wanted!r} in {self.shown[before:]!r}"
            try:
                self.shown += os.read(self.master, 65_536).decode(errors="replace")
            except OSError:  # the program is gone
                raise AssertionError(f"it ended without {wanted!r}: {self.shown!r}") from None
        return self.shown[before:]

    def close(self) -> int:
        """Wait for its end."""
        code = self.process.wait(PATIENCE_S)
        os.close(self.master)
        return code


ON_ITS_OWN_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from onlooker.cli.main import run
run()
"""


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Give a function that starts `onlooker` on a terminal of its own; what is left of it is ended."""
    made: list[Terminal] = []

    def start(*words: str) -> Terminal:
        made.append(Terminal(*words))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.close()


@pytest.mark.slow
def test_a_person_asks_stops_and_leaves_and_nothing_is_lost(
    terminal: Callable[..., Terminal], tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "chat.memory"
    words = ["--model", str(tiny_folder), "--device", "cpu", "--memory", str(folder), "--max-tokens", "2000"]
    person = terminal("chat", "theatre:3", *words)
    person.until("Ctrl-D ends")
    person.until(" 0:01 > ")  # the clock goes on by itself
    person.type("what is there now?\r")
    person.until("…")
    person.type("\x03")  # an answer of 2000 tokens is under way
    person.until("cancelled")
    person.type("/mark here\r")
    person.until("marked 0:0")
    person.type("/sta\t\r")
    person.until("theatre:3 is live")
    person.until(" > ")  # the prompt is back
    person.type("\x03")
    person.until("Ctrl-C again")
    person.type("\x03")
    person.until("the memory is saved")
    assert person.close() == 0
    with onlooker.load(str(tiny_folder), device="cpu").session(memory=folder, read_only=True) as session:
        assert session.last_us is not None and session.last_us > 500_000
