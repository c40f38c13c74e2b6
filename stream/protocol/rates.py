"""How often something may happen: a token bucket without a clock of its own."""


class TokenBucket:
    """Allow `rate` events a second in the long run and `burst` of them at once.

    Times are seconds of any clock that does not go back; the first one seen is its start.
    """

    __slots__ = ("_at", "_burst", "_held", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, max(1.0, burst)
        self._held = self._burst
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Say whether one more may happen now, and count it if so."""
        self._refill(now)
        if self._held < 1.0:
            return False
        self._held -= 1.0
        return True

    def wait_s(self, now: float) -> float:
        """Say how long it takes until one more may happen."""
        self._refill(now)
        return max(0.0, (1.0 - self._held) / self._rate)

    def _refill(self, now: float) -> None:
        if self._at is not None:
            self._held = min(self._burst, self._held + max(0.0, now - self._at) * self._rate)
        self._at = now if self._at is None else max(self._at, now)
