"""A camera that the operator declared: it is watched all the time, and any number of clients look at its session."""

import asyncio
import logging
import time
from pathlib import Path

from ...errors import SettingsError, SourceError
from ...settings import Settings
from ..engine.engine import Engine
from ..engine.events import MemoryForgot, SessionEvent, SessionFailed, SourceChanged
from ..live.live_source import LiveSource
from ..live.opening import feed_of, open_live
from ..live.status import SourceStatus
from ..seen import thumbnail
from .folders import SOURCE_NAME
from .seat import FRAMES, Seat

PICTURE_PX = 640
PICTURE_S = 0.5
LATEST_S = 10.0

_logger = logging.getLogger(__name__)


def read_declaration(word: str) -> tuple[str, str]:
    """Split NAME=SPEC and check both; nothing is connected to.

    Raises SettingsError for what is no such word, SourceError for a spec that names nothing that can be read.
    """
    name, equals, spec = word.partition("=")
    if not equals or not SOURCE_NAME.fullmatch(name) or name == FRAMES:
        raise SettingsError(
            f"--source {name!r:.80} is no declaration; give NAME=SPEC, such as hall=rtsp://192.168.1.20/stream1; a "
            f"name is 1 to 64 letters, digits, dots, dashes and underscores, and not {FRAMES!r}"
        )
    feed_of(spec)
    return name, spec


class Camera:
    """Watch one declared source.  seats: who looks at it; for the event loop's thread.

    Raises StorageError for a memory that cannot be opened, SourceError as open_live does.
    """

    def __init__(
        self, name: str, spec: str, engine: Engine, settings: Settings, *, fps: float | None, memory: Path | None
    ) -> None:
        self.name = name
        self.seats: set[Seat] = set()
        self._picture: bytes | None = None
        self._pictured = -PICTURE_S
        self.live = engine.session(settings, memory=memory, name=name)
        try:
            self.source: LiveSource = open_live(spec, fps)
        except BaseException:
            self.live.close()
            raise

    @property
    def status(self) -> SourceStatus:
        """How it does now."""
        return self.source.status

    def picture(self) -> bytes | None:
        """Give what it shows now as JPEG, at most PICTURE_S old; None where no frame came lately."""
        now = time.monotonic()
        if now - self._pictured >= PICTURE_S:
            try:
                self._picture = thumbnail(self.source.latest(LATEST_S).image, PICTURE_PX)
            except SourceError:
                self._picture = None
            self._pictured = now
        return self._picture

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch, and pass on what everyone who looks at it should know."""

        def bring(event: SessionEvent) -> None:
            if isinstance(event, SourceChanged | MemoryForgot | SessionFailed):
                try:
                    loop.call_soon_threadsafe(self._tell, event)
                except RuntimeError:  # the loop is closed: the server has gone
                    pass

        self.live.subscribe(bring)
        self.live.watch_source(self.source)

    def _tell(self, event: SessionEvent) -> None:
        if isinstance(event, SourceChanged):
            status = event.status
            level = logging.WARNING if status.state in ("failed", "reconnecting") else logging.INFO
            _logger.log(
                level, "source %s: %s%s", self.name, status.state, f", {status.reason}" if status.reason else ""
            )
        for seat in tuple(self.seats):
            seat.hear(event)
