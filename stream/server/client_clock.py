"""A client's clock against the server's: capture times keep their spacing, and a clock that is wrong does no harm."""

import time

TOLERANCE_US = 5_000_000
"""So far a capture time may be from its arrival: what a slow network takes, and what clocks that are kept differ by."""


class ClientClock:
    """Bring a client's capture times to the server's clock.

    A time that is near its arrival is taken as it is.  Else the clock is wrong, or the pictures are old: it is
    shifted so that the frame was captured when it came, and those behind it by as much, until one is off again.
    Arrivals are told by a clock that starts as the wall clock and is never set.
    """

    def __init__(self) -> None:
        self.offset_us = 0
        self._steady_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000
        self._last_us: int | None = None

    def place(self, captured_unix_us: int, now_unix_us: int | None = None) -> int:
        """Give a capture time by the server's clock; all in microseconds since 1970.

        now_unix_us: when it arrived; now where it is left out.
        """
        if now_unix_us is None:
            now_unix_us = time.monotonic_ns() // 1000 + self._steady_us
        before = self.offset_us
        if before and abs(now_unix_us - captured_unix_us) <= TOLERANCE_US // 2:
            self.offset_us = 0  # well inside, so that a clock at the border is not taken now so, now so
        elif abs(now_unix_us - (captured_unix_us + before)) > TOLERANCE_US:
            self.offset_us = now_unix_us - captured_unix_us
        placed = captured_unix_us + self.offset_us
        if self.offset_us != before and self._last_us is not None:
            placed = max(placed, self._last_us + 1)  # another offset must not put it behind what came before
        self._last_us = placed
        return placed
