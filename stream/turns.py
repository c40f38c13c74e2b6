"""Turns: whose turn it is at a session's memory."""

import threading
from types import TracebackType


class Turns:
    """Let threads in one at a time, and let none that comes back at once overtake one that waits.

    A plain lock is not enough: a thread that feeds frames without pause would take it again and again before a waiting
    question wakes up.  Here a thread that waits holds the entry, so the one that comes back stands behind it.
    """

    __slots__ = ("_entry", "_turn")

    def __init__(self) -> None:
        self._entry = threading.Lock()
        self._turn = threading.Lock()

    def __enter__(self) -> None:
        with self._entry:
            self._turn.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turn.release()
