"""Progress on stderr: one line that rewrites itself on a terminal, a plain line now and then elsewhere."""

import shutil
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ..stream.watching import Watching, WatchReport

TERMINAL_EVERY_S = 0.1
PLAIN_EVERY_S = 5.0


class Progress:
    """Write how far watching is.

    out: usually stderr.  until_us: where the stream will end, as far as that is known.  clock: seconds, for tests.
    """

    def __init__(
        self, out: TextIO, until_us: int | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._out, self._until_us, self._clock = out, until_us, clock
        self._rewrites = out.isatty()
        self._every_s = TERMINAL_EVERY_S if self._rewrites else PLAIN_EVERY_S
        self._last = clock()
        self._shown = 0  # characters of the line that is on the terminal now

    def update(self, watching: "Watching") -> None:
        """Write the line anew when it is time; costs nothing otherwise."""
        now = self._clock()
        if now - self._last < self._every_s:
            return
        self._last = now
        line = describe(watching.report, self._until_us)
        if not self._rewrites:
            self._out.write(f"onlooker: {line}\n")
        else:
            line = line[: max(10, shutil.get_terminal_size().columns - 1)]  # a line that wraps cannot be rewritten
            self._out.write(f"\r{line:<{self._shown}}")
            self._shown = len(line)
        self._out.flush()

    def clear(self) -> None:
        """Take the line off the terminal, so that an answer can stand in its place."""
        if self._shown:
            self._out.write(f"\r{'':<{self._shown}}\r")
            self._out.flush()
            self._shown = 0

    def close(self, report: "WatchReport") -> None:
        """Write the last word: how much was watched."""
        self.clear()
        self._out.write(
            f"onlooker: watched {describe(report, None)} ({report.frames} frames in {report.seconds:.1f} s)\n"
        )
        self._out.flush()


def describe(report: "WatchReport", until_us: int | None) -> str:
    """Write stream time, frames a second, tokens kept and memory in one line."""
    from ..memory.time_phrases import format_clock

    place = format_clock(report.now_us)
    if until_us is not None and until_us > report.now_us:
        place += f" of {format_clock(until_us)}"
    return (
        f"{place} | {report.rate:.0f} frames/s | {report.tokens:,} tokens kept | "
        f"{report.memory_bytes / (1 << 20):.1f} MiB of memory"
    )
