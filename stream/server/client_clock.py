"""A client's clock against the server's: capture times keep their spacing, and a clock that is wrong does no harm."""

TOLERANCE_US = 5_000_000
"""So far a capture time may be from its arrival: what a slow network takes, and what clocks that are kept differ by."""


class ClientClock:
    """Bring a client's capture times to the server's clock.

    A time that is near its arrival is taken as it is.  Else the clock is wrong, or the pictures are old: it is
    shifted so that the frame was captured when it came, and those behind it by as much, until one is off again.
    """

    def __init__(self) -> None:
        self.offset_us = 0

    def place(self, captured_unix_us: int, now_unix_us: int) -> int:
        """Give a capture time by the server's clock; all in microseconds since 1970."""
        if abs(now_unix_us - captured_unix_us) <= TOLERANCE_US:
            self.offset_us = 0
        elif abs(now_unix_us - (captured_unix_us + self.offset_us)) > TOLERANCE_US:
            self.offset_us = now_unix_us - captured_unix_us
        return captured_unix_us + self.offset_us
