"""Ctrl-C in a conversation: it stops the answer that is being given, else it reaches the prompt."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ..stream.engine.inquiry import Inquiry


class Halting:
    """Take signals over while a conversation runs.

    SIGINT cancels the answer that is under way, once; any other raises KeyboardInterrupt in the main thread.  SIGTERM
    and SIGHUP (the terminal is gone) raise it too, and is_over() says so.  After ignore() all are ignored.  The old
    handlers come back at the end of the `with` block.  Outside of the main thread nothing is taken over.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._ended = False
        self._inquiry: Inquiry | None = None
        self._ignoring = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # it is what signal.signal gave
        self._before.clear()

    def is_over(self) -> bool:
        """Say whether the program was told to end."""
        return self._ended

    @contextmanager
    def cancelling(self, inquiry: "Inquiry") -> Iterator[None]:
        """Let Ctrl-C cancel this answer meanwhile."""
        self._inquiry = inquiry
        try:
            yield
        finally:
            self._inquiry = None

    def ignore(self) -> None:
        """Ignore all from now on."""
        self._ignoring = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._ignoring:
            return
        inquiry = self._inquiry
        if number != signal.SIGINT:
            self._ended = True
        elif inquiry is not None and not inquiry.cancelled:
            inquiry.cancel()
            return
        raise KeyboardInterrupt
