"""Sockets that fail, servers that end, and what is left afterwards."""

import asyncio
import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from onlooker.errors import ModelError, SettingsError
from onlooker.model import Model
from onlooker.stream.engine.engine import Engine
from onlooker.stream.protocol import server_events as told
from onlooker.stream.protocol.limits import Limits
from onlooker.stream.server.listening import bind
from onlooker.stream.server.running import LEFT_HUNG, run
from onlooker.stream.server.server import Server
from onlooker.stream.server.settings import ServerSettings
from onlooker.stream.server.warmup import warm_up


def test_a_client_that_does_not_read_is_thrown_out_and_others_go_on(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, slow_reader_s=0.3, limits=Limits(message_rate=1e6, message_burst=1_000_000))
        async with harness.serving(model, settings) as served, served.client() as other:
            await other.hello()
            async with served.client(max_queue=1) as slow:
                await slow.hello()
                resume = slow.way_back()
                seat = served.server.registry.seats[slow.created["session_id"]]
                waiting = seat.link._out
                while len(waiting) < 2:  # the system's own buffers fill first
                    for _ in range(16):
                        seat.tell(told.ResponseOutputTextDelta(response_id="r", delta="x" * 4096))
                    await other.send("ping")
                    await other.get("pong")
                assert not waiting.full
                await served.until(lambda: seat.link is None)
                await other.send("ping")
                await other.get("pong")
                events = await slow.rest()
                assert (events[-1]["type"], events[-1].get("code"), slow.ended) == ("error", "slow_reader", 1013)
            assert served.server.metrics.errors["slow_reader"] == 1
            async with served.client(max_queue=None) as back:
                assert (await back.hello(resume=resume))["gap"]  # more was told than is kept

    asyncio.run(run())


def test_a_client_that_lets_a_flood_pile_up_is_thrown_out_at_once(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, outgoing_bytes=1 << 16, limits=Limits(replay_bytes=1 << 15))
        async with harness.serving(model, settings) as served, served.client(max_queue=1) as slow:
            await slow.hello()
            seat = served.server.registry.seats[slow.created["session_id"]]
            for _ in range(64):  # without a pause: nothing can have been written
                seat.tell(told.ResponseOutputTextDelta(response_id="r", delta="x" * 4096))
            events = await slow.rest()
            assert (events[-1].get("code"), slow.ended) == ("slow_reader", 1013)
            assert seat.link is None and len(seat.replay) <= 8

    asyncio.run(run())


def test_a_client_that_answers_no_ping_is_dropped_and_its_session_waits(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model, ServerSettings(port=0, ping_s=0.2)) as served, served.client() as client:
            await client.hello()
            client.socket.transport.pause_reading()  # as a machine that lost its network
            await served.until(lambda: served.server.metrics.sockets == 0)
            assert len(served.server.registry.seats) == 1
            client.socket.transport.abort()

    asyncio.run(run())


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\n"])
def test_half_a_request_is_cut_off(harness: Any, model: Model, start: bytes) -> None:
    async def run() -> None:
        async with harness.serving(model, ServerSettings(port=0, open_s=0.2)) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.server.port)
            writer.write(start)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                async with asyncio.timeout(harness.WAIT_S):
                    await reader.readexactly(1)
            writer.close()

    asyncio.run(run())


def test_twenty_sessions_opened_and_dropped_leave_nothing(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, max_sessions=20, limits=Limits(resume_s=0.1))
        async with harness.serving(model, settings) as served:

            async def visit(number: int) -> None:
                async with served.client() as client:
                    await client.hello(max_tokens=64, frame_reports="each")
                    await client.see(2)
                    await client.send("watch.create", condition="there is a ball")
                    await client.get("watch.created")
                    await client.send("response.create", question="what is the ball ?")
                    await client.get("response.created")
                    if number % 3 == 0:
                        client.socket.transport.abort()
                    elif number % 3 == 1:
                        await client.send("session.close")
                        await client.rest()

            await visit(0)
            await served.gone()
            threads = threading.active_count()
            await asyncio.gather(*(visit(number) for number in range(20)))
            await served.gone()
            assert served.engine.report.sessions == 0
            assert served.server.registry.budget.nbytes == 0
            assert not served.server._connections and not served.server._addresses
            assert threading.active_count() <= threads + 6  # the pools' threads stay, and do not grow with sessions

    asyncio.run(run())


def test_going_away_lets_answers_end_and_saves_memories(harness: Any, model: Model, tmp_path: Path) -> None:
    async def run() -> list[dict[str, Any]]:
        async with harness.serving(model, ServerSettings(port=0, memory=tmp_path)) as served, served.client() as client:
            await client.hello(max_tokens=24, frame_reports="each")
            await client.see(6)
            await client.send("response.create", question="what is the ball ?")
            await client.get("response.created")
            stopping = asyncio.create_task(served.server.stop("kernel update"))
            events: list[dict[str, Any]] = await client.rest()
            assert client.ended == 1001
            await stopping
            assert served.engine.report.sessions == 0
            return events

    events = asyncio.run(run())
    kinds = [event["type"] for event in events]
    away = events[kinds.index("session.going_away")]
    assert away["reason"] == "kernel update" and away["deadline_ms"] == 30_000
    assert kinds.index("session.going_away") < kinds.index("response.done") < len(kinds) - 1
    assert events[kinds.index("response.done")]["status"] in ("completed", "incomplete")
    assert (events[-1]["code"], events[-1]["fatal"]) == ("going_away", True)
    [folder] = [path for path in (tmp_path / "sessions").iterdir() if path.is_dir()]
    with model.session(memory=folder, read_only=True) as kept:
        assert kept.report.keyframes >= 6


