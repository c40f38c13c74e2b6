"""What an engine's session tells those who listen to it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ...answer import Answer
from ..live.status import SourceStatus

_logger = logging.getLogger(__name__)

DropReason = Literal["busy", "rate", "late", "too_big", "bad_image", "failed"]
"""Why a frame was not taken in.  busy: a newer one came before the model got to it.  rate: more a second than allowed.
late: not later than one that was taken in.  too_big, bad_image: no picture within the limits.  failed: taking it in
went wrong."""

Ending = Literal["completed", "cancelled", "deadline", "failed"]


@dataclass(frozen=True, slots=True)
class AnswerBegun:
    """Say that a question was read: what the answer may know is settled.  asked_at_us: stream time of that."""

    question_id: str
    asked_at_us: int


@dataclass(frozen=True, slots=True)
class AnswerPiece:
    """Carry the next piece of an answer's text."""

    question_id: str
    text: str


@dataclass(frozen=True, slots=True)
class AnswerEnded:
    """Carry a whole answer, or as much of it as came.

    code, message: what went wrong, for "failed"; empty otherwise.  queue_ms: how long the question waited.
    """

    question_id: str
    answer: Answer
    ending: Ending
    queue_ms: float
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class FramesDropped:
    """Count frames that were not taken in since the last such event: at most one a second and reason.

    last_seq: the number of the last of them.
    """

    reason: DropReason
    count: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class MemoryForgot:
    """Name stretches of stream time that memory had to give up, over its caps or its age."""

    spans_us: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """Carry the state of the session's source when it changed."""

    source: str
    status: SourceStatus


@dataclass(frozen=True, slots=True)
class WatchFired:
    """Say that a standing question's condition became true.

    time_us: stream time of the keyframe that shows it.  latency_ms: from that frame's arrival to this.  thumbnail:
    JPEG, or empty.  text: what the model said.
    """

    watch_id: str
    condition: str
    time_us: int
    latency_ms: float
    text: str
    thumbnail: bytes = b""


@dataclass(frozen=True, slots=True)
class WatchCleared:
    """Say that a standing question's condition is not true any more; it may fire again."""

    watch_id: str
    condition: str
    time_us: int


@dataclass(frozen=True, slots=True)
class SessionFailed:
    """Say that a session cannot go on; others are untouched."""

    code: str
    message: str


SessionEvent = (
    AnswerBegun
    | AnswerPiece
    | AnswerEnded
    | FramesDropped
    | MemoryForgot
    | SourceChanged
    | WatchFired
    | WatchCleared
    | SessionFailed
)

Listener = Callable[[SessionEvent], None]
"""Called from the engine's threads; it must return at once.  What it raises is logged and goes no further."""


def hand(event: SessionEvent, listener: Listener) -> None:
    """Call a listener, whatever it does."""
    try:
        listener(event)
    except Exception:
        _logger.exception("a listener failed at %s", type(event).__name__)
