"""Ctrl-C with a second thought: the first one ends watching, the second one ends the program."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interruption:
    """Take SIGINT and SIGTERM over while a command runs.

    While `watching` is true the first SIGINT sets `stop` and nothing else. Any other SIGINT, and every SIGTERM, raises
    KeyboardInterrupt in the main thread. The old handlers come back at the end of the `with` block. Outside of the main
    thread signals cannot be taken over, so nothing happens there.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.watching = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # it is what signal.signal gave
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.watching and not self.stop.is_set():
            self.stop.set()
            return
        raise KeyboardInterrupt
