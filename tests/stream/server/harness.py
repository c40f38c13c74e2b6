"""A server on a port of its own, and a client that speaks to it in plain JSON.

Tests reach this through the fixture `harness`.
"""

import asyncio
import contextlib
import http.client
import io
import json
import struct
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import numpy as np
from PIL import Image
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from onlooker.model import Model
from onlooker.settings import Settings
from onlooker.stream.engine.engine import Engine
from onlooker.stream.engine.settings import EngineSettings
from onlooker.stream.server.cameras import Camera
from onlooker.stream.server.server import Server
from onlooker.stream.server.settings import ServerSettings

TOKEN = "a-token-for-tests-only"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
WAIT_S = 60.0  # far more than anything takes


def jpeg(shade: int = 0, side: int = 42) -> bytes:
    """Draw a small picture; different shades differ everywhere."""
    pixels = np.random.default_rng(shade).integers(0, 255, (side, side, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def frame(sequence: int, image: bytes | None = None, captured_unix_us: int | None = None) -> bytes:
    """Put the header before a picture."""
    captured = time.time_ns() // 1000 if captured_unix_us is None else captured_unix_us
    return struct.pack("<BBHIqII", 1, 1, 0, sequence, captured, 0, 0) + (jpeg(sequence) if image is None else image)


class Client:
    """Speak to a server; what comes is kept until it is asked for."""

    def __init__(self, socket: ClientConnection, served: "Served") -> None:
        self.socket, self.served = socket, served
        self.created: dict[str, Any] = {}
        self.heard: list[dict[str, Any]] = []
        self.sequence = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()

    async def send(self, kind: str, **fields: Any) -> None:
        """Send an event."""
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def get(self, *kinds: str, code: str | None = None) -> dict[str, Any]:
        """Wait for the next event of one of these types, and give it."""
        async with asyncio.timeout(WAIT_S):
            while True:
                event: dict[str, Any] = json.loads(await self.socket.recv())
                self.heard.append(event)
                if event["type"] in kinds and (code is None or event.get("code") == code):
                    return event

    async def rest(self) -> list[dict[str, Any]]:
        """Read until the server closes, and give what came."""
        found = []
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    found.append(json.loads(await self.socket.recv()))
        return found

    @property
    def ended(self) -> int | None:
        """The code that the socket was closed with."""
        return self.socket.close_code

    async def hello(self, **fields: Any) -> dict[str, Any]:
        """Open or resume a session."""
        await self.send("session.update", **fields)
        self.created = await self.get("session.created")
        return self.created

    def way_back(self, last_seq: int = 0) -> dict[str, Any]:
        """Give the resume of the session."""
        return {
            "session_id": self.created["session_id"],
            "token": self.created["resume_token"],
            "last_seq": last_seq,
        }

    async def see(self, count: int = 1) -> None:
        """Push frames, each when the one before was taken in."""
        seat = self.served.server.registry.seats[self.created["session_id"]]
        for _ in range(count):
            await self.socket.send(frame(self.sequence))
            self.sequence += 1
            await self.get("frame.accepted")
            await self.served.until(lambda: seat.live.stats.waiting == 0)

    async def ask(self, question: str = "what is the red ball ?", **fields: Any) -> dict[str, Any]:
        """Ask, and give the response.done."""
        await self.send("response.create", question=question, **fields)
        return await self.get("response.done")


class Served:
    """Hold a server that runs, and the engine behind it."""

    def __init__(self, server: Server, engine: Engine) -> None:
        self.server, self.engine = server, engine

    def client(
        self, headers: Mapping[str, str] | None = None, **options: Any
    ) -> "contextlib.AbstractAsyncContextManager[Client]":
        """Connect."""

        @contextlib.asynccontextmanager
        async def opened() -> AsyncIterator[Client]:
            more = {"compression": None, "proxy": None, "max_size": None, "ping_interval": None, **options}
            more.setdefault("subprotocols", [Subprotocol("onlooker.v1")])
            secure = self.server.settings.secure
            scheme = "wss" if secure else "ws"
            async with connect(
                f"{scheme}://127.0.0.1:{self.server.port}/v1/realtime",
                additional_headers=BEARER if headers is None else headers,
                user_agent_header=None,
                **more,
            ) as socket:
                yield Client(socket, self)

        return opened()

    async def get(
        self, path: str, method: str = "GET", headers: Mapping[str, str] = BEARER
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask over plain HTTP; give status, headers and body."""

        def ask() -> tuple[int, dict[str, str], bytes]:
            wire = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=WAIT_S)
            try:
                wire.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
                for name, value in headers.items():
                    wire.putheader(name, value)
                wire.endheaders()
                answer = wire.getresponse()
                return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
            finally:
                wire.close()

        return await asyncio.to_thread(ask)

    async def until(self, condition: Any) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await asyncio.sleep(0.01)

    async def gone(self) -> None:
        """Wait until no session is left, and check that none left anything behind."""
        registry = self.server.registry
        await self.until(lambda: not registry.seats and not registry.closing)
        await asyncio.to_thread(self.engine.check_integrity)


@contextlib.asynccontextmanager
async def serving(
    model: Model,
    settings: ServerSettings | None = None,
    *,
    kept: Settings | None = None,
    sources: Mapping[str, str] | None = None,
    engine_settings: EngineSettings | None = None,
) -> AsyncIterator[Served]:
    """Run a server on a port that the system chooses."""
    settings = settings or ServerSettings(port=0)
    kept = kept or Settings(keyframes="all", chunk_frames=2, window_frames=2, recent_frames=2)
    engine = Engine(model, engine_settings)
    cameras = {name: Camera(name, spec, engine, kept, fps=4.0, memory=None) for name, spec in (sources or {}).items()}
    server = Server(engine, settings, TOKEN, kept=kept, cameras=cameras)
    try:
        await server.start()
        yield Served(server, engine)
    finally:
        await server.stop()
