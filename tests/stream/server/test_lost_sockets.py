"""Sockets that are cut while something is carried out: what was received is done, and nothing is left behind."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onlooker.errors import StorageError
from onlooker.model import Model
from onlooker.stream.protocol.limits import Limits
from onlooker.stream.server.settings import ServerSettings

SETTLE_S = 0.1  # for what must not happen


@contextlib.contextmanager
def nothing_decoded(served: Any) -> Iterator[threading.Event]:
    """Hold the decoder's threads until the event given is set."""
    gate, decoder = threading.Event(), served.server.registry.decoder
    for _ in range(decoder._threads._max_workers):
        decoder._threads.submit(gate.wait)
    try:
        yield gate
    finally:
        gate.set()


@contextlib.contextmanager
def device_held(served: Any) -> Iterator[None]:
    """Let the device begin nothing."""
    with served.engine.worker.lock:
        yield


async def cut(served: Any, client: Any) -> Any:
    """Cut a client's socket, wait until the server has noticed, and give the seat."""
    seat = served.server.registry.seats[client.created["session_id"]]
    client.socket.transport.abort()
    await served.until(lambda: seat.link is None)
    await asyncio.sleep(SETTLE_S)
    return seat


def test_a_question_that_was_received_is_answered_though_the_socket_is_cut(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served:
            with nothing_decoded(served) as gate:
                async with served.client() as client:
                    await client.hello(max_tokens=2)
                    seat = served.server.registry.seats[client.created["session_id"]]
                    await client.socket.send(harness.frame(0))
                    for name in ("q1", "q2"):
                        await client.send("response.create", question="what is the ball ?", event_id=name)
                    await served.until(lambda: seat.replay.received == ("q1", "q2"))
                    resume = client.way_back()
                    await cut(served, client)
                gate.set()
            async with served.client() as client:
                assert (await client.hello(resume=resume))["received"] == ["q1", "q2"]
                for _ in range(2):
                    await client.get("response.done")
                begun = [event["event_id"] for event in client.heard if event["type"] == "response.created"]
                assert begun == ["q1", "q2"]
            await served.until(lambda: served.server.metrics.sockets == 0)

    asyncio.run(run())


def test_what_came_over_the_socket_before_is_carried_out_first(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as old, served.client() as new:
            with nothing_decoded(served) as gate:
                await old.hello(max_tokens=2)
                seat = served.server.registry.seats[old.created["session_id"]]
                await old.socket.send(harness.frame(0))
                await old.send("memory.mark", label="first", event_id="m1")
                await old.send("response.create", question="what is the ball ?", event_id="q1")
                await served.until(lambda: seat.replay.received == ("m1", "q1"))
                await new.hello(resume=old.way_back())
                await new.send("watch.list", event_id="w1")
                await new.send("response.create", question="what is the ball ?", event_id="q2")
                await served.until(lambda: seat.replay.received == ("m1", "q1", "w1", "q2"))
                await asyncio.sleep(SETTLE_S)
                gate.set()
            for _ in range(2):
                await new.get("response.done")
            named = [event["event_id"] for event in new.heard[1:] if event.get("event_id")]
            assert [name for name in named if name != "m1"] == ["q1", "w1", "q2"]

    asyncio.run(run())


@pytest.mark.parametrize("forget", [False, True])
def test_a_session_is_closed_though_the_socket_is_cut_meanwhile(
    harness: Any, model: Model, tmp_path: Path, forget: bool
) -> None:
    async def run() -> None:
        async with harness.serving(model, ServerSettings(port=0, memory=tmp_path)) as served:
            registry = served.server.registry
            with nothing_decoded(served) as gate:
                async with served.client() as client:
                    await client.hello()
                    seat = registry.seats[client.created["session_id"]]
                    await client.socket.send(harness.frame(0))
                    await client.send("session.close", forget=forget)
                    await served.until(lambda: seat.id in registry.closing)
                    client.socket.transport.abort()
                    await served.until(lambda: seat.link is None)
                    await asyncio.sleep(SETTLE_S)
                gate.set()
            await served.gone()
            assert seat.live.closed and served.engine.report.sessions == 0
            assert (tmp_path / "sessions" / seat.id).exists() is not forget

    asyncio.run(run())


def test_a_session_is_closed_though_the_one_who_closes_it_is_cancelled(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            await client.hello()
            registry = served.server.registry
            seat = registry.seats[client.created["session_id"]]
            with nothing_decoded(served) as gate:
                await client.socket.send(harness.frame(0))
                await served.until(lambda: seat.intake.busy)
                closing = asyncio.create_task(registry.close(seat))
                await served.until(lambda: seat.id in registry.closing)
                closing.cancel()
                await asyncio.wait([closing])
                assert seat.id in registry.closing
                gate.set()
            await served.gone()
            assert seat.live.closed and served.engine.report.sessions == 0

    asyncio.run(run())


def test_a_watch_that_was_begun_belongs_to_its_seat_though_the_socket_is_cut(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model, sources={"stage": "theatre:7"}) as served:
            live = served.server.cameras["stage"].live
            async with served.client() as client:
                await client.hello(source="stage")
                seat = served.server.registry.seats[client.created["session_id"]]
                resume = client.way_back()
                with device_held(served):
                    await client.send("watch.create", condition="there is a ball", event_id="w1")
                    await served.until(lambda: seat._early)
                    await cut(served, client)
            await served.until(lambda: live.stats.watches == 1)
            async with served.client() as client:
                assert (await client.hello(resume=resume))["received"] == ["w1"]
                assert (await client.get("watch.created"))["event_id"] == "w1"
                await client.send("session.close")
                await client.rest()
            assert live.stats.watches == 0

    asyncio.run(run())


def test_a_watch_that_comes_about_after_its_seat_was_given_up_is_ended(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, limits=Limits(resume_s=0.1))
        async with harness.serving(model, settings, sources={"stage": "theatre:7"}) as served:
            registry, live = served.server.registry, served.server.cameras["stage"].live
            async with served.client() as client:
                await client.hello(source="stage")
                seat = registry.seats[client.created["session_id"]]
                with device_held(served):
                    await client.send("watch.create", condition="there is a ball")
                    await served.until(lambda: seat._early)
                    await cut(served, client)
                    await served.until(lambda: seat.closed)
            await served.until(lambda: served.server.metrics.sockets == 0)
            await asyncio.to_thread(live.memory)  # the device has done what came before
            assert live.stats.watches == 0 and not seat.watches

    asyncio.run(run())


def test_who_comes_back_while_the_session_begins_to_be_closed_gets_one_that_lives(
    harness: Any, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with harness.serving(model, ServerSettings(port=0, memory=tmp_path)) as served:
            registry = served.server.registry
            async with served.client() as client:
                await client.hello(frame_reports="each")
                await client.see(4)
                resume = client.way_back()
                seat = await cut(served, client)
            gate, writing, write = threading.Event(), threading.Event(), registry.folders.write

            def slow_write(*arguments: Any) -> None:
                writing.set()
                assert gate.wait(harness.WAIT_S)
                write(*arguments)

            monkeypatch.setattr(registry.folders, "write", slow_write)
            async with served.client() as back:
                with device_held(served):  # the session cannot be closed yet
                    await back.send("session.update", resume=resume, max_tokens=2)
                    await served.until(writing.is_set)
                    closing = asyncio.create_task(registry.close(seat, again=True))
                    await served.until(lambda: seat.id in registry.closing)
                    gate.set()
                    await asyncio.sleep(SETTLE_S)
                    assert seat.link is None
                back.created = await back.get("session.created")
                await closing
                assert (back.created["resumed"], back.created["gap"]) == (True, True)
                assert registry.seats[seat.id].link is not None
                assert (await back.ask())["status"] in ("completed", "incomplete")

    asyncio.run(run())


def test_a_session_that_cannot_be_opened_in_another_way_is_ended(
    harness: Any, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with harness.serving(model, ServerSettings(port=0, memory=tmp_path)) as served, served.client() as client:
            await client.hello()
            resume = client.way_back()

            def full(*_: Any, **__: Any) -> None:
                raise StorageError("the disk is full")

            with monkeypatch.context() as patch:
                patch.setattr(served.engine, "session", full)
                await client.send("session.update", settings={"prune_rate": 0.75})
                events = await client.rest()
            assert (events[-1]["code"], events[-1]["fatal"], client.ended) == ("storage_error", True, 1011)
            await served.gone()
            async with served.client() as back:  # when there is place again
                assert (await back.hello(resume=resume))["resumed"]

    asyncio.run(run())


def test_a_token_is_not_taken_for_received_because_its_client_goes_on_sending(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served:
            async with served.client() as client:
                await client.hello()
                resume = client.way_back()
            seat = served.server.registry.seats[resume["session_id"]]
            await served.until(lambda: seat.link is None)
            async with served.client() as lost:
                lost.socket.transport.pause_reading()  # session.created does not arrive
                await lost.send("session.update", resume=resume)
                await served.until(lambda: seat.link is not None)
                await lost.send("watch.list", event_id="w1")
                await lost.socket.send(harness.frame(0))
                await served.until(lambda: seat.replay.received == ("w1",) and seat.live.stats.now_us is not None)
                lost.socket.transport.abort()
            async with served.client() as client:
                assert (await client.hello(resume=resume))["resumed"]

    asyncio.run(run())
