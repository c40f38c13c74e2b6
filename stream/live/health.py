"""How a live source does: its state, as events change it.  No threads and no clock of its own."""

from collections import deque

from .failure import Failure
from .status import SourceState, SourceStatus

RATE_OVER_S = 5.0
"""Frames a second are counted over so long."""

_MOST_COUNTED = 1024  # arrivals remembered for that; above 200 frames a second the window gets shorter


class Health:
    """Keep a source's state; all times are seconds of one monotonic clock.

    stale_s: without a frame for so long a live source is stale.
    """

    __slots__ = (
        "_arrivals",
        "_failure",
        "_last",
        "_reconnects",
        "_retry_at",
        "_since",
        "_stale_s",
        "_state",
        "received",
    )

    def __init__(self, stale_s: float) -> None:
        self._stale_s = stale_s
        self._state: SourceState = "connecting"
        self._failure: Failure | None = None
        self._arrivals: deque[float] = deque(maxlen=_MOST_COUNTED)
        self._last: float | None = None
        self._since: float | None = None
        self._retry_at: float | None = None
        self.received = 0
        self._reconnects = -1  # the first time is no return

    @property
    def state(self) -> SourceState:
        """The state now."""
        return self._state

    @property
    def failure(self) -> Failure | None:
        """Why it is not live."""
        return self._failure

    def connecting(self) -> None:
        """Take note of another try; the reason why the last one failed stays until a frame comes."""
        self._retry_at = None
        if self._state in ("live", "stale"):
            self._state = "reconnecting"

    def arrived(self, now: float) -> None:
        """Take note of a frame."""
        if self._state == "ended":
            return
        if self._state in ("connecting", "reconnecting", "failed"):
            self._reconnects += 1
            self._since = now
            self._arrivals.clear()
        self._state, self._failure, self._retry_at = "live", None, None
        self.received += 1
        self._last = now
        self._arrivals.append(now)

    def broke(self, failure: Failure, now: float, retry_s: float) -> None:
        """Take note that a connection failed or was lost, and of when the next is tried."""
        self._state = "failed" if failure.hopeless else "reconnecting"
        self._failure, self._retry_at, self._since = failure, now + retry_s, None

    def ended(self, failure: Failure | None = None) -> None:
        """Take note that there will be no frame any more."""
        self._state, self._failure, self._retry_at = "ended", failure, None

    def look(self, now: float, shown: str) -> None:
        """Call a live source stale when it is time."""
        if self._state == "live" and self._last is not None and now - self._last > self._stale_s:
            self._state = "stale"
            self._failure = Failure.of(
                "timeout",
                f"{shown}: no frame for {self._stale_s:g} s, though the connection stands",
                "it is connected to anew if none comes",
            )

    def held_s(self, now: float) -> float:
        """Say for how long the connection has given frames."""
        return 0.0 if self._since is None else now - self._since

    def fps(self, now: float) -> float:
        """Frames that came in a second, over the last RATE_OVER_S of the connection."""
        while self._arrivals and now - self._arrivals[0] > RATE_OVER_S:
            self._arrivals.popleft()
        if len(self._arrivals) < 2:
            return 0.0
        spacing = (self._arrivals[-1] - self._arrivals[0]) / (len(self._arrivals) - 1)
        passed = now - self._arrivals[0]
        # A gap that is longer than two frames' worth pulls the rate down at once.
        return len(self._arrivals) / passed if now - self._arrivals[-1] > 2 * spacing else 1.0 / max(spacing, 1e-6)

    def status(self, now: float, dropped: int) -> SourceStatus:
        """Give all of it as one value."""
        failure = self._failure
        return SourceStatus(
            state=self._state,
            code=None if failure is None else failure.code,
            reason="" if failure is None else failure.reason,
            fps=round(self.fps(now), 2),
            age_us=None if self._last is None else max(0, round((now - self._last) * 1e6)),
            received=self.received,
            dropped=dropped,
            reconnects=max(0, self._reconnects),
            retry_s=None if self._retry_at is None else max(0.0, self._retry_at - now),
        )
