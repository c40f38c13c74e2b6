"""Coming back: replay, gaps, takeover, and memories that outlive the server."""

import asyncio
import json
from pathlib import Path
from typing import Any

from onlooker.model import Model
from onlooker.stream.protocol.limits import Limits
from onlooker.stream.server.settings import ServerSettings


def last_seq(client: Any) -> int:
    return max((event.get("seq", 0) for event in client.heard), default=0)


def test_what_was_missed_is_told_again_in_order(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served:
            async with served.client() as client:
                await client.hello(max_tokens=6, frame_reports="each")
                await client.see(3)
                await client.send("response.create", question="what is the ball ?", event_id="q1")
                begun = await client.get("response.created")
                resume = client.way_back(begun["seq"])
                client.socket.transport.abort()
            seat = served.server.registry.seats[resume["session_id"]]
            await served.until(lambda: seat.link is None and not seat.questions)
            async with served.client() as client:
                created = await client.hello(resume=resume)
                assert (created["resumed"], created["gap"], created["received"]) == (True, False, ["q1"])
                assert created["resume_token"] != resume["token"]
                done = await client.get("response.done")
                assert done["response_id"] == begun["response_id"]
                missed = [event["seq"] for event in client.heard if "seq" in event]
                assert missed == list(range(begun["seq"] + 1, created["last_seq"] + 1))

    asyncio.run(run())


def test_events_beyond_the_ring_are_a_gap(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, limits=Limits(replay_events=16))
        async with harness.serving(model, settings) as served:
            async with served.client() as client:
                await client.hello()
                for _ in range(30):
                    await client.send("watch.list")
                    await client.get("watch.listed")
                resume = client.way_back(5)
            async with served.client() as client:
                created = await client.hello(resume=resume)
                assert (created["resumed"], created["gap"]) == (True, True)
                await client.send("watch.list")
                while (await client.get("watch.listed"))["seq"] < 31:
                    pass
                assert [event["seq"] for event in client.heard if "seq" in event] == list(range(15, 32))

    asyncio.run(run())


def test_a_valid_newcomer_takes_the_session_over(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as old, served.client() as new:
            await old.hello()
            await new.hello(resume=old.way_back())
            [error] = await old.rest()
            assert (error["code"], error["fatal"], old.ended) == ("session_taken", True, 4002)
            await new.send("ping")
            await new.get("pong")
            assert len(served.server.registry.seats) == 1

    asyncio.run(run())


def test_the_token_before_is_good_until_the_new_one_was_received(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served:
            async with served.client() as client:
                await client.hello()
                first = client.way_back()
                await client.send("ping")
                await client.get("pong")
            async with served.client() as lost:  # the answer may never have reached the client
                await lost.send("session.update", resume=first)
                await lost.get("session.created")
            async with served.client() as client:
                await client.hello(resume=first)
                second = client.way_back()
                await client.send("ping")
                await client.get("pong")
            async with served.client() as thief:
                await thief.send("session.update", resume=first)
                assert [event["code"] for event in await thief.rest()] == ["resume_refused"]
            async with served.client() as client:
                assert (await client.hello(resume=second))["resumed"]

    asyncio.run(run())


def test_a_resumed_session_keeps_its_settings_and_its_memory(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served:
            async with served.client() as client:
                await client.hello(settings={"prune_rate": 0.75}, frame_reports="each")
                await client.see(5)
                resume = client.way_back()
            async with served.client() as client:
                created = await client.hello(resume=resume, frame_reports="each")
                assert created["config"]["settings"]["prune_rate"] == 0.75
                await client.send("session.update", settings={"prune_rate": 0.5})
                assert (await client.get("error"))["code"] == "settings_locked"
                await client.see(1)
                await client.send("memory.get")
                assert (await client.get("memory.state"))["keyframes"] >= 4

    asyncio.run(run())


def test_a_memory_on_disk_outlives_the_server(harness: Any, model: Model, tmp_path: Path) -> None:
    async def first() -> tuple[dict[str, Any], int]:
        async with harness.serving(model, ServerSettings(port=0, memory=tmp_path)) as served, served.client() as client:
            created = await client.hello(settings={"prune_rate": 0.75}, frame_reports="each")
            await client.see(6)
            return client.way_back(3), created["origin_unix_us"]

    async def second(resume: dict[str, Any], origin_us: int) -> dict[str, Any]:
        async with harness.serving(model, ServerSettings(port=0, memory=tmp_path)) as served:
            async with served.client() as thief:
                await thief.send("session.update", resume={**resume, "token": "guessed"})
                assert [event["code"] for event in await thief.rest()] == ["resume_refused"]
            async with served.client() as client:
                created = await client.hello(resume=resume, frame_reports="each")
                assert (created["resumed"], created["gap"], created["last_seq"]) == (True, True, 0)
                assert created["origin_unix_us"] == origin_us
                assert created["config"]["settings"]["prune_rate"] == 0.75
                await client.send("memory.get")
                assert (await client.get("memory.state"))["keyframes"] >= 4
                await client.see(1)
                return client.way_back()

    async def third(resume: dict[str, Any]) -> None:
        async with harness.serving(model, ServerSettings(port=0, memory=tmp_path)) as served:
            async with served.client() as client:
                await client.hello(resume=resume)
                await client.send("session.close", forget=True)
                await client.rest()
            assert list((tmp_path / "sessions").iterdir()) == []
            async with served.client() as client:
                await client.send("session.update", resume=client.created or resume)
                assert (await client.rest())[0]["code"] in ("resume_refused", "session_expired")

    resume, origin_us = asyncio.run(first())
    ticket = json.loads((tmp_path / "sessions" / f"{resume['session_id']}.json").read_text())
    assert resume["token"] not in json.dumps(ticket)
    asyncio.run(third(asyncio.run(second(resume, origin_us))))


def test_who_comes_back_while_the_session_is_being_closed_finds_its_memory_on_disk(
    harness: Any, model: Model, tmp_path: Path
) -> None:
    async def run() -> None:
        async with harness.serving(model, ServerSettings(port=0, memory=tmp_path)) as served:
            async with served.client() as client:
                await client.hello(frame_reports="each")
                await client.see(6)
                resume = client.way_back()
            registry = served.server.registry
            seat = registry.seats[resume["session_id"]]
            await served.until(lambda: seat.link is None)
            with served.engine.worker.lock:  # the device cannot close it yet
                closing = asyncio.create_task(registry.close(seat, again=True))
                await served.until(lambda: seat.id in registry.closing)
                async with served.client() as back:
                    await back.send("session.update", resume=resume)
                    await asyncio.sleep(0.1)
                    served.engine.worker.lock.release()
                    try:
                        created = await back.get("session.created")
                    finally:
                        served.engine.worker.lock.acquire()
                    assert (created["resumed"], created["gap"]) == (True, True)
            await closing

    asyncio.run(run())


def test_memories_are_deleted_when_there_are_too_many(harness: Any, model: Model, tmp_path: Path) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, memory=tmp_path, max_memories=2, limits=Limits(resume_s=0.1))
        async with harness.serving(model, settings) as served:
            ids = []
            for _ in range(4):
                async with served.client() as client:
                    ids.append((await client.hello())["session_id"])
                await served.gone()
            left = {path.name for path in (tmp_path / "sessions").iterdir() if path.is_dir()}
            assert left == set(ids[-2:])

    asyncio.run(run())


def test_a_session_that_was_closed_is_not_resumed_though_its_memory_stays(
    harness: Any, model: Model, tmp_path: Path
) -> None:
    async def run() -> None:
        async with harness.serving(model, ServerSettings(port=0, memory=tmp_path)) as served:
            async with served.client() as client:
                await client.hello()
                await client.send("session.close")
                await client.rest()
            assert (tmp_path / "sessions" / client.created["session_id"]).is_dir()
            async with served.client() as late:
                await late.send("session.update", resume=client.way_back())
                assert [event["code"] for event in await late.rest()] == ["resume_refused"]

    asyncio.run(run())


def test_a_seat_at_a_camera_is_resumed_too(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model, sources={"stage": "theatre:7"}) as served:
            async with served.client() as client:
                await client.hello(source="stage")
                resume = client.way_back()
            async with served.client() as client:
                created = await client.hello(resume=resume)
                assert (created["resumed"], created["source"]) == (True, "stage")

    asyncio.run(run())
