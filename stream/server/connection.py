"""One websocket: what comes over it is carried out, and what is to be told goes out behind one bounded queue."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from websockets.asyncio.server import ServerConnection as Socket
from websockets.exceptions import ConnectionClosed

from ...errors import BusyError, OnlookerError, SettingsError
from ..engine.failures import code_of, message_of
from ..protocol import client_events as asked
from ..protocol import server_events as told
from ..protocol.connection import Close, FrameReceived, Received, Result, Send, ServerConnection, State
from ..protocol.errors import EventError
from ..protocol.picture import read_data_url, read_picture
from . import translation
from .intake import CodedFrame
from .outgoing import Outgoing
from .registry import Registry
from .seat import Seat

MOST_COMMANDS = 64
"""How many events of one socket may wait to be carried out."""

MOST_TRIES = 3
"""How often a session is looked for that is closed each time while its client comes back."""

GRACE_S = 2.0
"""How long a client that did not read has to read why it is thrown out."""

_logger = logging.getLogger(__name__)


class Connection:
    """Drive one socket until it is closed.  For the event loop's thread."""

    def __init__(self, socket: Socket, registry: Registry, model: told.ModelInfo) -> None:
        self._socket, self._registry, self._model = socket, registry, model
        self._settings, self._metrics = registry.settings, registry.metrics
        self._core = ServerConnection(self._settings.limits, time.monotonic())
        self._out = Outgoing(self._settings.outgoing_bytes)
        self._commands: asyncio.Queue[asked.ClientEvent | None] = asyncio.Queue()  # None: no more come
        self._finished = False
        self._seat: Seat | None = None
        self._before: asyncio.Task[None] | None = None
        self._greeting: str | None = None
        self._token = ""
        self._has_token = False
        self._counted: dict[str, int] = {}
        self._throwing_out: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Read until the other side is gone, or is told to go; what was received by then is carried out."""
        self._writing = asyncio.create_task(self._write())
        self._working = asyncio.create_task(self._work())
        try:
            with contextlib.suppress(ConnectionClosed):
                while self._core.state is not State.CLOSED:
                    message = await self._socket.recv()
                    await self._take(message)
                await asyncio.wait([self._writing])  # it says the last words
        finally:
            self._core.disconnected()
            self._detach()
            self._finish()
            ending = [task for task in (self._writing, self._working, self._throwing_out) if task is not None]
            self._writing.cancel()
            await asyncio.wait(ending)

    def send(self, text: str) -> None:
        """Send a message; a client that lets too much pile up is thrown out."""
        self._out.put(text)
        if self._out.full:
            self._throw_out()

    def send_transient(self, event: told.ServerEvent) -> None:
        """Send an event that may be merged with a later one, or left out."""
        self._out.put_transient(event)

    def fail(self, code: str, message: str = "") -> None:
        """End the connection with a fatal error."""
        self._carry_out(self._core.fail(code, message, fatal=True))

    def tick(self, now: float) -> None:
        """Let time pass; about once a second."""
        self._carry_out(self._core.tick(now))
        self.account()

    def account(self) -> None:
        """Count frames that the protocol dropped since the last time."""
        for reason, count in self._core.tally.frames_dropped.items():
            new = count - self._counted.get(reason, 0)
            if new:
                self._counted[reason] = count
                self._metrics.dropped[reason] += new
                if self._seat is not None:
                    self._seat.never[reason] = self._seat.never.get(reason, 0) + new

    async def _take(self, message: str | bytes) -> None:
        now = time.monotonic()
        if isinstance(message, str):
            results = self._core.receive_text(message, now)
        else:
            self._metrics.pictures += 1
            self._metrics.picture_bytes += len(message)
            results = self._core.receive_bytes(message, now)
        if self._seat is not None and self._has_token:
            self._seat.keys.confirm(self._token)
            self._has_token = False  # once is enough
        for result in results:
            match result:
                case Received(event=asked.SessionUpdate() as event, first=True):
                    await self._open(event)
                case Received(event=event):
                    self._receive(event)
                case FrameReceived():
                    self._see(result)
                case _:
                    self._carry_out([result])

    def _carry_out(self, results: Sequence[Result]) -> None:
        for result in results:
            if isinstance(result, Send):
                if isinstance(result.event, told.Error):
                    self._metrics.errors[result.event.code] += 1
                if isinstance(result.event, told.FrameDropped):
                    self.send_transient(result.event)
                else:
                    self.send(told.write(result.event))
            elif isinstance(result, Close):
                self._out.put_close(result)
                self._finish()

    def _finish(self) -> None:
        """Let the work end behind what was received: the client was told, or will be, that it came."""
        if not self._finished:
            self._finished = True
            self._commands.put_nowait(None)

    def _receive(self, event: asked.ClientEvent) -> None:
        """Carry an event out at once, or put it behind those that wait for the device."""
        if isinstance(event, asked.Ping):
            now_us = time.time_ns() // 1000
            self._carry_out([Send(told.Pong(event_id=event.event_id, server_unix_us=now_us))])
        elif isinstance(event, asked.ResponseCancel):
            self._try(event, lambda seat: seat.cancel(event))
        elif self._commands.qsize() < MOST_COMMANDS:
            self._commands.put_nowait(event)
        else:
            error = EventError("busy", f"{MOST_COMMANDS} events wait to be carried out", retry_after_ms=1000)
            self._try(event, lambda seat: seat.refuse(error, event.event_id))

    def _try(self, event: asked.ClientEvent, work: Callable[[Seat], None]) -> None:
        if self._seat is None:
            return
        try:
            work(self._seat)
        except EventError as error:
            self._seat.refuse(error, event.event_id)

    def _see(self, frame: FrameReceived) -> None:
        seat = self._seat
        if seat is not None and seat.intake is not None and not seat.closing:
            seat.touch()
            unix_us = seat.clock.place(frame.header.captured_unix_us)
            gap = frame.header.discontinuity or seat.away
            seat.away = False
            seat.intake.put(CodedFrame(frame.image, frame.header.sequence, unix_us, gap))

    async def _open(self, event: asked.SessionUpdate) -> None:
        """Open or resume the session that the first event asks for."""
        resume = event.resume
        try:
            seat, new, lost, token = await self._find(event)
        except EventError as error:
            self._carry_out(
                self._core.fail(
                    error.code,
                    error.message,
                    remedy=error.remedy,
                    param=error.param,
                    event_id=event.event_id,
                    retry_after_ms=error.retry_after_ms,
                    fatal=True,
                )
            )
            return
        if new and self._socket.close_code is not None:  # nobody waits for it any more, nor could come back
            await self._registry.close(seat, forget=True)
            return
        missed = seat.replay.missed(0 if resume is None else resume.last_seq)
        if seat.link is not None:
            seat.link.fail("session_taken")
        self._seat, seat.link, seat.dismissed, self._token = seat, self, False, token
        self._before, seat.working = seat.working, self._working
        seat.touch()
        seat.update(event)
        self._core.opened(seat.replay, takes_frames=seat.own, locked=seat.saw_frames)
        camera = self._registry.cameras.get(seat.source)
        self._greeting = told.write(
            told.SessionCreated(
                event_id=event.event_id,
                session_id=seat.id,
                resume_token=token,
                resumed=resume is not None,
                gap=resume is not None and (lost or missed.gap),
                source=seat.source,
                model=self._model,
                config=seat.config(),
                limits=told.SessionLimits.of(self._settings.limits),
                origin_unix_us=seat.live.origin_unix_us,
                server_unix_us=time.time_ns() // 1000,
                started_us=None if camera is None else seat.live.stats.now_us,
                last_seq=seat.replay.last_seq,
                received=seat.replay.received if resume is not None else (),
            )
        )
        self.send(self._greeting)
        if resume is not None:
            self._metrics.resumed += 1
            for text in missed.messages:
                self.send(text)
        if camera is not None:
            seat.tell(translation.source_status(camera.name, camera.status))

    async def _find(self, event: asked.SessionUpdate) -> tuple[Seat, bool, bool, str]:
        """Give the seat, whether it is new, whether the events of an earlier life of it are lost, and its new token."""
        resume = event.resume
        if resume is not None and event.settings is not None:
            raise EventError("settings_locked", "a resumed session keeps its settings", param="settings")
        for _ in range(MOST_TRIES):
            if resume is None:
                seat, revived = await self._registry.open(event), False
            else:
                seat, revived = await self._registry.resume(resume)
                if event.source is not None and event.source != seat.source:
                    raise EventError("invalid_event", f"the session's source is {seat.source}", param="source")
            token = await self._registry.renew(seat)
            if self._registry.seats.get(seat.id) is seat:  # else it was closed while its ticket was written
                return seat, resume is None, revived, token
        raise EventError("busy", "the session was being closed", retry_after_ms=1000)

    async def _work(self) -> None:
        """Carry events out, one after the other."""
        while (event := await self._commands.get()) is not None:
            if self._before is not None:  # what came over the socket before comes first
                await asyncio.wait([self._before])
                self._before = None
            seat = self._seat
            if seat is None or seat.closing:
                continue
            try:
                await self._do(seat, event)
            except EventError as error:
                seat.refuse(error, event.event_id)
            except BusyError as error:
                seat.refuse(EventError("busy", str(error)), event.event_id)
            except SettingsError as error:
                seat.refuse(EventError("invalid_event", str(error)), event.event_id)
            except OnlookerError as error:
                seat.refuse(EventError(code_of(error), message_of(error)), event.event_id)
            except Exception as error:  # noqa: BLE001 - the server must go on; message_of() logs it
                seat.refuse(EventError("internal", message_of(error)), event.event_id)
            if seat.closed and seat.link is not None:  # who came back meanwhile
                seat.link.fail("session_expired")

    async def _do(self, seat: Seat, event: asked.ClientEvent) -> None:
        match event:
            case asked.SessionUpdate():
                if event.settings is not None:
                    await self._registry.change(seat, event.settings)
                seat.update(event)
                seat.tell(told.SessionUpdated(event_id=event.event_id, config=seat.config()))
            case asked.SourceList():
                seat.tell(self._sources(event))
            case asked.ConversationItemCreate():
                self._lay_down(seat, event)
            case asked.ResponseCreate():
                if seat.intake is not None:
                    await seat.intake.settled()  # what was sent before the question counts
                seat.ask(event)
            case asked.WatchCreate():
                await seat.watch(event)
            case asked.WatchDelete():
                await seat.unwatch(event)
            case asked.WatchList():
                seat.tell(told.WatchListed(event_id=event.event_id, watches=tuple(seat.watches.values())))
            case asked.MemoryGet():
                state = await asyncio.to_thread(seat.live.memory)
                seat.tell(translation.memory_state(state, event.event_id))
            case asked.MemoryMark():
                mark = await seat.mark(event.label, event.time_us)
                seat.tell(told.MemoryMarked(event_id=event.event_id, label=mark.label, time_us=mark.time_us))
            case asked.MemoryClear():
                await self._clear(seat, event)
            case asked.SessionClose():
                figures = told.Stats(**seat.stats(None))  # type: ignore[arg-type]  # they are its fields
                await self._registry.close(seat, forget=event.forget)
                seat.tell(told.SessionClosed(event_id=event.event_id, reason="closed", stats=figures))
                self._carry_out(self._core.close(1000, "closed"))

    async def _clear(self, seat: Seat, event: asked.MemoryClear) -> None:
        if seat.intake is not None:
            await seat.intake.settled()

        def forget() -> int:
            return seat.live.forget(event.since_us, event.until_us, everything=event.everything)

        count = await asyncio.to_thread(forget)
        seat.images.clear()  # some of them may show what is to be forgotten
        seat.tell(told.MemoryCleared(event_id=event.event_id, keyframes=count))

    def _sources(self, event: asked.SourceList) -> told.SourceListed:
        listed = [
            told.ListedSource(name=name, state=camera.status.state, reason=camera.status.reason)
            for name, camera in self._registry.cameras.items()
        ]
        return told.SourceListed(event_id=event.event_id, sources=tuple(listed))

    def _lay_down(self, seat: Seat, event: asked.ConversationItemCreate) -> None:
        """Keep a message's text for the next response.create, and see its pictures now."""
        texts, images = [], []
        for part in event.item.content:
            if isinstance(part, asked.InputText):
                texts.append(part.text)
                continue
            if seat.intake is None:
                raise EventError("source_read_only", f"{seat.source} takes no pictures", param="item.content")
            limits = self._settings.limits
            image = read_data_url(part.image_url, limits.max_frame_bytes)
            if read_picture(image).pixels > limits.max_pixels:
                raise EventError("frame_too_big", f"the picture has over {limits.max_pixels} pixels", param="image_url")
            images.append(image)
        for image in images:
            assert seat.intake is not None
            self._metrics.pictures += 1
            self._metrics.picture_bytes += len(image)
            seat.intake.put(CodedFrame(memoryview(image), 0, time.time_ns() // 1000))
        if texts:
            seat.laid_down = "\n".join(texts)
        item_id = f"item_{seat.replay.last_seq + 1}"
        seat.tell(told.ConversationItemAdded(event_id=event.event_id, item_id=item_id))

    async def _write(self) -> None:
        """Send what waits, until there is a close among it."""
        try:
            while True:
                waiting = await self._out.get()
                if isinstance(waiting, Close):
                    await self._leave(waiting)
                    return
                async with asyncio.timeout(self._settings.slow_reader_s):
                    await self._socket.send(waiting)
                    if waiting is self._greeting:
                        pong = asyncio.ensure_future(await self._socket.ping())
                        pong.add_done_callback(self._hear_pong)
        except TimeoutError:
            self._throw_out()
        except ConnectionClosed:
            pass

    def _hear_pong(self, pong: asyncio.Future[float]) -> None:
        """Note that session.created was read, as the ping behind it was; the next message comes from who has it."""
        self._has_token = not pong.cancelled() and pong.exception() is None

    def _throw_out(self) -> None:
        if self._throwing_out is None:
            self._throwing_out = asyncio.create_task(self._end_slow_reader())

    async def _end_slow_reader(self) -> None:
        """Close a socket that nobody reads: what waits is in the replay, for when the client comes back."""
        if self._writing is not None:
            self._writing.cancel()
        self._out.clear()
        self._detach()
        self._finish()
        self._metrics.errors["slow_reader"] += 1
        for result in self._core.fail("slow_reader", f"nothing was read for {self._settings.slow_reader_s:g} s"):
            try:
                async with asyncio.timeout(GRACE_S):
                    if isinstance(result, Send):
                        await self._socket.send(told.write(result.event))
                    elif isinstance(result, Close):
                        await self._leave(result)
            except TimeoutError:
                pass
            except ConnectionClosed:
                return

    async def _leave(self, close: Close) -> None:
        try:
            async with asyncio.timeout(GRACE_S):
                await self._socket.close(close.code, close.reason)
        except TimeoutError:
            self._socket.transport.abort()

    def _detach(self) -> None:
        self.account()
        seat = self._seat
        if seat is not None and seat.link is self:
            seat.link, seat.left, seat.away = None, time.monotonic(), True
