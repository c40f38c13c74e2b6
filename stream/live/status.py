"""The state of a live source, for programs and for people."""

from dataclasses import dataclass
from typing import Literal

SourceState = Literal["connecting", "live", "stale", "reconnecting", "failed", "ended"]
"""stale: connected, but no frame has come for a while.  failed: it cannot come back by itself (a wrong password, an
address that no decoder reads); it is tried again rarely.  ended: a file is over, or the source was closed."""

SourceCode = Literal[
    "auth_failed",
    "not_found",
    "refused",
    "timeout",
    "tls",
    "codec",
    "busy",
    "lost",
    "unknown",
]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Say how a live source does.

    code, reason: why it is not live, stable for programs and in words with a remedy for people, without credentials;
    None and empty while it is.  fps: frames that came in a second, lately.  age_us: since the newest frame came, None
    before the first.  received, dropped: frames that came, and those among them that a newer one replaced before
    anyone took them.  reconnects: how often it came back.  retry_s: how long until the next try, None while none waits.
    """

    state: SourceState
    code: SourceCode | None = None
    reason: str = ""
    fps: float = 0.0
    age_us: int | None = None
    received: int = 0
    dropped: int = 0
    reconnects: int = 0
    retry_s: float | None = None
