"""Limits over real sockets: what is too much is refused before work is done for it, and others go on."""

import asyncio
import contextlib
import json
import struct
import zlib
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from onlooker.model import Model
from onlooker.stream.protocol.limits import Limits
from onlooker.stream.server.doorstep import MOST_WAITING
from onlooker.stream.server.seat import MOST_SHARED_MARKS
from onlooker.stream.server.settings import ServerSettings


def bomb() -> bytes:
    """A PNG of a few hundred bytes that claims four thousand million pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", 65_500, 65_500, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1 << 16)))
        + chunk(b"IEND", b"")
    )


def test_a_pixel_bomb_is_refused_by_its_header_and_nothing_is_decoded(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            await client.hello(frame_reports="each")
            await client.socket.send(harness.frame(0, bomb()))
            error = await client.get("error")
            assert (error["code"], error["fatal"]) == ("frame_too_big", False)
            assert (await client.get("frame.dropped"))["reason"] == "too_big"
            assert served.server.registry.budget.nbytes == 0
            await client.see(1)

    asyncio.run(run())


def test_pictures_that_cannot_be_decoded_are_counted_and_told_once_in_a_while(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            await client.hello(frame_reports="each", stats=True)
            cut = harness.jpeg(1)[:300]
            for sequence in range(6):
                await client.socket.send(harness.frame(sequence, cut))
                await asyncio.sleep(0.02)
            error = await client.get("error")
            assert (error["code"], error["fatal"]) == ("bad_image", False)
            await client.see(1)
            assert sum(event["type"] == "error" for event in client.heard) == 1
            seat = served.server.registry.seats[client.created["session_id"]]
            dropped = seat.live.stats.dropped
            assert dropped["bad_image"] >= 1 and dropped["bad_image"] + dropped.get("busy", 0) == 6
            assert served.server.registry.budget.nbytes == 0

    asyncio.run(run())


def test_a_message_that_is_far_too_large_is_cut_off_by_its_header(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, limits=Limits(max_frame_bytes=64 << 10))
        async with harness.serving(model, settings) as served, served.client() as other:
            await other.hello()
            async with served.client() as client:
                await client.hello()
                await client.socket.send(harness.frame(0, harness.jpeg() + bytes(80 << 10)))  # a little too large
                assert (await client.get("error"))["code"] == "frame_too_big"
                await client.socket.send(bytes(1 << 20))
                await client.rest()
                assert client.ended == 1009
            await other.send("ping")
            await other.get("pong")

    asyncio.run(run())


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"type": "ping", "event_id": "x" * (70 << 10)}),
        '{"type":"ping","x":' + "[" * 500 + "]" * 500 + "}",
        '{"type":"ping","x":[' + "1," * 5000 + "1]}",
        '{"type":"memory.mark","label":"x","time_us":' + "9" * 5000 + "}",
    ],
    ids=["bytes", "depth", "values", "digits"],
)
def test_a_text_message_beyond_the_limits_is_refused_and_the_socket_stays(
    harness: Any, model: Model, text: str
) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            await client.hello()
            await client.socket.send(text)
            error = await client.get("error")
            assert (error["code"], error["fatal"]) == ("invalid_json", False)
            await client.send("ping")
            await client.get("pong")

    asyncio.run(run())


def test_too_many_events_a_second_are_refused_with_a_time_to_wait(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, limits=Limits(message_rate=1.0, message_burst=5))
        async with harness.serving(model, settings) as served, served.client() as client:
            await client.hello()
            for _ in range(8):
                await client.send("ping")
            error = await client.get("error")
            assert error["code"] == "rate_limited" and 1 <= error["retry_after_ms"] <= 1000

    asyncio.run(run())


def test_frames_beyond_the_rate_are_dropped_and_counted(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, limits=Limits(max_fps=2.0))
        async with harness.serving(model, settings) as served, served.client() as client:
            await client.hello()
            for sequence in range(20):
                await client.socket.send(harness.frame(sequence))
            assert (await client.get("frame.dropped"))["reason"] == "rate"
            await served.until(lambda: served.server.metrics.dropped["rate"] >= 15)
            await client.send("session.close")
            closed = await client.get("session.closed")
            assert closed["stats"]["frames"] == 20 and closed["stats"]["dropped"] >= 15

    asyncio.run(run())


def test_questions_beyond_the_queue_are_refused_and_the_others_answered(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, limits=Limits(questions_queued=2))
        async with harness.serving(model, settings) as served, served.client() as client:
            await client.hello(max_tokens=16, frame_reports="each")
            await client.see(2)
            for number in range(12):
                await client.send("response.create", question="what is the ball ?", event_id=f"q{number}")
            ended, refused = 0, 0
            while ended + refused < 12:
                event = await client.get("response.done", "error")
                ended += event["type"] == "response.done"
                if event["type"] == "error":
                    assert (event["code"], event["retryable"]) == ("busy", True)
                    refused += 1
            assert ended >= 2 and refused >= 1
            assert (await client.ask())["status"] in ("completed", "incomplete")

    asyncio.run(run())


def test_sessions_beyond_the_limit_are_refused_and_room_comes_back(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, max_sessions=2)
        async with harness.serving(model, settings) as served, served.client() as one, served.client() as two:
            await one.hello()
            await two.hello()
            async with served.client() as three:
                await three.send("session.update", event_id="s")
                [error] = await three.rest()
                assert (error["code"], error["retryable"], three.ended) == ("too_many_sessions", True, 1013)
            await one.send("session.close")
            await one.rest()
            async with served.client() as three:
                await three.hello()

    asyncio.run(run())


def test_sockets_are_bounded_in_all_and_by_address(harness: Any, model: Model) -> None:
    async def run(settings: ServerSettings) -> None:
        async with harness.serving(model, settings) as served, served.client() as one, served.client():
            with pytest.raises(InvalidStatus) as caught:
                async with served.client():
                    pass
            assert caught.value.response.status_code == 503
            assert (await served.get("/health/ready"))[0] == 200
            await one.socket.close()
            await served.until(lambda: served.server.metrics.sockets < 2)
            async with served.client() as three:
                await three.hello()

    asyncio.run(run(ServerSettings(port=0, max_sockets=2)))
    asyncio.run(run(ServerSettings(port=0, max_address_sockets=2)))


async def knock(port: int, origin: str, behind: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Shake hands as a page without a token, with something right behind; nothing that comes is read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = ["GET /v1/realtime HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Origin: {origin}", "Upgrade: websocket"]
    lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: onlooker.v1"]
    lines += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", ""]
    writer.write("\r\n".join(lines).encode() + behind)
    assert behind or (await reader.readline()).split()[1] == b"101"
    return reader, writer


def masked(nbytes: int) -> bytes:
    """Write a binary message of zeros as a client does."""
    return b"\x82\xff" + struct.pack(">Q", nbytes) + bytes(4) + bytes(nbytes)


def test_a_socket_without_a_token_has_nothing_buffered_and_is_soon_cut_off(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served:
            _, writer = await knock(served.server.port, f"http://127.0.0.1:{served.server.port}")
            await served.until(lambda: len(served.server._doorstep) == 1)
            [socket] = list(served.server._doorstep._waiting)
            writer.write(masked(100) + masked(2 << 20))
            await served.until(lambda: not len(served.server._doorstep))  # it never closes: it is cut off
            queued = socket.recv_messages.frames.queue
            assert sum(len(frame.data) for frame in queued) <= 100
            assert socket.protocol.close_code != 1000
            writer.transport.abort()

    asyncio.run(run())


def test_the_first_message_of_a_stranger_is_cut_off_by_its_header_too(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served:
            doorstep, came = served.server._doorstep, []
            arrive = doorstep.arrive
            doorstep.arrive = lambda socket: (came.append(socket), arrive(socket))
            origin = f"http://127.0.0.1:{served.server.port}"
            _, writer = await knock(served.server.port, origin, masked(1 << 20))
            await served.until(lambda: came and not len(doorstep))
            assert not came[0].recv_messages.frames.queue
            writer.transport.abort()

    asyncio.run(run())


def test_connections_that_do_nothing_are_few_and_keep_nobody_out(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model, ServerSettings(port=0, open_s=600.0)) as served, served.client() as owner:
            await owner.hello()
            idle = [await asyncio.open_connection("127.0.0.1", served.server.port) for _ in range(MOST_WAITING + 8)]
            for reader, _ in idle[:8]:  # the oldest are cut off
                async with asyncio.timeout(harness.WAIT_S):
                    with contextlib.suppress(ConnectionError):
                        assert await reader.read() == b""
            assert len(served.server._doorstep) == MOST_WAITING
            assert (await served.get("/health/live"))[0] == 200
            async with served.client() as client:
                await client.hello()
            await owner.send("ping")
            await owner.get("pong")
            for _, writer in idle:
                writer.transport.abort()
            await served.until(lambda: not len(served.server._doorstep))

    asyncio.run(run())


def test_a_client_cannot_use_up_the_marks_of_a_camera(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model, sources={"stage": "theatre:7"}) as served:
            async with served.client() as greedy:
                await greedy.hello(source="stage")
                for number in range(MOST_SHARED_MARKS):
                    await greedy.send("memory.mark", label=f"mark {number}", time_us=number)
                    await greedy.get("memory.marked")
                await greedy.send("memory.mark", label="one more", time_us=0, event_id="m")
                error = await greedy.get("error")
                assert (error["code"], error["event_id"]) == ("busy", "m")
            async with served.client() as other:
                await other.hello(source="stage")
                await other.send("memory.mark", label="mine", time_us=1)
                assert (await other.get("memory.marked"))["label"] == "mine"
            async with served.client() as owner:  # of its own session
                await owner.hello()
                for number in range(MOST_SHARED_MARKS + 1):
                    await owner.send("memory.mark", label=f"mark {number}", time_us=number)
                    await owner.get("memory.marked")

    asyncio.run(run())


def test_pictures_in_flight_are_bounded_over_all_sessions(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, flight_bytes=64 << 10, limits=Limits(max_frame_bytes=64 << 10))
        async with harness.serving(model, settings) as served, served.client() as client:
            await client.hello(frame_reports="each")
            budget = served.server.registry.budget
            assert budget.take(64 << 10)  # as if others held all of it
            await client.socket.send(harness.frame(0))
            assert (await client.get("frame.dropped"))["reason"] == "busy"
            budget.give_back(64 << 10)
            await client.see(1)
            assert budget.nbytes == 0

    asyncio.run(run())


def test_a_first_event_that_does_not_come_ends_the_connection(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, limits=Limits(hello_s=0.2))
        async with harness.serving(model, settings) as served, served.client() as client:
            [error] = await client.rest()
            assert (error["code"], client.ended) == ("hello_timeout", 4001)

    asyncio.run(run())


def test_a_frame_before_the_first_event_is_refused(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            await client.socket.send(harness.frame(0))
            assert (await client.get("error"))["code"] == "invalid_event"
            await client.hello()

    asyncio.run(run())


def test_an_idle_session_is_closed_and_a_busy_one_is_not(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, limits=Limits(idle_s=1.0))
        async with harness.serving(model, settings) as served, served.client() as idle, served.client() as busy:
            await idle.hello()
            await busy.hello(frame_reports="each")

            async def work() -> None:
                while idle.ended is None:
                    await busy.see(1)
                    await asyncio.sleep(0.05)

            working = asyncio.create_task(work())
            told = await idle.rest()
            await working
            assert ([event["code"] for event in told if event["type"] == "error"], idle.ended) == (["idle"], 1000)
            assert [event["reason"] for event in told if event["type"] == "session.closed"] == ["idle"]
            await busy.see(1)
            await served.until(lambda: len(served.server.registry.seats) == 1)

    asyncio.run(run())
