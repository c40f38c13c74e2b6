"""Time stamps put right: a stream's clock that never stands still and never goes back."""

import math

NUDGE_US = 1_000
"""Least time between two frames once a stamp has been repaired."""

_FIRST_STEP_US = 40_000
_MOST_STEP_US = 1_000_000
_OUT_OF_ORDER_US = 3_000_000
_ABSURD_S = 1e9  # thirty years: a container's mark for "no stamp", read as a number


class StampClock:
    """Turn a decoder's stamps into strictly increasing integer microseconds, one at a time.

    A stamp later than the one before it is taken as it is. The others are repaired, by what came before only:
    - missing (None, not finite, or absurd) or repeated: the frame follows its predecessor by the last good step;
    - back by at most 3 s (frames out of order, as behind damage): the frame follows its predecessor by 1 ms, and so do
      the next ones until the stamps are ahead again;
    - back by more (the clock was started again, as where recordings are joined): the frame follows its predecessor
      by the last good step, and the clock runs on from there, until its own stamps are ahead again;
    - a first stamp that is missing or negative becomes 0.
    """

    __slots__ = ("_base_us", "_last_raw_us", "_last_us", "_offset_us", "_step_us", "repaired")

    def __init__(self, nominal_fps: float = 0.0) -> None:
        rated = math.isfinite(nominal_fps) and 1.0 <= nominal_fps <= 1000.0
        self._step_us = round(1_000_000 / nominal_fps) if rated else _FIRST_STEP_US
        self._last_us: int | None = None
        self._last_raw_us: int | None = None
        self._base_us = 0  # from the file's own clock to stream time
        self._offset_us = 0  # the same, since the clock was last started again
        self.repaired = 0

    def place(self, stamp_s: float | None) -> int:
        """Return the stream time, in microseconds, of the next frame, whose stamp in seconds is given."""
        usable = stamp_s is not None and math.isfinite(stamp_s) and abs(stamp_s) < _ABSURD_S
        raw_us = round(stamp_s * 1_000_000) if usable and stamp_s is not None else None
        before_us, last_raw_us = self._last_us, self._last_raw_us
        if before_us is None:
            time_us = self._first(raw_us)
        elif raw_us is None or raw_us == last_raw_us:
            time_us = before_us + self._step_us
            self.repaired += 1
        elif last_raw_us is None or raw_us > last_raw_us:
            time_us = self._ahead(raw_us, before_us)
        else:
            time_us = self._back(raw_us, last_raw_us, before_us)
        self._last_us = time_us
        return time_us

    def _first(self, raw_us: int | None) -> int:
        if raw_us is None or raw_us < 0:
            self.repaired += 1
        self._last_raw_us = raw_us
        if raw_us is not None and raw_us < 0:
            self._base_us = self._offset_us = -raw_us
        return max(0, raw_us or 0)

    def _ahead(self, raw_us: int, before_us: int) -> int:
        if raw_us + self._base_us > before_us:
            self._offset_us = self._base_us
        target_us = raw_us + self._offset_us
        if target_us <= before_us:
            target_us = before_us + NUDGE_US
            self.repaired += 1
        elif self._last_raw_us is not None:
            self._step_us = min(_MOST_STEP_US, max(NUDGE_US, raw_us - self._last_raw_us))
        self._last_raw_us = raw_us
        return target_us

    def _back(self, raw_us: int, last_raw_us: int, before_us: int) -> int:
        self.repaired += 1
        if last_raw_us - raw_us <= _OUT_OF_ORDER_US:
            return before_us + NUDGE_US
        time_us = before_us + self._step_us
        self._offset_us = time_us - raw_us
        self._last_raw_us = raw_us
        return time_us
