"""The client against the server as it is, with a tiny model."""

import asyncio
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onlooker.client
from onlooker.client import RemoteSession, WatchFired
from onlooker.errors import BusyError, ProtocolError, SettingsError, SourceError
from onlooker.model import Model
from onlooker.stream.server.settings import ServerSettings

QUESTION = "what is the red ball ?"


@pytest.fixture(scope="module")
def harness() -> Any:
    path = Path(__file__).resolve().parents[1] / "stream" / "server" / "harness.py"
    spec = importlib.util.spec_from_file_location("client_harness", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "ONLOOKER_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def served(harness: Any, tiny_backbone: Any, work: Callable[[str, Any], None], **options: Any) -> None:
    """Run a server, and some work beside it that gets its address."""

    async def run() -> None:
        async with harness.serving(Model(tiny_backbone), **options) as running:
            url = f"http://127.0.0.1:{running.server.port}/#token={harness.TOKEN}"
            await asyncio.to_thread(work, url, running)
            await running.gone()

    asyncio.run(run())


def until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 60.0
    while not ready():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def push(session: RemoteSession, count: int, shade: int = 0) -> None:
    """See so many different pictures, each when the one before was taken in."""
    for number in range(count):
        picture = np.random.default_rng(shade + number).integers(0, 255, (42, 42, 3), np.uint8)
        time_us = time.time_ns() // 1000 - session.origin_unix_us
        assert session.see(picture, time_us)
        until(lambda time_us=time_us: (session.stats.server.now_us or 0) >= time_us if session.stats.server else False)


def test_a_conversation_from_the_first_frame_to_the_last_word(harness: Any, tiny_backbone: Any) -> None:
    def work(url: str, running: Any) -> None:
        with onlooker.client.connect(url, settings={"keyframes": "all"}, max_tokens=8) as session:
            assert session.config.settings.keyframes == "all" and session.config.max_tokens == 8
            push(session, 4)
            answer = session.ask(QUESTION, evidence=2)
            assert answer.status in ("answered", "truncated", "not_remembered")
            assert answer.question == QUESTION and answer.asked_at_us > 0
            assert answer.timings["total_ms"] > 0 and answer.usage["question_tokens"] > 0
            assert len(answer.evidence) <= 2
            assert all(one.thumbnail.startswith(b"\xff\xd8\xff") for one in answer.evidence)
            inquiry = session.ask_stream(QUESTION)
            pieces = "".join(inquiry)
            assert pieces.strip() == inquiry.answer.text.strip()
            mark = session.mark("here")
            state = session.memory()
            assert mark in state.marks and state.keyframes >= 2 and state.span_us is not None
            watch_id = session.watch("is there a red ball ?", cooldown_s=1.0)
            assert [one.watch_id for one in session.watches()] == [watch_id]
            session.unwatch(watch_id)
            with pytest.raises(SettingsError):
                session.unwatch(watch_id)
            assert session.forget(everything=True) >= 2
            assert session.memory().span_us is None
            with pytest.raises(SettingsError):
                session.ask(QUESTION, since_us=5, until_us=5)

    served(harness, tiny_backbone, work)


def test_a_drop_loses_neither_the_memory_nor_a_question(harness: Any, tiny_backbone: Any) -> None:
    def work(url: str, running: Any) -> None:
        with onlooker.client.connect(url, settings={"keyframes": "all"}, max_tokens=8) as session:
            push(session, 3)
            name = session.id
            for number in range(3):
                inquiry = session.ask_stream(QUESTION)
                held = session._link._socket
                assert held is not None
                held.socket.shutdown(2)
                assert inquiry.answer.status in ("answered", "truncated", "not_remembered")
                until(lambda number=number: session.stats.reconnects == number + 1)
            assert session.id == name and session.stats.gaps == 0
            push(session, 1, shade=50)
            assert session.memory().keyframes >= 2

    served(harness, tiny_backbone, work)


def test_a_camera_of_the_servers_is_asked_and_not_fed(harness: Any, tiny_backbone: Any) -> None:
    def work(url: str, running: Any) -> None:
        with onlooker.client.connect(url, source="stage") as session:
            assert session.source == "stage"
            assert [one.name for one in session.sources()] == ["stage"]
            with pytest.raises(SourceError):
                session.see(np.zeros((42, 42, 3), np.uint8))
            with pytest.raises(SourceError):
                session.forget(everything=True)
            until(lambda: session.stats.server is not None and session.stats.server.frames > 0)
            assert session.ask(QUESTION).question == QUESTION
        with pytest.raises(SourceError):
            onlooker.client.connect(url, source="garden")

    served(harness, tiny_backbone, work, sources={"stage": "theatre:7"})


def test_who_may_not_come_in_hears_why(harness: Any, tiny_backbone: Any) -> None:
    def work(url: str, running: Any) -> None:
        with pytest.raises(ProtocolError, match="401"):
            onlooker.client.connect(url, token="wrong")
        with pytest.raises(ProtocolError, match="401"):
            onlooker.client.connect(url.partition("#")[0])
        with onlooker.client.connect(url), pytest.raises(BusyError):
            onlooker.client.connect(url)

    served(harness, tiny_backbone, work, settings=ServerSettings(port=0, max_sessions=1))


def test_a_watch_fires_over_the_wire(harness: Any, tiny_backbone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tiny model says is noise, so the event is put into the session's mouth."""
    from onlooker.stream.engine.events import WatchFired as Fired

    def work(url: str, running: Any) -> None:
        with onlooker.client.connect(url, settings={"keyframes": "all"}) as session:
            events = session.events(timeout_s=60.0)
            push(session, 2)
            watch_id = session.watch("is there a red ball ?")
            seat = running.server.registry.seats[session.id]
            seat.live.tell(Fired(watch_id, "is there a red ball ?", 5, 2.5, "yes", b"\xff\xd8\xff thumb"))
            fired = next(event for event in events if isinstance(event, WatchFired))
            assert (fired.watch_id, fired.time_us, fired.text) == (watch_id, 5, "yes")
            assert fired.image is not None and session.image(fired.image) == b"\xff\xd8\xff thumb"

    served(harness, tiny_backbone, work)


def test_a_session_goes_on_after_its_server_was_restarted(harness: Any, tiny_backbone: Any, tmp_path: Path) -> None:
    async def run() -> None:
        model = Model(tiny_backbone)
        async with harness.serving(model, ServerSettings(port=0, memory=tmp_path)) as running:
            port = running.server.port
            url = f"http://127.0.0.1:{port}/#token={harness.TOKEN}"
            session = await asyncio.to_thread(onlooker.client.connect, url, settings={"keyframes": "all"}, max_tokens=8)
            await asyncio.to_thread(push, session, 4)
            kept = (await asyncio.to_thread(session.memory)).keyframes
            origin_unix_us, name = session.origin_unix_us, session.id
        asked = asyncio.create_task(asyncio.to_thread(session.ask, QUESTION))  # while there is no server
        async with harness.serving(model, ServerSettings(port=port, memory=tmp_path)):
            assert (await asked).status in ("answered", "truncated", "not_remembered")
            assert (session.id, session.origin_unix_us) == (name, origin_unix_us)
            assert session.stats.gaps == 1
            assert (await asyncio.to_thread(session.memory)).keyframes >= kept
            await asyncio.to_thread(push, session, 1, 70)
            await asyncio.to_thread(session.close)

    asyncio.run(run())
