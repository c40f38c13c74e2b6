"""What a client that comes back is sent again: a session's numbered events, in a ring bounded in count and bytes."""

import dataclasses
from collections import deque
from dataclasses import dataclass

from .server_events import Sequenced, write

MOST_RECEIVED = 256


@dataclass(frozen=True, slots=True)
class Missed:
    """Hold what a client has missed: messages in order, and whether others before them were lost."""

    messages: tuple[str, ...]
    gap: bool


class Replay:
    """Number a session's events and keep the newest of them; remember which of the client's requests came.

    Belongs to a session and outlives its connections.  For one thread.  start_seq: the last number given before, for a
    session that goes on after a restart.
    """

    def __init__(self, most_events: int, most_bytes: int, start_seq: int = 0) -> None:
        self._most_events, self._most_bytes = most_events, most_bytes
        self._kept: deque[str] = deque()
        self._received: deque[str] = deque(maxlen=MOST_RECEIVED)
        self._bytes = 0
        self._last_seq = start_seq

    @property
    def last_seq(self) -> int:
        """The newest number; 0 when there is none yet."""
        return self._last_seq

    @property
    def nbytes(self) -> int:
        """Bytes of the messages kept."""
        return self._bytes

    @property
    def received(self) -> tuple[str, ...]:
        """The event_id of the newest requests that came."""
        return tuple(self._received)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, event: Sequenced) -> str:
        """Give an event the next number, keep it, and give the message to send."""
        text = write(dataclasses.replace(event, seq=self._last_seq + 1))
        self._last_seq += 1
        self._kept.append(text)
        self._bytes += _size(text)
        while len(self._kept) > self._most_events or self._bytes > self._most_bytes:
            self._bytes -= _size(self._kept.popleft())
        return text

    def note_received(self, event_id: str) -> None:
        """Remember that a request came."""
        self._received.append(event_id)

    def missed(self, last_seq: int) -> Missed:
        """Give what came after last_seq.  A number that was never given is a gap too."""
        if last_seq > self._last_seq:
            return Missed(tuple(self._kept), gap=True)
        wanted = self._last_seq - last_seq
        kept = tuple(self._kept)
        return Missed(kept[len(kept) - wanted :] if wanted <= len(kept) else kept, gap=wanted > len(kept))


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
