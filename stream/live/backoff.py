"""How long to wait before a source is tried again."""

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Choose growing, jittered delays, for ever: a source is never given up.

    The n-th delay lies between half and the whole of least_s * 2 ** n, and never above most_s; the jitter keeps
    cameras that went together from coming back together.  After a connection that held for healthy_s it starts anew.
    A source that cannot come back by itself is tried every slow_s: cameras lock accounts that fail often.
    """

    least_s: float = 1.0
    most_s: float = 30.0
    healthy_s: float = 60.0
    slow_s: float = 60.0
    chance: random.Random = field(default_factory=random.Random)
    _tries: int = 0

    def delay_s(self, *, slow: bool = False) -> float:
        """Give the next delay, from least_s to most_s; slow: slow_s, or half as much again."""
        if slow:
            return self.slow_s * self.chance.uniform(1.0, 1.5)
        self._tries = min(self._tries + 1, 32)  # 2 ** 32 is above any most_s
        upper_s = min(self.most_s, self.least_s * 2**self._tries)
        return self.chance.uniform(upper_s / 2, upper_s)

    def held(self, seconds: float) -> None:
        """Take note that a connection gave frames for so long."""
        if seconds >= self.healthy_s:
            self._tries = 0
