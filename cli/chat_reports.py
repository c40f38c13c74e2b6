"""What a conversation says of its memory and of its source, for people and for programs."""

from collections.abc import Sequence

from ..memory.time_phrases import format_clock
from ..memory.timeline import Stretch
from ..models.fit import bytes_text
from ..stream.engine.stats import MemoryState, SessionStats
from ..stream.live.live_source import LiveSource

CELLS = 60
_INK = {"forgotten": "·", "gist": "▒", "kept": "█"}  # what is kept goes over what is not, where a cell has both


def memory_lines(state: MemoryState) -> list[str]:
    """Draw what is remembered, and say what it takes."""
    held = state.stats
    taken = f"{bytes_text(held.used_bytes)} of {bytes_text(held.cap_bytes)} in RAM"
    if held.disk_bytes:
        taken += f", {bytes_text(held.disk_bytes)} of {bytes_text(held.disk_cap_bytes)} on disk"
    if state.span_us is None:
        lines = [f"nothing is remembered yet; {taken}"]
    else:
        start, end = (format_clock(time_us) for time_us in state.span_us)
        lines = [
            f"{start} {bar(state.timeline)} {end}",
            f"{held.blocks} moments stored, the newest besides; {held.tokens:,} tokens, {taken}",
        ]
        if any(one.kind != "kept" for one in state.timeline):
            lines.append("█ kept  ▒ gist  · forgotten")
    return [*lines, *(f"{format_clock(mark.time_us)}  {mark.label}" for mark in state.marks)]


def bar(timeline: Sequence[Stretch], width: int = CELLS) -> str:
    """Draw a timeline in so many cells; a time without anything stays empty."""
    if not timeline:
        return " " * width
    start_us, end_us = timeline[0].start_us, max(one.end_us for one in timeline)
    length_us = max(1, end_us - start_us)
    drawn = [" "] * width
    for kind in _INK:
        for one in timeline:
            if one.kind == kind:
                first = (one.start_us - start_us) * width // length_us
                last = -(-(one.end_us - start_us) * width // length_us)
                drawn[first : max(last, first + 1)] = _INK[kind] * (min(width, max(last, first + 1)) - first)
    return "".join(drawn)


def memory_facts(state: MemoryState) -> dict[str, object]:
    """Give the same for programs; times in seconds of stream time."""
    held = state.stats
    return {
        "span_s": None if state.span_us is None else [time_us / 1e6 for time_us in state.span_us],
        "blocks": held.blocks,
        "tokens": held.tokens,
        "used_bytes": held.used_bytes,
        "disk_bytes": held.disk_bytes,
        "timeline": [
            {"start_s": one.start_us / 1e6, "end_s": one.end_us / 1e6, "kind": one.kind} for one in state.timeline
        ],
        "marks": [{"label": mark.label, "time_s": mark.time_us / 1e6} for mark in state.marks],
    }


def source_line(source: LiveSource) -> str:
    """Say how a source does."""
    status = source.status
    line = f"{source.name} is {'over' if status.state == 'ended' else status.state}"
    if status.reason:
        line += f": {status.reason}"
    return line


def status_lines(stats: SessionStats, source: LiveSource) -> list[str]:
    """Say how the source and the session do."""
    status = source.status
    age = "" if stats.age_us is None else f", the newest seen {stats.age_us / 1e6:.1f} s ago"
    dropped = ", ".join(f"{count} {reason}" for reason, count in stats.dropped.items() if count)
    lines = [
        f"{source_line(source)}; {status.fps:.1f} frames/s{age}",
        f"{stats.taken} frames looked at, {stats.kept} kept" + (f"; left out: {dropped}" if dropped else ""),
    ]
    if status.reconnects:
        lines.append(f"it came back {status.reconnects} times")
    if status.retry_s is not None:
        lines.append(f"the next try is in {status.retry_s:.0f} s")
    return lines


def status_facts(stats: SessionStats, source: LiveSource) -> dict[str, object]:
    """Give the same for programs."""
    status = source.status
    return {
        "source": source.name,
        "state": status.state,
        "code": status.code,
        "reason": status.reason,
        "fps": round(status.fps, 3),
        "age_s": None if stats.age_us is None else stats.age_us / 1e6,
        "now_s": None if stats.now_us is None else stats.now_us / 1e6,
        "received": stats.received,
        "taken": stats.taken,
        "kept": stats.kept,
        "dropped": dict(stats.dropped),
        "reconnects": status.reconnects,
    }
