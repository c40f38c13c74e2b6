"""The server: it listens, lets in who may, keeps time, and goes away without losing what was seen."""

import asyncio
import logging
import os
import socket as sockets
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from weakref import WeakKeyDictionary

from websockets.asyncio.server import Server as WebsocketServer
from websockets.asyncio.server import ServerConnection as Socket
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from ...errors import OnlookerError
from ...settings import Settings
from ..engine.engine import Engine
from ..engine.live_session import LiveSession
from ..protocol import server_events as told
from ..protocol.errors import ERRORS, EventError
from ..protocol.frame_header import HEADER_BYTES
from . import metrics, tls
from .auth import Guard
from .cameras import Camera
from .connection import Connection
from .doorstep import Doorstep
from .folders import MemoryFolders
from .listening import bind
from .metrics import Gauges, ServerMetrics
from .origins import OriginPolicy
from .registry import Registry
from .routes import SUBPROTOCOL, Admission, Answers, Caller, Routes, page_files, secure
from .settings import KIB, ServerSettings
from .warmup import warm_up

TICK_S = 0.25
STATS_S = 1.0
SWEEP_S = 60.0
CLOSE_S = 3.0
DRAIN_S = 5.0
"""How long answers may go on when the server was told to end."""

SPARE = 0.1
"""Share of the time to end that is left when sessions of clients have stopped waiting for the device."""

SLACK_BYTES = 64 * KIB
"""A message that is over the limits by less is answered with an error; one by more is cut off by its header."""

REFUSED_BYTES = KIB
"""Longest message of a socket that is only told why it may not in."""

TURN_AWAY_S = 0.5
"""How long such a socket has to take that in."""

MOST_QUEUED = 4
"""Messages of one socket that wait to be looked at."""

_logger = logging.getLogger(__name__)
_socket_logger = logging.getLogger(f"{__name__}.socket")


