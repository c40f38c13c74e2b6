"""What a command says about a live source while it watches: each change of state, once."""

import threading
from collections.abc import Callable

from ..stream.live.status import SourceState, SourceStatus


class LiveNotes:
    """Write a line on each change of a source's state; end watching when it cannot come back before its first frame.

    write: takes a line; it is called from the source's thread.  stop: set for a source that needs a person, such as
    one with a wrong password, and that never gave a frame.  quiet: only what goes wrong is written.
    """

    def __init__(self, write: Callable[[str], None], stop: threading.Event, quiet: bool) -> None:
        self._write, self._stop, self._quiet = write, stop, quiet
        self._before: tuple[SourceState, str | None] = ("connecting", None)

    def __call__(self, status: SourceStatus) -> None:
        """Take note of a state."""
        now = (status.state, status.code)
        before, self._before = self._before, now
        if status.state == "failed" and not status.received:
            self._stop.set()  # the reason is the error that the command ends with
            return
        if now == before or status.state in ("connecting", "ended"):
            return
        if status.state != "live":
            self._write(f"{status.state}: {status.reason}")
        elif not self._quiet and before[0] != "connecting":
            self._write("live again")
