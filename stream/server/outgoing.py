"""What waits to be sent to one client: bounded, and what is transient is merged rather than piled up."""

import asyncio
import dataclasses
from collections import deque
from dataclasses import dataclass

from ..protocol import server_events as told
from ..protocol.connection import Close

MOST_TRANSIENT = 64
"""How many transient events may wait; more are left out, as newer ones will come."""


@dataclass(slots=True)
class _Waiting:
    """Hold a message, or a transient event that may still change."""

    text: str = ""
    event: told.ServerEvent | None = None
    close: Close | None = None


class Outgoing:
    """Queue messages for one socket, in order.  For one event loop.

    Over most_bytes of messages that may not be lost, `full` is set: the client does not read.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._waiting: deque[_Waiting] = deque()
        self._transient = 0
        self._bytes = 0
        self._some = asyncio.Event()
        self._closed = False
        self.full = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, text: str) -> None:
        """Queue a message."""
        if self._closed:
            return
        self._bytes += len(text)
        self.full = self.full or self._bytes > self._most_bytes
        if not self.full:
            self._add(_Waiting(text))

    def put_transient(self, event: told.ServerEvent) -> None:
        """Queue an event that may be merged with one that waits, or left out."""
        if self._closed:
            return
        for waiting in self._waiting:
            merged = None if waiting.event is None else _merged(waiting.event, event)
            if merged is not None:
                waiting.event = merged
                return
        if self._transient < MOST_TRANSIENT:
            self._transient += 1
            self._add(_Waiting(event=event))

    def put_close(self, close: Close) -> None:
        """Queue the end; nothing comes after it."""
        if not self._closed:
            self._closed = True
            self._add(_Waiting(close=close))

    def clear(self) -> None:
        """Drop what waits, for a client that does not read."""
        self._waiting.clear()
        self._transient = self._bytes = 0
        self.full = False

    async def get(self) -> str | Close:
        """Wait for the next one and take it."""
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        waiting = self._waiting.popleft()
        if waiting.close is not None:
            return waiting.close
        if waiting.event is not None:
            self._transient -= 1
            return told.write(waiting.event)
        self._bytes -= len(waiting.text)
        return waiting.text

    def _add(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._some.set()


def _merged(before: told.ServerEvent, after: told.ServerEvent) -> told.ServerEvent | None:
    """Give one event in place of two, or None where both are needed."""
    match before, after:
        case told.SessionStats(), told.SessionStats():
            return after
        case told.FrameDropped(), told.FrameDropped() if before.reason == after.reason:
            return dataclasses.replace(after, count=before.count + after.count)
        case _:
            return None
