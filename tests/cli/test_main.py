import io
import subprocess
import sys
from collections.abc import Callable

import pytest

import onlooker
from onlooker.cli import main
from onlooker.errors import (
    InstallationError,
    ModelError,
    OnlookerError,
    RecallError,
    SettingsError,
    SourceError,
)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main.run(words)
    code = caught.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Add a command `fail` that raises the given error, for this test only."""
    monkeypatch.setattr(main.app, "registered_commands", list(main.app.registered_commands))
    monkeypatch.delenv("ONLOOKER_DEBUG", raising=False)

    def add(error: BaseException) -> None:
        @main.app.command("fail")
        def fail(words: list[str] | None = None) -> None:
            raise error

    return add


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"onlooker {onlooker.__version__}\n"


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_teaches_by_example(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(option) == 0
    lines = capsys.readouterr().out.splitlines()
    assert '    onlooker ask examples/theatre.mp4 "What was next to the boat?"' in lines
    assert any("onlooker.load(" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    assert "Usage: onlooker" in "".join(capsys.readouterr())


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom onlooker.cli.main import run\n"
        "try:\n    run(['--help'])\nexcept SystemExit:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    names = {name.partition(".")[0] for name in done.stderr.split()}
    assert "typer" in names
    assert not names & {"torch", "numpy", "transformers", "cv2", "decord", "faiss", "rich", "PIL"}


def test_python_m_onlooker() -> None:
    words = [sys.executable, "-m", "onlooker", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == f"onlooker {onlooker.__version__}\n"


def test_an_unknown_option_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--frobnicate") == 2
    assert "--frobnicate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("x"), 2),
        (SourceError("x"), 3),
        (ModelError("x"), 4),
        (RecallError("x"), 1),
        (InstallationError("x"), 1),
        (OnlookerError("x"), 1),
    ],
)
def test_an_error_has_the_exit_code_of_its_kind(
    error: OnlookerError, code: int, command: Callable[[BaseException], None]
) -> None:
    command(error)
    assert run("fail") == code


def test_an_error_is_one_line_without_traceback(
    command: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(SourceError("talk.mp4 holds no video\n  give another file"))
    run("fail")
    streams = capsys.readouterr()
    assert streams.err == "onlooker: talk.mp4 holds no video give another file\n"
    assert streams.out == ""


def test_debug_shows_the_traceback(
    command: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command(SourceError("talk.mp4 holds no video"))
    monkeypatch.setenv("ONLOOKER_DEBUG", "1")
    assert run("fail") == 3
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "SourceError: talk.mp4 holds no video" in err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["ask", "-vv"], True),
        (["ask", "-v", "x", "-v"], True),
        (["ask", "-v"], False),
        (["ask", "--", "-vv"], False),
    ],
)
def test_two_v_ask_for_tracebacks(words: list[str], wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONLOOKER_DEBUG", raising=False)
    assert main.wants_traceback(words) is wanted


def test_what_a_terminal_cannot_show_costs_no_answer(
    command: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    command(SourceError("not used"))
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii", write_through=True))

    @main.app.command("write")
    def write() -> None:
        sys.stdout.write("seen at 0:00\N{EN DASH}0:05 \udcff\n")

    assert run("write") == 0
    assert shown.getvalue() == b"seen at 0:00?0:05 ?\n"


def test_an_interrupt_exits_with_130(command: Callable[[BaseException], None]) -> None:
    command(KeyboardInterrupt())
    assert run("fail") == 130


def test_what_is_no_onlooker_error_is_not_hidden(command: Callable[[BaseException], None]) -> None:
    command(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main.run(["fail"])
