"""What a session on a server tells, as snapshots."""

from dataclasses import dataclass

from ..stream.protocol.server_events import (
    Error,
    FrameAccepted,
    FrameDropped,
    Mark,
    MemoryEvicted,
    SessionClosed,
    SessionGoingAway,
    SourceStatus,
    Stats,
    Stretch,
    WatchCleared,
    WatchFired,
)


@dataclass(frozen=True, slots=True)
class ConnectionChanged:
    """Say that the connection to the server came or went.  reason: why it went, for people."""

    connected: bool
    reason: str = ""


RemoteEvent = (
    WatchFired
    | WatchCleared
    | SourceStatus
    | FrameAccepted
    | FrameDropped
    | MemoryEvicted
    | SessionGoingAway
    | SessionClosed
    | Error
    | ConnectionChanged
)
"""What events() gives.  Error: one that answers no call, such as for a picture that cannot be read."""


@dataclass(frozen=True, slots=True)
class RemoteStats:
    """Count what became of a session's frames.

    seen: frames that see() accepted.  replaced: a newer one came before they could be sent.  sent: given to the
    connection.  unsent: that could not be encoded, or were on their way when it broke.  reconnects: how often it came
    back.  gaps: how often events were lost meanwhile.  waiting: questions and calls that are not answered yet.
    server: what the server counts, at most about a second old; None before the first time.
    """

    connected: bool
    seen: int
    replaced: int
    sent: int
    unsent: int
    reconnects: int
    gaps: int
    waiting: int
    server: Stats | None


@dataclass(frozen=True, slots=True)
class MemoryState:
    """Describe what a session remembers.

    used_bytes, cap_bytes: in RAM.  disk_bytes, disk_cap_bytes: on disk.  span_us: the first and the last moment that
    is covered, in stream time.  timeline: in order of time.
    """

    keyframes: int
    tokens: int
    used_bytes: int
    cap_bytes: int
    disk_bytes: int
    disk_cap_bytes: int
    span_us: tuple[int, int] | None
    timeline: tuple[Stretch, ...]
    marks: tuple[Mark, ...]
