"""From the engine's words to the protocol's."""

import math
from collections.abc import Mapping
from typing import Literal

from ...answer import Answer
from ...settings import Settings
from ..engine.events import AnswerEnded, FramesDropped, MemoryForgot
from ..engine.stats import MemoryState, SessionStats
from ..live.status import SourceStatus
from ..protocol import server_events as told
from ..protocol.client_events import SessionSettings
from ..protocol.errors import ERRORS, MOST_MESSAGE

MOST_SPANS = 1024  # of an event

Status = Literal["completed", "cancelled", "incomplete", "failed"]


def kept_settings(settings: Settings) -> told.KeptSettings:
    """Tell how a stream is kept."""
    return told.KeptSettings(
        keyframes=settings.keyframes,
        heartbeat_s=settings.heartbeat_s,
        prune_rate=settings.prune_rate,
        memory_tokens=settings.memory_tokens,
        gate=settings.gate,
    )


def chosen(settings: SessionSettings | None) -> dict[str, str | int | float]:
    """Give what a client chose of how its stream is kept."""
    names = ("keyframes", "heartbeat_s", "prune_rate", "memory_tokens", "gate")
    found = {} if settings is None else {name: getattr(settings, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def stats(
    held: SessionStats, target_fps: float, before: Mapping[str, int], source: SourceStatus | None
) -> dict[str, object]:
    """Give the fields of Stats.  before: frames that the connection dropped before the session heard of them."""
    never = sum(before.values())
    return {
        "frames": held.received + never,
        "kept": held.kept,
        "dropped": sum(held.dropped.values()) + never,
        "fps": round(held.fps, 3),
        "target_fps": round(target_fps, 3),
        "age_ms": None if held.age_us is None else held.age_us / 1e3,
        "now_us": held.now_us,
        "span_us": held.span_us,
        "used_bytes": held.used_bytes,
        "disk_bytes": held.disk_bytes,
        "tokens": held.tokens,
        "queued": held.questions,
        "source": None if source is None else source_state(source),
    }


def source_state(status: SourceStatus) -> told.SourceState:
    """Tell how a source does."""
    return told.SourceState(
        state=status.state,
        code=status.code,
        reason=status.reason[:MOST_MESSAGE],
        fps=round(status.fps, 3),
        age_ms=None if status.age_us is None else status.age_us / 1e3,
        retry_ms=None if status.retry_s is None else max(0.0, status.retry_s * 1e3),
    )


def source_status(name: str, status: SourceStatus) -> told.SourceStatus:
    """Tell that a source's state changed."""
    state = source_state(status)
    return told.SourceStatus(
        source=name,
        state=state.state,
        code=state.code,
        reason=state.reason,
        fps=state.fps,
        age_ms=state.age_ms,
        retry_ms=state.retry_ms,
    )


def frames_dropped(event: FramesDropped) -> told.FrameDropped:
    """Tell that frames were dropped."""
    return told.FrameDropped(reason=event.reason, count=event.count, last_sequence=max(0, event.last_seq) & 0xFFFFFFFF)


def memory_evicted(event: MemoryForgot) -> told.MemoryEvicted:
    """Tell what memory gave up."""
    return told.MemoryEvicted(spans_us=event.spans_us[-MOST_SPANS:])


def memory_state(state: MemoryState, event_id: str | None) -> told.MemoryState:
    """Tell what is remembered."""
    kept = state.stats
    return told.MemoryState(
        event_id=event_id,
        keyframes=kept.blocks,
        tokens=kept.tokens,
        used_bytes=kept.used_bytes,
        cap_bytes=kept.cap_bytes,
        disk_bytes=kept.disk_bytes,
        disk_cap_bytes=kept.disk_cap_bytes,
        span_us=state.span_us,
        timeline=tuple(told.Stretch(start_us=one.start_us, end_us=one.end_us, kind=one.kind) for one in state.timeline),
        marks=tuple(told.Mark(label=one.label, time_us=one.time_us) for one in state.marks[-MOST_SPANS:]),
    )


def evidence(answer: Answer, most: int, images: tuple[str | None, ...]) -> tuple[told.EvidencePiece, ...]:
    """Tell where an answer comes from.  images: paths of its pictures, in the order of its evidence."""
    return tuple(
        told.EvidencePiece(
            index=index,
            start_us=piece.start_us,
            end_us=piece.end_us,
            score=piece.score if math.isfinite(piece.score) else 0.0,
            source=piece.source,
            image=image,
        )
        for index, (piece, image) in enumerate(zip(answer.evidence[:most], images, strict=False))
    )


def response_done(ended: AnswerEnded) -> told.ResponseDone:
    """Tell how an answer ended."""
    answer = ended.answer
    status, reason = _status(ended)
    return told.ResponseDone(
        response_id=ended.question_id,
        status=status,
        reason=reason,
        text=answer.text,
        refers_to_us=answer.refers_to_us,
        asked_at_us=answer.asked_at_us,
        forgotten_us=answer.forgotten_us[-MOST_SPANS:],
        usage={name: max(0, int(count)) for name, count in answer.usage.items()},
        timings={
            **{name: round(max(0.0, value), 3) for name, value in answer.timings.items() if math.isfinite(value)},
            "queue_ms": round(ended.queue_ms, 3),
        },
        error=_fault(ended),
    )


def _status(ended: AnswerEnded) -> tuple[Status, str | None]:
    match ended.ending:
        case "failed":
            return "failed", None
        case "cancelled":
            return "cancelled", None
        case "deadline":
            return "incomplete", "deadline"
        case "completed":
            match ended.answer.status:
                case "truncated":
                    return "incomplete", "max_tokens"
                case "not_remembered":
                    return "completed", "not_remembered"
                case "cancelled":
                    return "cancelled", None
                case "answered":
                    return "completed", None


def _fault(ended: AnswerEnded) -> told.Fault | None:
    if ended.ending != "failed":
        return None
    code = ended.code if ended.code in ERRORS else "internal"
    return told.Fault(code=code, message=ended.message[:MOST_MESSAGE], remedy=ERRORS[code].remedy)
