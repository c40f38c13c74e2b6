"""`onlooker serve` as a process of its own."""

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import onlooker
from onlooker.cli import main
from onlooker.cli.serving import choose_token
from onlooker.errors import SettingsError

TOKEN = "a-token-for-tests-only"
WAIT_S = 120.0
HARNESS = Path(__file__).parents[1] / "stream" / "server" / "harness.py"


@pytest.fixture(scope="module")
def harness() -> Any:
    spec = importlib.util.spec_from_file_location("serve_harness", HARNESS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def process(*words: str, token: str | None = TOKEN) -> Iterator[tuple["subprocess.Popen[str]", int, list[str]]]:
    """Run `onlooker serve` until the block ends; give the process, its port and its first lines."""
    root = Path(next(iter(onlooker.__path__))).parent
    more = {"PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1", **({} if token is None else {"ONLOOKER_TOKEN": token})}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ONLOOKER")} | more
    command = [sys.executable, "-m", "onlooker", "serve", "--port", "0", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as running:
        try:
            assert running.stderr is not None
            lines: list[str] = []
            for line in running.stderr:
                lines.append(line.rstrip())
                ready = re.search(r"ready at https?://[^/]*:(\d+)/", line)
                if ready is not None:
                    yield running, int(ready[1]), lines
                    break
            else:
                pytest.fail("\n".join(lines))
        finally:
            running.kill()


class Remote:
    """Stand in for what the harness's clients need of a server in another process."""

    class _Settings:
        secure = False

    class _Server:
        def __init__(self, port: int) -> None:
            self.port, self.settings = port, Remote._Settings()

    def __init__(self, harness: Any, port: int) -> None:
        self.server = Remote._Server(port)
        self._harness = harness

    def client(self) -> Any:
        return self._harness.Served.client(self)


async def see(client: Any, harness: Any, count: int) -> None:
    for _ in range(count):
        await client.socket.send(harness.frame(client.sequence))
        client.sequence += 1
        await client.get("frame.accepted")


async def keyframes(client: Any, least: int) -> dict[str, Any]:
    """Ask for the memory until it has as many keyframes."""
    async with asyncio.timeout(WAIT_S):
        while True:
            await client.send("memory.get")
            state: dict[str, Any] = await client.get("memory.state")
            if state["keyframes"] >= least:
                return state
            await asyncio.sleep(0.1)


@pytest.mark.slow
def test_a_server_that_was_killed_goes_on_with_its_clients_memory(harness: Any, tmp_path: Path) -> None:
    words = ("--memory", str(tmp_path), "--source", "stage=theatre:7", "--fps", "4")

    async def before(port: int) -> tuple[dict[str, Any], dict[str, Any], int]:
        async with Remote(harness, port).client() as client:
            created = await client.hello(frame_reports="each", settings={"keyframes": "all"})
            for _ in range(12):
                await see(client, harness, 3)
                await asyncio.sleep(0.1)
            state = await keyframes(client, 8)
            await client.send("memory.mark", label="before the crash")
            await client.get("memory.marked")
            await asyncio.sleep(1.5)  # what was stored is on the disk at the latest after a second
            return client.way_back(2), state, created["origin_unix_us"]

    async def after(port: int, resume: dict[str, Any], state: dict[str, Any], origin_us: int) -> None:
        async with Remote(harness, port).client() as client:
            created = await client.hello(resume=resume, frame_reports="each", max_tokens=8)
            assert (created["resumed"], created["gap"]) == (True, True)
            assert created["origin_unix_us"] == origin_us
            assert created["session_id"] == resume["session_id"]
            assert created["resume_token"] != resume["token"]
            again = await keyframes(client, state["keyframes"])
            assert again["span_us"][0] == state["span_us"][0]  # its newest keyframes may have been in no chunk yet
            assert [mark["label"] for mark in again["marks"]] == ["before the crash"]
            await see(client, harness, 2)  # the stream goes on behind the gap
            done = await client.ask("What is on the screen now?")
            assert done["status"] in ("completed", "incomplete")
            assert done["asked_at_us"] > state["span_us"][1]

    with process(*words) as (running, port, _):
        resume, state, origin_us = asyncio.run(before(port))
        running.kill()
        assert running.wait(WAIT_S) == -signal.SIGKILL
    with process(*words) as (running, port, lines):
        asyncio.run(after(port, resume, state, origin_us))
        running.send_signal(signal.SIGTERM)
        assert running.wait(WAIT_S) == 0
    assert not [line for line in lines if TOKEN in line or resume["token"] in line]


@pytest.mark.slow
def test_the_first_signal_ends_in_good_order(harness: Any) -> None:
    async def talk(running: "subprocess.Popen[str]", port: int) -> list[dict[str, Any]]:
        async with Remote(harness, port).client() as client:
            await client.hello()
            running.send_signal(signal.SIGINT)
            events: list[dict[str, Any]] = await client.rest()
            assert client.ended == 1001
            return events

    with process("--quiet") as (running, port, lines):
        events = asyncio.run(talk(running, port))
        assert running.wait(WAIT_S) == 0
    assert [event["type"] for event in events] == ["session.going_away", "error"]
    assert len(lines) == 1 and lines[0].endswith("/")  # a token that was given is not shown where nobody reads along


@pytest.mark.slow
def test_the_second_signal_leaves_at_once() -> None:
    script = """
import asyncio, os, signal
from onlooker.stream.server.running import run

class Hanging:
    async def start(self): pass
    async def stop(self):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(3600)

run(Hanging(), lambda: os.kill(os.getpid(), signal.SIGINT))
"""
    root = Path(next(iter(onlooker.__path__))).parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, timeout=WAIT_S, check=False)
    assert ended.returncode == 130


@pytest.mark.slow
def test_a_token_is_made_and_shown_in_the_fragment_and_logs_may_be_json() -> None:
    with process("--json-logs", "--source", "stage=theatre:7", token=None) as (_, _, lines):
        told = [json.loads(line) for line in lines if line.startswith("{")]
        assert re.search(r"ready at http://127\.0\.0\.1:\d+/#token=[A-Za-z0-9_-]{43}$", lines[-1])
    assert any(entry["message"].startswith("source stage: ") for entry in told)
    assert all(set(entry) >= {"time", "level", "logger", "message"} for entry in told)


def test_the_documentation_names_options_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
    with pytest.raises(SystemExit):
        main.run(["serve", "--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    ours = set(re.findall(r"`(--[a-z-]+)", text)) | set(re.findall(r"onlooker serve[^`]*?(--[a-z-]+)", text))
    assert {"--host", "--memory", "--allow-host"} < ours <= known


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--host", "0.0.0.0"], 2, "--insecure-plain-http"),
        (["--tls-cert", "nowhere.pem"], 2, "--tls-cert nowhere.pem is no file; make one with: openssl"),
        (["--tls-key", "nowhere.pem"], 2, "give both files"),
        (["--memory", "FILE"], 2, "memories cannot be written there"),
        (["--source", "hall"], 2, "such as hall=rtsp://"),
        (["--source", "frames=theatre:7"], 2, "is no declaration"),
        (["--source", "../x=theatre:7"], 2, "is no declaration"),
        (["--source", "a=theatre:1", "--source", "a=theatre:2"], 2, "same name"),
        (["--source", "hall=nowhere.mp4"], 3, "nowhere.mp4"),
        (["--source", "hall=theatre:x"], 3, "theatre:7"),
        (["--token", "short"], 2, "openssl rand -hex 32"),
        (["--token-file", "nowhere"], 2, "token file nowhere"),
        (["--token", TOKEN, "--token-file", "nowhere"], 2, "give one"),
        (["--allow-host", "https://x"], 2, "such as cam.example.com"),
        (["--allow-origin", "x"], 2, "such as https://cam.example.com"),
        (["--port", "TAKEN"], 2, "another --port"),
        (["--idle-timeout", "soon"], 2, "not a time"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_before_a_model_is_loaded(
    words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        known = {"FILE": str(tmp_path / "file"), "TAKEN": str(taken.getsockname()[1])}
        given = [known.get(word, word) for word in words]
        if "--port" not in given:
            given += ["--port", "0"]
        with pytest.raises(SystemExit) as caught:
            main.run(["serve", *given, "--model", "no-such-model-would-load", "--offline"])
    assert caught.value.code == code
    err = capsys.readouterr().err
    assert told in " ".join(err.split())
    assert "Traceback" not in err and (len(err.splitlines()) == 1 or "Usage" in err)


def test_a_token_may_be_given_in_three_ways(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert choose_token(TOKEN, None) == (TOKEN, False)
    assert choose_token(None, tmp_path / "token") == (TOKEN, False)
    made, new = choose_token(None, None)
    assert new and len(made) == 43
    with pytest.raises(SettingsError, match="give one"):
        choose_token(TOKEN, tmp_path / "token")


def test_ram_is_shared_among_all_sessions_that_there_may_be() -> None:
    from onlooker.cli.serving import MOST_SHARE_BYTES, share_of

    assert share_of(1000, 10) == 100 << 20
    assert share_of(100_000, 2) == MOST_SHARE_BYTES
    assert share_of(None, 8) > 0
    with pytest.raises(SettingsError, match="lower --max-sessions"):
        share_of(100, 10)
