"""A feeder: the threads that bring a live source's frames to a session."""

import logging
import threading
from typing import TYPE_CHECKING

from ...errors import OnlookerError
from .events import SourceChanged

if TYPE_CHECKING:
    from ..live.live_source import LiveSource
    from .live_session import LiveSession

LOOK_S = 0.25
JOIN_S = 5.0

_logger = logging.getLogger(__name__)


class Feeder:
    """Hand a source's frames to a session as they come, and tell of its state."""

    def __init__(self, session: "LiveSession", source: "LiveSource") -> None:
        self.source = source
        self._session = session
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._feed, name=f"onlooker-feed-{session.id}", daemon=True),
            threading.Thread(target=self._look, name=f"onlooker-look-{session.id}", daemon=True),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop and close the source."""
        self._stopped.set()
        self.source.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(JOIN_S)

    def _feed(self) -> None:
        origin_us = self.source.origin_unix_us
        came_back = self.source.status.reconnects
        try:
            for frame in self.source:
                if self._stopped.is_set() or self._session.closed:
                    return
                before, came_back = came_back, self.source.status.reconnects
                unix_us = origin_us + frame.time_us
                self._session.see(frame, captured_unix_us=unix_us, copy=False, after_gap=came_back != before)
        except OnlookerError as error:  # a live source comes back by itself: this is a file that broke off
            _logger.warning("%s: %s", self.source.name, error)

    def _look(self) -> None:
        before = None
        while not (self._stopped.is_set() or self._session.closed):
            status = self.source.status
            if (status.state, status.code) != before:
                before = (status.state, status.code)
                self._session.tell(SourceChanged(self.source.name, status))
            self._stopped.wait(LOOK_S)
