"""What the page's tests and screenshots stand on: a server with pocket, a wire that can be cut, a clip, Chromium.

Tests reach this through the fixture `house`; page_screenshots.py imports it.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import cv2

import onlooker
from onlooker.stream.engine.engine import Engine
from onlooker.stream.server.cameras import Camera
from onlooker.stream.server.server import Server
from onlooker.stream.server.settings import ServerSettings
from onlooker.theatre.show import Show

TOKEN = "a-token-for-the-page-only"
WAIT_MS = 60_000  # far more than anything takes
CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium")

SEED, SPEED, CLIP_FPS = 0, 2, 8
"""The camera shows 48 s of this stream at double speed, again and again: a pencil at the bottom on orange from 2.5 to
5.8 s, a flower beside a monkey from 10.2 to 14.0 s, a snail that moves from 18.4 to 21.6 s, and common sprites."""

T = TypeVar("T")


def write_clip(path: Path) -> Path:
    """Write the theatre as raw video, which Chromium plays as its camera (it loops)."""
    show = Show(SEED, 48.0)
    moments = range(0, show.end_us, SPEED * 1_000_000 // CLIP_FPS)
    with path.open("wb") as out:
        out.write(b"YUV4MPEG2 W224 H224 F%d:1 Ip A1:1 C420jpeg\n" % CLIP_FPS)
        for frame in show.frames_at(iter(moments)):
            out.write(b"FRAME\n" + cv2.cvtColor(frame.image, cv2.COLOR_RGB2YUV_I420).tobytes())
    return path


class Wire:
    """Pass bytes between browser and server; cut() breaks every connection and refuses new ones, until mend()."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._passing: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.Server | None = None
        self.port = 0

    async def mend(self) -> None:
        """Listen, on the same port as before."""
        self._listening = await asyncio.start_server(self._take, "127.0.0.1", self.port, reuse_address=True)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break everything, without a farewell."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for writer in tuple(self._passing):
            writer.transport.abort()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._passing.add(writer)
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(1 << 16):
                    writer.write(data)
                    await writer.drain()
        finally:
            self._passing.discard(writer)
            with contextlib.suppress(OSError):
                writer.close()


class House:
    """Run a server with pocket, and the wire before it, on an event loop in a thread of its own."""

    def __init__(self, sources: dict[str, str] | None = None) -> None:
        self._sources = sources or {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="page-house", daemon=True)
        self._thread.start()
        self.server, self.wire = self._run(self._open())

    @property
    def url(self) -> str:
        """The page's address, with the token."""
        return f"{self.bare_url}#token={TOKEN}"

    @property
    def bare_url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.wire.port}/"

    @property
    def sessions(self) -> int:
        """How many sessions the server has."""
        return len(self.server.registry.seats)

    def cut(self) -> None:
        """Take the network away."""
        self._run(self.wire.cut())

    def mend(self) -> None:
        """Give the network back."""
        self._run(self.wire.mend())

    def close(self) -> None:
        """End all of it."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_MS / 1e3)

    async def _open(self) -> tuple[Server, Wire]:
        engine = Engine(await asyncio.to_thread(onlooker.load, "pocket"))
        settings = onlooker.Settings()
        cameras = {
            name: Camera(name, spec, engine, settings, fps=4.0, memory=None) for name, spec in self._sources.items()
        }
        server = Server(engine, ServerSettings(port=0), TOKEN, cameras=cameras)
        await server.start()
        wire = Wire(server.port)
        await wire.mend()
        return server, wire

    async def _close(self) -> None:
        await self.server.stop()
        await self.wire.cut()


@contextlib.contextmanager
def chromium(clip: Path) -> Iterator[Any]:
    """Start the system's Chromium with the clip as its camera.  Raises RuntimeError where there is none."""
    from playwright.sync_api import sync_playwright

    found = next((path for path in CHROMIUM if Path(path).exists()), None)
    if found is None:
        raise RuntimeError("there is no Chromium; install Debian's package chromium")
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=found,
            args=[
                "--no-sandbox",  # it does not start as root otherwise
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-video-capture={clip}",
                "--autoplay-policy=no-user-gesture-required",
            ],
        )
        try:
            yield browser
        finally:
            browser.close()
