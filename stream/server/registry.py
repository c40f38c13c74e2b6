"""All seats: opening, resuming, closing and expiring them, in memory and on disk."""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from ...errors import BusyError, OnlookerError, SettingsError, StorageError
from ...settings import Settings
from ..engine.engine import Engine
from ..engine.live_session import LiveSession
from ..protocol import client_events as asked
from ..protocol.errors import EventError
from ..protocol.replay import Replay
from .cameras import Camera
from .folders import MemoryFolders, Ticket, new_session_id
from .intake import FlightBudget, Intake
from .keys import Keys
from .metrics import ServerMetrics
from .pictures import PictureDecoder
from .seat import FRAMES, Seat
from .settings import ServerSettings
from .translation import chosen

LATEST = "latest.jpg"
"""Name of the picture of what a declared camera shows now."""

MOST_EXPIRED = 256
"""How many sessions that are over are remembered, so that their clients are told so."""

CANCEL_S = 2.0  # questions that are cancelled end within a token

_logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class Registry:
    """Keep the seats of a server.  For its event loop; what waits for the device or the disk is awaited.

    kept: how own sessions keep their streams where a client says nothing.
    """

    def __init__(
        self,
        engine: Engine,
        settings: ServerSettings,
        kept: Settings,
        cameras: Mapping[str, Camera],
        folders: MemoryFolders | None,
        metrics: ServerMetrics,
    ) -> None:
        self.engine, self.settings, self.kept, self.cameras = engine, settings, kept, cameras
        self.folders, self.metrics = folders, metrics
        self.seats: dict[str, Seat] = {}
        self.closing: dict[str, asyncio.Event] = {}
        self._closings: set[asyncio.Task[None]] = set()
        self.decoder = PictureDecoder(settings.decoders, settings.limits.max_pixels)
        self.budget = FlightBudget(settings.flight_bytes)
        self._opening: set[str] = set()
        self._until: float | None = None
        self._expired: OrderedDict[str, Keys] = OrderedDict()
        self._reviving = asyncio.Lock()

    @property
    def own(self) -> list[Seat]:
        """Seats of clients that push frames."""
        return [seat for seat in self.seats.values() if seat.own]

    def image(self, session_id: str, name: str) -> bytes | None:
        """Give a session's evidence picture, or what its camera shows now."""
        seat = self.seats.get(session_id)
        if seat is None:
            return None
        if name == LATEST:
            camera = self.cameras.get(seat.source)
            return None if camera is None else camera.picture()
        return seat.images.get(name)

    async def open(self, event: asked.SessionUpdate) -> Seat:
        """Open a new session.  Raises EventError."""
        source = event.source or FRAMES
        if source != FRAMES:
            return self._sit_down(source, event)
        picked = chosen(event.settings)
        settings = self._settings(picked)
        self._check_room()
        session_id = new_session_id()
        self._opening.add(session_id)
        try:
            folder = None
            if self.folders is not None:
                async with self._reviving:
                    await _storing(self.folders.sweep, self._living())
                folder = self.folders.session(session_id)
            live = await self._live(settings, folder, session_id)
        finally:
            self._opening.discard(session_id)
        return self._own(session_id, live, picked)

    async def resume(self, resume: asked.Resume) -> tuple[Seat, bool]:
        """Find the session that a client comes back to; say whether it had to be read from disk.  Raises EventError."""
        async with self._reviving:
            ending = self.closing.get(resume.session_id)
            if ending is not None:
                await ending.wait()  # its memory is held until then
            seat = self.seats.get(resume.session_id)
            if seat is not None:
                if not seat.keys.fit(resume.token):
                    raise _refused()
                return seat, False
            return await self._revive(resume), True

    async def renew(self, seat: Seat) -> str:
        """Give the token that brings a client back from here on; the disk has it before the client.

        Raises EventError.
        """
        async with seat.storing:
            token = seat.keys.renew()
            if not seat.closing:
                await self._write_ticket(seat)
        return token

    async def change(self, seat: Seat, settings: asked.SessionSettings) -> None:
        """Keep an own session's stream in another way, before its first frame.  Raises EventError."""
        if seat.saw_frames or seat.watches or seat.questions or (seat.intake is not None and seat.intake.busy):
            raise EventError("settings_locked", "something was seen, asked or watched for already", param="settings")
        picked = {**seat.chosen, **chosen(settings)}
        wanted = self._settings(picked)
        folder = None if self.folders is None else self.folders.session(seat.id)
        try:
            async with seat.storing:
                if seat.closing:
                    raise EventError("session_expired", "the session was closed meanwhile")
                await _storing(seat.live.close, None)
                live = await self._live(wanted, folder, seat.id)
                seat.moved(live)
                seat.chosen = picked
                seat.intake = Intake(live, self.decoder, self.budget, seat.saw, seat.cannot_see)
                await self._write_ticket(seat)
        except EventError as error:
            if seat.live.closed:  # there is nothing to look at any more
                link = seat.link
                await self.close(seat, again=True)
                if link is not None:
                    link.fail(error.code, error.message)
            raise

    async def close(self, seat: Seat, *, forget: bool = False, again: bool = False) -> None:
        """Close a session.  forget: delete what it saw.  again: its client may come back to the memory on disk.

        A disk that fails is logged: the session is closed all the same, and so it is when the caller is cancelled.
        """
        if self.seats.get(seat.id) is not seat:
            return
        del self.seats[seat.id]
        seat.closing = True
        ended = self.closing[seat.id] = asyncio.Event()
        seat.cancel_all()
        closing = asyncio.create_task(self._close(seat, ended, forget, again))
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)
        await asyncio.shield(closing)

    async def _close(self, seat: Seat, ended: asyncio.Event, forget: bool, again: bool) -> None:
        try:
            if seat.own:
                async with seat.storing:
                    await self._close_own(seat, forget, again)
            else:
                self.cameras[seat.source].seats.discard(seat)
                await seat.unwatch_all()
                await seat.quiet(CANCEL_S)
        except (OnlookerError, EventError, TimeoutError) as error:
            _logger.error("session %s: %s", seat.id, error)
        finally:
            seat.leave()  # last: until here it hears how its questions end
            if not again or self.folders is None:
                self._expired[seat.id] = seat.keys
                while len(self._expired) > MOST_EXPIRED:
                    self._expired.popitem(last=False)
            del self.closing[seat.id]
            ended.set()

    async def _close_own(self, seat: Seat, forget: bool, again: bool) -> None:
        if seat.intake is not None:
            await seat.intake.close()
        try:
            await asyncio.to_thread(seat.live.close, self._left_s())
        finally:
            if self.folders is not None and forget:
                await asyncio.to_thread(self.folders.forget, seat.id)
            elif self.folders is not None:
                if not again:
                    seat.keys = Keys()
                await self._write_ticket(seat)

    async def expire(self, now: float) -> None:
        """Close sessions that nobody came back to."""
        for seat in tuple(self.seats.values()):
            if seat.link is None and (seat.dismissed or now - seat.left > self.settings.limits.resume_s):
                await self.close(seat, again=True)

    async def sweep(self) -> None:
        """Delete memories on disk whose time is over."""
        if self.folders is not None:
            async with self._reviving:
                with contextlib.suppress(EventError):
                    await _storing(self.folders.sweep, self._living())

    async def close_all(self, until: float) -> None:
        """Close every session; those with a memory on disk can be resumed from there.

        until: by time.monotonic(), how long a session may wait for the device to save it.
        """
        self._until = until
        await asyncio.gather(*(self.close(seat, again=True) for seat in tuple(self.seats.values())))
        for ending in tuple(self.closing.values()):
            await ending.wait()
        self.decoder.close()

    def _left_s(self) -> float | None:
        return None if self._until is None else max(0.1, self._until - time.monotonic())

    def _sit_down(self, source: str, event: asked.SessionUpdate) -> Seat:
        """Give a place at a camera's session."""
        camera = self.cameras.get(source)
        if camera is None:
            raise EventError("unknown_source", "there is no such source", param="source")
        if event.settings is not None:
            raise EventError("settings_locked", f"the operator settles how {source} is kept", param="settings")
        if sum(not seat.own for seat in self.seats.values()) >= self.settings.max_sockets:
            raise EventError("too_many_sessions", f"{self.settings.max_sockets} clients look at cameras")
        seat = self._seat(new_session_id(), camera.live, source)
        camera.seats.add(seat)
        return seat

    def _own(self, session_id: str, live: LiveSession, picked: Mapping[str, str | int | float]) -> Seat:
        seat = self._seat(session_id, live, FRAMES)
        seat.chosen = picked
        seat.intake = Intake(live, self.decoder, self.budget, seat.saw, seat.cannot_see)
        seat.saw_frames = live.stats.now_us is not None
        return seat

    def _seat(self, session_id: str, live: LiveSession, source: str) -> Seat:
        limits = self.settings.limits
        replay = Replay(limits.replay_events, limits.replay_bytes)
        seat = Seat(session_id, live, source, self.settings, self.metrics, replay)
        self.seats[session_id] = seat
        return seat

    async def _revive(self, resume: asked.Resume) -> Seat:
        """Go on with a memory that an earlier server, or an earlier life of the session, left on disk."""
        over = self._expired.get(resume.session_id)
        if over is not None and over.fit(resume.token):
            raise EventError("session_expired", "the session is over")
        ticket = None if self.folders is None else await asyncio.to_thread(self.folders.ticket, resume.session_id)
        if self.folders is None or ticket is None:
            raise _refused()
        keys = Keys(*ticket.token_sha256s[:2])
        if not keys.fit(resume.token):
            raise _refused()
        self._check_room()
        self._opening.add(resume.session_id)
        try:
            settings = self._settings(ticket.settings)
            live = await self._live(settings, self.folders.session(resume.session_id), resume.session_id)
        finally:
            self._opening.discard(resume.session_id)
        seat = self._own(resume.session_id, live, ticket.settings)
        seat.keys = keys
        return seat

    async def _live(self, settings: Settings, folder: Path | None, name: str) -> LiveSession:
        def make() -> LiveSession:
            return self.engine.session(settings, memory=folder, name=name)

        try:
            return await asyncio.to_thread(make)
        except BusyError as error:
            raise EventError("too_many_sessions", str(error), retry_after_ms=10_000) from None
        except StorageError as error:
            _logger.error("session %s: %s", name, error)
            raise EventError("storage_error", "the memory's folder cannot be used") from None
        except SettingsError as error:  # the engine is closing
            raise EventError("going_away", str(error)) from None

    def _settings(self, picked: Mapping[str, str | int | float]) -> Settings:
        try:
            return replace(self.kept, **picked)  # type: ignore[arg-type]  # Settings checks the values
        except (SettingsError, TypeError) as error:
            raise EventError("invalid_event", str(error), param="settings") from None

    def _check_room(self) -> None:
        own = len(self.own) + len(self._opening) + len(self.closing)
        if own >= self.settings.max_sessions:
            raise EventError(
                "too_many_sessions",
                f"{own} sessions are alive; the limit is {self.settings.max_sessions}",
                retry_after_ms=10_000,
            )

    def _living(self) -> tuple[str, ...]:
        return (*(seat.id for seat in self.seats.values() if seat.own), *self.closing, *self._opening)

    async def _write_ticket(self, seat: Seat) -> None:
        if self.folders is not None and seat.own:
            ticket = Ticket(seat.keys.hashes, time.time(), dict(seat.chosen))
            await _storing(self.folders.write, seat.id, ticket)


def _refused() -> EventError:
    return EventError("resume_refused", "the session is not known, or the token is not its newest", param="resume")


async def _storing(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Do what touches the disk in a thread; what goes wrong there is no client's business in detail."""
    try:
        return await asyncio.to_thread(work, *arguments, **named)
    except StorageError as error:
        _logger.error("%s", error)
        raise EventError("storage_error", "the server's disk failed") from None