def test_one_signal_ends_the_process_though_the_device_hangs(harness: Any, model: Model, tmp_path: Path) -> None:
    engine = Engine(model)
    settings = ServerSettings(port=0, shutdown_s=0.5, memory=tmp_path)
    server = Server(engine, settings, harness.TOKEN, cameras={})
    served, free, held, left = harness.Served(server, engine), threading.Event(), threading.Event(), []

    def hang() -> None:
        held.set()
        free.wait(harness.WAIT_S)

    async def visit() -> None:
        async with served.client() as client:
            await client.hello(frame_reports="each")
            await client.see(1)
            seat = server.registry.seats[client.created["session_id"]]
            threading.Thread(target=seat.live.run, args=(hang,), daemon=True).start()
            await served.until(held.is_set)
            signal.raise_signal(signal.SIGTERM)
            await client.rest()

    visits: list[asyncio.Task[None]] = []

    def leave(code: int) -> None:
        left.append((code, free.is_set()))
        free.set()  # the test's process goes on

    run(server, lambda: visits.append(asyncio.get_running_loop().create_task(visit())), leave)
    assert left == [(LEFT_HUNG, False)]
    assert [visit.exception() for visit in visits] == [None]
    [ticket] = (tmp_path / "sessions").glob("*.json")
    assert json.loads(ticket.read_text())["token_sha256s"]  # its client may come back


def test_a_memory_in_ram_goes_with_the_server_and_nothing_is_written(
    harness: Any, model: Model, tmp_path: Path
) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            await client.hello(frame_reports="each")
            await client.see(2)

    asyncio.run(run())
    assert list(tmp_path.iterdir()) == []


def test_it_is_not_ready_before_its_first_answer_nor_when_it_ends(harness: Any, model: Model) -> None:
    async def run() -> None:
        engine = Engine(model)
        server = Server(engine, ServerSettings(port=0), harness.TOKEN)
        served = harness.Served(server, engine)
        with engine.worker.lock:  # the device cannot begin anything
            starting = asyncio.create_task(server.start())
            await served.until(lambda: server._listening is not None)
            assert (await served.get("/health/ready"))[0] == 503
            assert (await served.get("/health/live"))[0] == 200
        await starting
        assert (await served.get("/health/ready"))[0] == 200
        await server.stop()
        assert not server.ready

    asyncio.run(run())


def test_a_model_that_does_not_answer_is_told_before_anyone_asks(model: Model) -> None:
    engine = Engine(model)
    engine.close()
    with pytest.raises(ModelError, match="the model does not answer"):
        warm_up(engine)


def test_a_port_that_is_taken_is_told_with_a_remedy() -> None:
    with bind(ServerSettings(port=0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"cannot listen on 127\.0\.0\.1:{port} .*another --port"):
            bind(ServerSettings(port=port))
    with pytest.raises(SettingsError, match="no address of this machine"):
        bind(ServerSettings(host="203.0.113.7", port=0))


def test_a_session_that_is_being_opened_is_not_swept(harness: Any, model: Model, tmp_path: Path) -> None:
    async def serve() -> None:
        settings = ServerSettings(port=0, memory=tmp_path, max_memories=1)
        async with harness.serving(model, settings) as served, served.client() as one, served.client() as two:
            registry = served.server.registry
            await one.hello()
            opened = registry._live

            async def sweep_meanwhile(*arguments: Any) -> Any:
                live = await opened(*arguments)
                await registry.sweep()  # it has a folder now, and no ticket yet
                return live

            registry._live = sweep_meanwhile
            await two.hello()
            for client in (one, two):
                assert (tmp_path / "sessions" / client.created["session_id"]).is_dir()

    asyncio.run(serve())


def test_an_error_on_the_way_in_is_told_and_others_go_on(harness: Any, model: Model, tmp_path: Path) -> None:
    async def run() -> None:
        async with harness.serving(model, ServerSettings(port=0, memory=tmp_path)) as served, served.client() as other:
            await other.hello()
            (tmp_path / "sessions").rename(tmp_path / "gone")
            (tmp_path / "sessions").write_text("no folder")
            async with served.client() as client:
                await client.send("session.update")
                events = await client.rest()
                assert (events[-1]["code"], events[-1]["fatal"], client.ended) == ("storage_error", True, 1011)
                assert str(tmp_path) not in json.dumps(events)
            (tmp_path / "sessions").unlink()
            (tmp_path / "gone").rename(tmp_path / "sessions")
            await other.send("ping")
            await other.get("pong")

    asyncio.run(run())
