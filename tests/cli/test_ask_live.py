import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onlooker.cli import main

WORDS = ("--max-tokens", "4", "--device", "cpu", "--fps", "10")


@pytest.fixture
def ask(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `onlooker ask WORDS` with the tiny model; give exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main.run(["ask", *words, *WORDS, "--model", str(tiny_folder)])
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def nobody() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_it_watches_until_it_is_told(ask: Callable[..., Any]) -> None:
    code, out, err = ask("theatre:7", "--to", "1", "what is there now?", "--json", "-v")
    assert code == 0
    assert 0.0 <= json.loads(out)["asked_at_s"] < 1.0
    assert "watched 0:00" in err


def test_moments_are_answered_as_they_come(ask: Callable[..., Any]) -> None:
    code, out, _ = ask("theatre:7", "--at", "0.5", "--at", "1.5", "what is there now?", "--json")
    assert code == 0
    first, second = (json.loads(line)["asked_at_s"] for line in out.splitlines())
    assert 0.0 <= first <= 0.5 < second <= 1.5


def test_a_memory_is_gone_on_with_behind_its_last_time(ask: Callable[..., Any], tmp_path: Path) -> None:
    words = ("theatre:7", "--memory", str(tmp_path / "m"), "--json", "what is there now?")
    assert ask(*words, "--to", "1")[0] == 0
    code, out, err = ask(*words, "--to", "2.5")
    assert code == 0
    assert 1.0 <= json.loads(out)["asked_at_s"] < 2.5
    assert "going on from there" in err
    code, out, err = ask(*words, "--to", "1")
    assert (code, out) == (2, "")
    assert "is over" in err and "give a later --to" in err
    code, _, err = ask("theatre:8", *words[1:], "--to", "9")
    assert code == 2
    assert "this memory is of theatre:7, and theatre:8 is another" in err


def test_a_live_source_has_no_start_to_choose(ask: Callable[..., Any]) -> None:
    code, _, err = ask("theatre:7", "--from", "0:05", "--to", "0:10", "what?")
    assert code == 2
    assert "--from is for files" in err


def test_a_word_that_names_no_source_is_found_before_the_model_is_loaded(ask: Callable[..., Any]) -> None:
    code, _, err = ask("theatre:x", "--to", "1", "what?", "--model", "no-such-model")
    assert code == 3
    assert "names no theatre" in err


def test_a_camera_that_never_comes_is_an_error_without_its_password(
    ask: Callable[..., Any], nobody: int, tmp_path: Path
) -> None:
    spec = f"rtsp://bob:s3cret@127.0.0.1:{nobody}/1"
    code, out, err = ask(spec, "--to", "1", "what?", "--memory", str(tmp_path / "m"))
    assert (code, out) == (3, "")
    assert f"reconnecting: rtsp://bob:***@127.0.0.1:{nobody}/1: nothing listens" in err
    assert "no frame came: rtsp://bob:***@" in err
    assert "s3cret" not in err
    assert not any(b"s3cret" in path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file())


def test_a_source_that_needs_a_person_ends_it_at_once(ask: Callable[..., Any], tmp_path: Path) -> None:
    """A password that is wrong stays wrong: waiting for it would look like hanging."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        import threading

        def refuse() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(b"RTSP/1.0 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        code, out, err = ask(f"rtsp://127.0.0.1:{listener.getsockname()[1]}/1", "what?")
        thread.join(60)
    assert (code, out) == (3, "")
    assert "may not watch it (403 Forbidden)" in err


@pytest.mark.parametrize("up", [True, False], ids=["playing", "waiting"])
def test_an_interrupt_answers_from_what_was_seen(tiny_folder: Path, nobody: int, up: bool) -> None:
    """Also while no frame comes, when nothing but the clock could end the waiting."""
    source = "theatre:7" if up else f"rtsp://127.0.0.1:{nobody}/1"
    words = [sys.executable, "-m", "onlooker", "ask", source, "what?", "--model", str(tiny_folder), "--json", *WORDS]
    script = (
        "import sys\nfrom onlooker.cli import progress\nprogress.PLAIN_EVERY_S = 0.05\n"
        "from onlooker.cli.main import run\nrun(sys.argv[1:])"
    )
    words[1:3] = ["-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "frames/s" in line or "reconnecting" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    if up:
        assert process.returncode == 0
        assert json.loads(out)["asked_at_s"] >= 0.0
        assert "answering from what was seen so far" in err
    else:
        assert (process.returncode, out) == (3, "")
        assert "nothing listens" in err
    assert "Traceback" not in err
