"""Events for one who iterates over them."""

import threading
from collections import deque

from .records import RemoteEvent

MOST_EVENTS = 1024
"""How many events wait; older ones go first."""


class EventQueue:
    """Hold the newest events; putting waits for nobody."""

    def __init__(self) -> None:
        self._waiting: deque[RemoteEvent] = deque(maxlen=MOST_EVENTS)
        self._changed = threading.Condition()
        self._over = False

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def put(self, event: RemoteEvent) -> None:
        """Put an event behind the others."""
        with self._changed:
            self._waiting.append(event)
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def take(self, timeout_s: float | None) -> RemoteEvent | None:
        """Wait for the next event; None when none came in time, or none will."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._over, timeout_s)
            return self._waiting.popleft() if self._waiting else None
