"""Trying a source out: what it gives within some seconds, or why it gives nothing."""

import time
from dataclasses import asdict, dataclass

from ..source import SourceKind
from .live_source import LiveSource
from .status import SourceCode, SourceState

LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Trial:
    """Hold what was found.  first_frame_s: from opening to the first frame, None when none came.

    state, code, reason: as in SourceStatus, when the trial ended.  width, height, decoder: 0 and empty without a frame.
    """

    source: str
    kind: SourceKind
    state: SourceState
    code: SourceCode | None
    reason: str
    width: int
    height: int
    fps: float
    frames: int
    first_frame_s: float | None
    decoder: str

    @property
    def works(self) -> bool:
        """Whether a frame came."""
        return self.first_frame_s is not None

    def to_dict(self) -> dict[str, object]:
        """Give it as JSON knows it."""
        return asdict(self)


def try_out(source: LiveSource, timeout_s: float, measure_s: float = 3.0) -> Trial:
    """Wait for a source's first frame, at most timeout_s, and for its first failure; then count for measure_s.

    The source is not closed.
    """
    began = time.monotonic()
    first_s: float | None = None
    until = began + timeout_s
    while True:
        status, now = source.status, time.monotonic()
        if status.received and first_s is None:
            first_s = now - began - (status.age_us or 0) / 1e6
            until = now + measure_s
        if now >= until or status.state == "ended" or (first_s is None and status.code is not None):
            break
        time.sleep(LOOK_S)
    reason = status.reason
    if first_s is None and not reason:
        reason = f"{source.name}: no frame came within {timeout_s:g} s; give it longer with a greater timeout"
    return Trial(
        source=source.name,
        kind=source.info.kind,
        state=status.state,
        code=status.code or ("timeout" if first_s is None else None),
        reason=reason,
        width=source.info.width if first_s is not None else 0,
        height=source.info.height if first_s is not None else 0,
        fps=status.fps,
        frames=status.received,
        first_frame_s=None if first_s is None else round(max(0.0, first_s), 3),
        decoder=source.report.decoder if first_s is not None else "",
    )
