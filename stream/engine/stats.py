"""Figures of an engine and of its sessions, as snapshots."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...memory.archive_stats import ArchiveStats
from ...memory.timeline import Stretch


@dataclass(frozen=True, slots=True)
class SessionStats:
    """Count what a session took in.

    received: frames that see() was given; each is waiting, in work, taken in or dropped.  taken: looked at by the
    keyframe gate.  kept: became keyframes.  fps: frames received a second, lately.  age_us: since the newest frame
    that was taken in arrived, None before the first.  now_us: stream time of that frame.  span_us: what memory covers.
    used_bytes, disk_bytes, tokens: of memory, at most a second old.  questions: waiting or being answered.
    """

    received: int = 0
    taken: int = 0
    kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0
    fps: float = 0.0
    age_us: int | None = None
    now_us: int | None = None
    span_us: tuple[int, int] | None = None
    used_bytes: int = 0
    disk_bytes: int = 0
    tokens: int = 0
    questions: int = 0
    watches: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """Name a moment of the stream.  A mark is a label: what it points at may be forgotten all the same."""

    label: str
    time_us: int


@dataclass(frozen=True, slots=True)
class MemoryState:
    """Describe what a session remembers.  timeline: in time order, never overlapping but where spans round."""

    stats: ArchiveStats
    span_us: tuple[int, int] | None
    timeline: tuple[Stretch, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class EngineReport:
    """Count what an engine did since it was made, sessions that are closed included.

    questions: waiting or being answered now.  answers: that ended, by how.  dropped: frames, by reason.  busy_s: time
    that the device's thread worked.
    """

    sessions: int
    sessions_opened: int
    questions: int
    answers: Mapping[str, int]
    received: int
    taken: int
    kept: int
    dropped: Mapping[str, int]
    checks: int
    busy_s: float
