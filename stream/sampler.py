"""Which frames of a source are wanted: a range of stream time and a frame rate."""

import math
from fractions import Fraction

from ..errors import SettingsError

SLACK_US = 4_000
"""How far before a tick a frame still counts as being at it. decord gives stamps in single precision, which a day
into a stream is off by up to 3.9 ms: without slack, a frame on the tick would be missed for the next one."""

MOST_FPS = 1_000.0


class FrameSampler:
    """Choose frames by their time stamps alone, as they come.

    With a rate, ticks lie at start_us + k / fps, and the first frame at or after each tick is taken; one frame may
    serve several ticks that lie in a gap. Nothing depends on a frame's number or on anything that comes later.
    after_us: time of the last frame that was taken before: what comes next is what would have come next then.  taken:
    False where no frame was taken at just that time, so that one so near behind it as SLACK_US is not counted with it.
    Raises SettingsError for a rate or a range outside its limits.
    """

    __slots__ = ("_after_us", "_due_us", "_period_us", "end_us", "start_us")

    def __init__(
        self,
        fps: float | None = None,
        start_us: int = 0,
        end_us: int | None = None,
        after_us: int | None = None,
        taken: bool = True,
    ) -> None:
        if fps is not None and not 0.0 < fps <= MOST_FPS:
            raise SettingsError(f"fps is {fps}; give more than 0 and at most {MOST_FPS:g}, or nothing for every frame")
        if start_us < 0:
            raise SettingsError(f"the range starts at {start_us / 1e6:g} s; a stream starts at 0")
        if end_us is not None and end_us <= start_us:
            raise SettingsError(f"the range ends at {end_us / 1e6:g} s, not after its start at {start_us / 1e6:g} s")
        self.start_us = start_us
        self.end_us = end_us
        self._period_us = None if fps is None else 1_000_000 / Fraction(str(fps))
        self._due_us = start_us - SLACK_US
        self._after_us = start_us - 1 if after_us is None else after_us
        if after_us is not None and after_us >= start_us:
            self._count(after_us if taken else after_us - SLACK_US)

    def wants(self, time_us: int) -> bool:
        """Say whether the frame at time_us is taken, and count it as taken if so."""
        if time_us < self.start_us or time_us <= self._after_us or self.is_over(time_us):
            return False
        if self._period_us is None:
            return True
        if time_us < self._due_us:
            return False
        self._count(time_us)
        return True

    def _count(self, time_us: int) -> None:
        """Move the next tick behind a frame that is taken."""
        if self._period_us is not None:
            ticks = math.floor((time_us + SLACK_US - self.start_us) / self._period_us) + 1
            self._due_us = self.start_us + math.ceil(ticks * self._period_us) - SLACK_US

    def is_over(self, time_us: int) -> bool:
        """Say whether time_us lies behind the range, so that no later frame can be wanted."""
        return self.end_us is not None and time_us >= self.end_us
