"""How tests feed an engine and keep it busy."""

import threading
import time
from collections.abc import Callable

from onlooker import LiveSession
from onlooker.frame import Frame


def wait_until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.002)


def feed(session: LiveSession, frames: list[Frame]) -> None:
    """Hand frames over one by one, each when the one before it was taken in, so that none is dropped."""
    for frame in frames:
        before = session.stats.taken
        assert session.see(frame)
        wait_until(lambda before=before: session.stats.taken > before)  # type: ignore[misc]


class Hold:
    """Keep the device's thread busy until it is let go."""

    def __init__(self, session: LiveSession) -> None:
        self._free, self._held = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: session.run(self._hold))
        self._thread.start()
        assert self._held.wait(30.0)

    def _hold(self) -> None:
        self._held.set()
        assert self._free.wait(30.0)

    def release(self) -> None:
        self._free.set()
        self._thread.join()
