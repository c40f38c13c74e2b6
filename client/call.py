"""A request that waits for its one reply."""

import threading
from collections.abc import Callable

from ..errors import BusyError, OnlookerError
from ..stream.protocol.server_events import ServerEvent


class Call:
    """Wait for one reply.

    at_once: called with it before anything else that comes is looked at.
    """

    def __init__(self, at_once: Callable[[ServerEvent], None] | None) -> None:
        self._at_once = at_once
        self._came = threading.Event()
        self._reply: ServerEvent | None = None
        self._failure: OnlookerError | None = None

    def answer(self, reply: ServerEvent) -> None:
        """Take the reply."""
        if self._at_once is not None:
            self._at_once(reply)
        self._reply = reply
        self._came.set()

    def fail(self, failure: OnlookerError) -> None:
        """End it with an error."""
        self._failure = failure
        self._came.set()

    def wait(self, timeout_s: float, what: str) -> ServerEvent:
        """Give the reply.  what: was asked.  Raises BusyError when none comes in time, or what ended it."""
        if not self._came.wait(timeout_s):
            raise BusyError(f"the server did not answer {what} within {timeout_s:g} s; try later")
        if self._reply is not None:
            return self._reply
        assert self._failure is not None
        raise self._failure