class Server:
    """Serve an engine's sessions over websockets, with the page and what else is answered beside it.

    kept: how own sessions keep their streams where a client says nothing.  cameras: declared sources, by name; they are
    closed with the server, and so is the engine.  bound: a socket of bind()'s; made from the settings where there is
    none.  Start it and end it on one event loop.
    Raises SettingsError for settings that would be unsafe, or files that cannot be used.
    """

    def __init__(
        self,
        engine: Engine,
        settings: ServerSettings,
        token: str,
        *,
        kept: Settings | None = None,
        cameras: Mapping[str, Camera] | None = None,
        bound: sockets.socket | None = None,
    ) -> None:
        tls.check_binding(settings.host, settings.port, tls=settings.secure, insecure=settings.insecure_plain_http)
        self.engine, self.settings, self.cameras = engine, settings, dict(cameras or {})
        self._tls = None if settings.tls_cert is None else tls.ssl_context(settings.tls_cert, settings.tls_key)
        folders = None
        if settings.memory is not None:
            folders = MemoryFolders(settings.memory, settings.memory_ttl_s, settings.max_memories)
            folders.prepare()
        self._policy = OriginPolicy.of(
            settings.host, settings.allow_hosts, settings.allow_origins, secure=settings.secure
        )
        self._bound = bound or bind(settings)
        self.metrics = ServerMetrics()
        self._guard = Guard(token)
        self._kept, self._folders = kept or Settings(), folders
        self._model = told.ModelInfo(
            name=shown_name(engine.model.name), calibrated=bool(engine.model.backbone.card.retrieval_heads)
        )
        self._began_unix_s = int(time.time())
        self._admissions: WeakKeyDictionary[Socket, Admission] = WeakKeyDictionary()
        self._doorstep = Doorstep()
        self._connections: set[Connection] = set()
        self._addresses: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        self._listening: WebsocketServer | None = None
        self._ready = self._ending = self._hung = False
        self.registry: Registry

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._bound.getsockname()[1]
        return port

    @property
    def ready(self) -> bool:
        """Whether questions can be answered."""
        return self._ready and not self._ending

    @property
    def hung(self) -> bool:
        """Whether something did not end when the server did: threads that may never return are left behind."""
        return self._hung

    @property
    def routes(self) -> Routes:
        """What is answered, and who is let through."""
        answers = Answers(
            ready=lambda: self.ready,
            models=self._models,
            metrics=self._metrics_page if self.settings.metrics else None,
            image=self.registry.image,
            room=self._room,
        )
        return Routes(self._guard, self._policy, answers, page_files())

    async def start(self) -> None:
        """Listen, and answer a question; it is ready when this returns.  Raises ModelError where the model fails."""
        self.registry = Registry(self.engine, self.settings, self._kept, self.cameras, self._folders, self.metrics)
        _socket_logger.setLevel(logging.WARNING)  # at DEBUG it would write tokens down, and at INFO every request
        routes, settings, limits = self.routes, self.settings, self.settings.limits
        largest = max(limits.max_frame_bytes + HEADER_BYTES, limits.message_bytes) + SLACK_BYTES

        def answer(socket: Socket, request: Request) -> Response | None:
            decided = routes.serve(request, _caller(socket))
            if isinstance(decided, Admission):
                self._admissions[socket] = decided
                socket.protocol.max_message_size = largest if decided.verdict == "passed" else REFUSED_BYTES
                return None
            return decided

        def finish(_socket: Socket, _request: Request, response: Response) -> None:
            if response.status_code != 101:
                secure(response)

        self._listening = await serve(
            self._handle,
            sock=self._bound,
            ssl=self._tls,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,  # pictures gain nothing, and nothing that is sent small becomes large
            process_request=answer,
            process_response=finish,
            server_header=None,
            open_timeout=settings.open_s,
            ping_interval=settings.ping_s,
            ping_timeout=settings.ping_s,
            close_timeout=CLOSE_S,
            max_size=limits.message_bytes + SLACK_BYTES,  # of the first message; it is settled before anyone is let in
            create_connection=self._doorstep.sockets(),
            max_queue=MOST_QUEUED,
            logger=_socket_logger,
        )
        loop = asyncio.get_running_loop()
        for camera in self.cameras.values():
            camera.start(loop)
        await asyncio.to_thread(warm_up, self.engine)
        await self.registry.sweep()
        self._tasks = [
            asyncio.create_task(self._again(self._pulse, TICK_S)),
            asyncio.create_task(self._again(self._publish, STATS_S)),
            asyncio.create_task(self._again(self._close_left, TICK_S)),
            asyncio.create_task(self._again(self.registry.sweep, SWEEP_S)),
        ]
        self._ready = True

    async def stop(self, reason: str = "the server is shutting down") -> None:
        """Tell everyone, let answers end, save memories, close all; within shutdown_s, then it leaves what is left."""
        if self._ending:
            return
        self._ending = True
        deadline = time.monotonic() + self.settings.shutdown_s
        if self._listening is not None:
            self._listening.close(close_connections=False)
        for seat in tuple(self.registry.seats.values()):
            seat.tell(told.SessionGoingAway(reason=reason, deadline_ms=round(self.settings.shutdown_s * 1e3)))
        await self._drain(min(DRAIN_S, self.settings.shutdown_s / 3))
        for connection in tuple(self._connections):
            connection.fail("going_away", reason)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        try:
            # One after the other, each whatever became of the one before: the last saves what the cameras saw.
            await self._within(deadline, self.registry.close_all(deadline - SPARE * self.settings.shutdown_s))
            left_s = max(0.1, deadline - time.monotonic())
            await self._within(None, asyncio.to_thread(self.engine.close, left_s))
            if self._listening is not None:
                self._listening.close()
                await self._within(max(deadline, time.monotonic() + CLOSE_S), self._listening.wait_closed())
        finally:
            await self._close_cameras()
            self._bound.close()

    async def _within(self, deadline: float | None, work: Awaitable[object]) -> None:
        """Wait for a part of stopping until a moment by time.monotonic(); what fails or hangs is logged."""
        try:
            async with asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic())):
                await work
        except TimeoutError as error:
            self._hung = True
            more = f" ({error})" if str(error) else ""
            _logger.error("not everything ended within %g s%s", self.settings.shutdown_s, more)
        except OnlookerError as error:
            _logger.error("%s", error)

    async def _close_cameras(self) -> None:
        """Stop the sources; without the loop's own threads, which may all hang."""
        closing = [threading.Thread(target=camera.source.close, daemon=True) for camera in self.cameras.values()]
        for thread in closing:
            thread.start()
        while any(thread.is_alive() for thread in closing):  # each waits a bounded time
            await asyncio.sleep(0.01)

    async def _drain(self, timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        while any(seat.questions for seat in self.registry.seats.values()) and time.monotonic() < end:
            await asyncio.sleep(0.02)

    async def _handle(self, socket: Socket) -> None:
        """Serve one socket that passed, or tell it why it did not."""
        admission = self._admissions.pop(socket, Admission("missing"))
        address = _caller(socket).address
        crowded = self._room(address)
        if admission.verdict != "passed" or crowded is not None:
            await self._turn_away(socket, admission, crowded)
            return
        self._doorstep.leave(socket)
        connection = Connection(socket, self.registry, self._model)
        self._connections.add(connection)
        self._addresses[address] += 1
        self.metrics.sockets += 1
        self.metrics.sockets_opened += 1
        try:
            await connection.run()
        finally:
            self.metrics.sockets -= 1
            self._connections.discard(connection)
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]
            self.metrics.count_close(socket.close_code)

    async def _turn_away(self, socket: Socket, admission: Admission, crowded: str | None) -> None:
        if admission.verdict == "passed":
            code, message, wait_ms = "too_many_sessions", crowded or "", 10_000
        else:
            code, wait_ms = "not_authorized", admission.retry_s * 1000
            message = {
                "missing": "no token came with the connection",
                "wrong": "the token is wrong",
                "locked": f"there were too many wrong tokens; try again in {admission.retry_s} s",
            }.get(admission.verdict, "")
        error = told.Error.of(code, message, retry_after_ms=wait_ms or None, fatal=True)
        self.metrics.errors[code] += 1
        try:
            async with asyncio.timeout(TURN_AWAY_S):
                await socket.send(told.write(error))
                await socket.close(ERRORS[code].close, code)
        except (TimeoutError, ConnectionClosed):
            pass
        finally:
            socket.transport.abort()  # it would be waited for far longer than it deserves

    def _room(self, address: str) -> str | None:
        """Say why a websocket cannot be had now."""
        settings = self.settings
        if not self.ready:
            return "the server is shutting down" if self._ending else "the model is warming up"
        if len(self._connections) >= settings.max_sockets:
            return f"{settings.max_sockets} connections are open, which is the limit"
        if self._addresses[address] >= settings.max_address_sockets:
            return f"{settings.max_address_sockets} connections from {address} are open, which is the limit"
        return None

    async def _again(self, work: Callable[[], Awaitable[None]], every_s: float) -> None:
        """Do something again and again; what goes wrong once does not end it."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await work()
            except (OnlookerError, EventError, OSError, RuntimeError, ValueError, KeyError):
                _logger.exception("upkeep failed")

    async def _pulse(self) -> None:
        now = time.monotonic()
        for connection in tuple(self._connections):
            connection.tick(now)
        limits = self.settings.limits
        for seat in tuple(self.registry.seats.values()):
            if seat.link is not None and seat.idle_s(now) > limits.idle_s:
                if self._folders is None or not seat.own:  # else its client may come back to what is on disk
                    figures = told.Stats(**seat.stats(None))  # type: ignore[arg-type]  # they are its fields
                    seat.tell(told.SessionClosed(reason="idle", stats=figures))
                seat.link.fail("idle", f"nothing happened for {limits.idle_s:g} s")
                seat.dismissed = True

    async def _close_left(self) -> None:
        await self.registry.expire(time.monotonic())

    async def _publish(self) -> None:
        """Tell figures to whoever asked for them, and keep the books of frame ages."""
        now = time.monotonic()
        for seat in tuple(self.registry.seats.values()):
            held = seat.live.stats
            seat.pacer.update(now, held.taken, held.dropped.get("busy", 0))
            if held.age_us is not None and seat.own:
                self.metrics.frame_age.observe(held.age_us / 1e6)
            if seat.link is not None and seat.wishes.stats:
                camera = self.cameras.get(seat.source)
                seat.whisper(told.SessionStats(**seat.stats(None if camera is None else camera.status)))  # type: ignore[arg-type]
        for camera in self.cameras.values():
            age_us = camera.live.stats.age_us
            if age_us is not None:
                self.metrics.frame_age.observe(age_us / 1e6)

    def _models(self) -> list[dict[str, object]]:
        return [
            {
                "id": self._model.name,
                "object": "model",
                "created": self._began_unix_s,
                "owned_by": "onlooker",
                "calibrated": self._model.calibrated,
            }
        ]

    def _metrics_page(self) -> bytes:
        from importlib.metadata import PackageNotFoundError, version

        try:
            release = version("onlooker")
        except PackageNotFoundError:
            release = "unknown"
        seats = self.registry.seats.values()
        lives: set[LiveSession] = {seat.live for seat in seats} | {camera.live for camera in self.cameras.values()}
        held = [live.stats for live in lives]
        gauges = Gauges(
            own_sessions=len(self.registry.own),
            shared_sessions=len(seats) - len(self.registry.own),
            memory_bytes=sum(one.used_bytes for one in held),
            disk_bytes=sum(one.disk_bytes for one in held),
            flight_bytes=self.registry.budget.nbytes,
            image_bytes=sum(seat.images.nbytes for seat in seats),
            refused=self._guard.refused,
            ready=self.ready,
            resident_bytes=_resident_bytes(),
        )
        statuses = {name: camera.status for name, camera in self.cameras.items()}
        return metrics.page(self.metrics, self.engine.report, gauges, statuses, release, self._model.name)


def shown_name(model: str) -> str:
    """Give a model's name for strangers: a folder's last name, not where it lies."""
    return Path(model).name if model.startswith(("/", ".", "~")) else model


def _caller(socket: Socket) -> Caller:
    remote, local = socket.remote_address, socket.local_address
    return Caller(str(remote[0]) if remote else "", str(local[0]) if local else "")


def _resident_bytes() -> int:
    """Give the resident memory of this process; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
