"""A live load: simulated cameras that push frames to a server, and clients that ask it questions."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from websockets.asyncio.client import ClientConnection as Socket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from ..errors import ProtocolError
from ..stream.protocol import client_events, server_events
from ..stream.protocol.client_connection import ClientConnection
from ..stream.protocol.frame_header import FrameHeader
from ..theatre.questions import Question
from ..theatre.show import Show

THINK_S = 1.0
"""How long a client waits between an answer and its next question."""

LATE_S = 60.0
"""A question that has no answer after so long counts as lost."""

ACT_S = 600.0
MARGIN_US = 30_000_000
"""A client asks about what was over so long ago: it does not know exactly when a camera's show began."""


@dataclass(slots=True)
class LoadTally:
    """Count what cameras and clients saw.

    sent: frames.  dropped: frames that the server reported as dropped, by reason.  lost: questions without an answer.
    first_ms, whole_ms: from a question's sending to its first words, and to its end.
    """

    sent: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    right: int = 0
    judged: int = 0
    first_ms: list[float] = field(default_factory=list)
    whole_ms: list[float] = field(default_factory=list)
    broken: int = 0


class LiveLoad:
    """Run cameras and clients against a server until an event is set.

    url: ws://host:port/v1/realtime.  shows: of the declared cameras, by name.  began: by time.monotonic(), when those
    began.
    """

    def __init__(self, url: str, token: str, shows: dict[str, Show], began: float) -> None:
        self.url, self.token, self.shows, self.began = url, token, shows, began
        self.tally = LoadTally()
        self._stop = asyncio.Event()

    async def run(self, seconds: float, cameras: int, clients: int, on_second: Callable[[float], None]) -> None:
        """Let cameras and clients run for so long."""
        names = list(self.shows)
        tasks = [asyncio.create_task(self.camera(1000 + number)) for number in range(cameras)]
        tasks += [asyncio.create_task(self.client(names[number % len(names)], number)) for number in range(clients)]
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            await asyncio.to_thread(on_second, seconds - left)
            await asyncio.sleep(min(1.0, left))
        self._stop.set()
        await asyncio.gather(*tasks)

    async def camera(self, seed: int) -> None:
        """Push a frame a second of a show, as a browser would."""
        core = ClientConnection(client_events.SessionUpdate(stats=False))
        show, started = Show(seed, ACT_S), time.monotonic()
        await asyncio.sleep(seed % 100 / 100.0)  # not all in the same moment
        async with self._connected() as socket:
            await socket.send(core.connect())
            reader = asyncio.create_task(self._read_camera(socket, core))
            for seq, picture in enumerate(_pictures(show)):
                due = started + seq
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if self._stop.is_set():
                    break
                try:
                    await socket.send(FrameHeader(seq, time.time_ns() // 1000).pack() + picture)
                except ConnectionClosed:
                    self.tally.broken += 1
                    break
                self.tally.sent += 1
            await asyncio.sleep(1.5)  # what was dropped is told once a second
            reader.cancel()

    async def client(self, camera: str, number: int) -> None:
        """Ask a declared camera one question after the other, about what it showed."""
        core = ClientConnection(client_events.SessionUpdate(source=camera))
        rng = np.random.default_rng([7, number])
        async with self._connected() as socket:
            await socket.send(core.connect())
            while not self._stop.is_set():
                asked = self._question(self.shows[camera], rng)
                if asked is not None:
                    try:
                        await asyncio.wait_for(self._ask(socket, core, asked), LATE_S)
                    except TimeoutError:
                        self.tally.lost += 1
                    except (ConnectionClosed, ProtocolError):
                        self.tally.lost += 1
                        self.tally.broken += 1
                        return
                await asyncio.sleep(THINK_S)

    def _question(self, show: Show, rng: np.random.Generator) -> Question | None:
        """Choose a question about a past event of the show that is on."""
        now_us = round((time.monotonic() - self.began) * 1e6) - MARGIN_US
        found = [one for one in show.questions(max(0, now_us)) if one.kind not in ("when", "order") and one.spans_us]
        return found[int(rng.integers(len(found)))] if found else None

    async def _ask(self, socket: Socket, core: ClientConnection, asked: Question) -> None:
        began, first = time.perf_counter(), 0.0
        self.tally.asked += 1
        request = f"q{self.tally.asked}"
        response = ""
        await socket.send(core.send(client_events.ResponseCreate(question=asked.text, event_id=request)))
        while True:
            event = core.receive(str(await socket.recv())).event
            if isinstance(event, server_events.ResponseCreated) and event.event_id == request:
                response = event.response_id
            elif isinstance(event, server_events.ResponseOutputTextDelta) and event.response_id == response:
                first = first or time.perf_counter()
            elif isinstance(event, server_events.ResponseDone) and event.response_id == response:
                self._count(event, asked, first - began, time.perf_counter() - began)
                return
            elif isinstance(event, server_events.Error) and event.event_id == request:
                self.tally.failed[event.code] += 1
                return

    def _count(self, event: server_events.ResponseDone, asked: Question, first_s: float, whole_s: float) -> None:
        if event.status not in ("completed", "incomplete"):
            self.tally.failed[event.error.code if event.error else event.status] += 1
            return
        self.tally.answered += 1
        self.tally.judged += 1
        self.tally.right += asked.accepts(event.text)
        self.tally.first_ms.append(first_s * 1e3)
        self.tally.whole_ms.append(whole_s * 1e3)

    async def _read_camera(self, socket: Socket, core: ClientConnection) -> None:
        try:
            async for message in socket:
                event = core.receive(str(message)).event
                if isinstance(event, server_events.FrameDropped):
                    self.tally.dropped[event.reason] += event.count
        except ConnectionClosed:
            self.tally.broken += not self._stop.is_set()

    def _connected(self) -> connect:
        headers = {"Authorization": f"Bearer {self.token}"}
        return connect(
            self.url,
            subprotocols=[Subprotocol("onlooker.v1")],
            additional_headers=headers,
            compression=None,
            max_size=1 << 22,
        )


def _pictures(show: Show) -> Iterator[bytes]:
    """Draw a show a frame a second, over and over, as JPEG."""
    while True:
        for frame in show.frames(1.0):
            done, data = cv2.imencode(".jpg", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
            assert done
            yield data.tobytes()
