"""When a frame of a camera was taken, as far as that can be known here."""

import time

TOLERANCE_US = 1_000_000
"""A frame whose stamp and whose arrival disagree by more is not spaced by its stamp."""

DRIFT = 500e-6
"""Most that a camera's clock is assumed to run off ours, as a share: cheap quartz is ten times better."""

_MOST_BREAKS = 3


def since_boot_s() -> float:
    """Give the seconds since the machine was started, with those that it slept, where the system counts them.

    time.monotonic() stands still in a suspended machine on Linux, so what is seen after it would be dated hours early.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class FrameClock:
    """Turn arrivals into strictly increasing stream time, spaced by the camera's stamps where these can be trusted.

    A frame can arrive late but never early, so the least delay between stamp and arrival that was seen maps stamps to
    stream time (a minimum filter that gives way by DRIFT); frames that come in bursts keep their spacing, and no frame
    is dated later than it arrived.  Where a stamp is missing, goes back, or is off by more than TOLERANCE_US the
    arrival counts, and the map starts anew; a connection where that happens too often goes by arrival alone.
    """

    __slots__ = ("_arrived_us", "_breaks", "_last_stamp_us", "_last_us", "_offset_us", "_trusted", "repaired")

    def __init__(self, stamped: bool, after_us: int = -1) -> None:
        self._last_us = after_us  # nothing is dated at or before it
        self.repaired = 0
        self.restart(stamped)

    def restart(self, stamped: bool) -> None:
        """Begin a new connection, whose stamps have nothing to do with those before."""
        self._trusted, self._breaks = stamped, 0
        self._offset_us: float | None = None
        self._last_stamp_us = self._arrived_us = 0

    def place(self, arrived_us: int, stamp_us: int | None) -> int:
        """Give the stream time of a frame that arrived at a moment of stream time."""
        time_us = max(self._last_us + 1, self._spaced(arrived_us, stamp_us) if self._trusted else arrived_us)
        self._last_us = time_us
        return time_us

    def _spaced(self, arrived_us: int, stamp_us: int | None) -> int:
        if stamp_us is None:
            self._break()
            return arrived_us
        delay_us = arrived_us - stamp_us
        if self._offset_us is not None:
            given_us = self._offset_us + DRIFT * (arrived_us - self._arrived_us)
            if stamp_us <= self._last_stamp_us or abs(delay_us - given_us) > TOLERANCE_US:
                self._break()
            else:
                self._offset_us = min(float(delay_us), given_us)
        if self._offset_us is None:
            self._offset_us = float(delay_us)
        self._last_stamp_us, self._arrived_us = stamp_us, arrived_us
        return min(arrived_us, stamp_us + round(self._offset_us))

    def _break(self) -> None:
        self.repaired += 1
        self._breaks += 1
        self._offset_us = None
        self._trusted = self._breaks <= _MOST_BREAKS
