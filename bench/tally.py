"""The tally of a run: what every question gave under every policy, and its sums by kind and delay."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..theatre.questions import KINDS, Kind, Question
from .output import write_output

DELAYS_S: tuple[int, ...] = (0, 60, 300, 600, 1200, 3600, 6 * 3600, 24 * 3600)


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold one question's outcome under one policy.

    delay_s: lower edge of the delay's bucket, None where nothing was to be found.  found: share of layers with every
    needed span in context, None where nothing is needed.  right: None where the policy could not be run.
    """

    policy: str
    kind: Kind
    delay_s: int | None
    right: bool | None
    found: float | None
    context_tokens: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """Sum up one policy's answers to one kind of question after one delay.

    delay_s: lower edge of the bucket in seconds, null for questions whose answer is that something never came.
    accuracy, span_recall: shares, null where they could not be measured.  context_tokens, memory_bytes: means.
    """

    policy: str
    kind: str
    delay_s: int | None
    n: int
    accuracy: float | None
    span_recall: float | None
    context_tokens: float | None
    memory_bytes: int | None


def delay_of(question: Question) -> int | None:
    """Give the bucket of the time since the oldest needed span ended, None for a question that needs none."""
    if not question.spans_us:
        return None
    passed = (question.asked_us - min(end for _, end in question.spans_us)) / 1e6
    return max(edge for edge in DELAYS_S if edge <= max(passed, 0.0))


def delay_name(delay_s: int | None) -> str:
    """Write a bucket as "1-5 min"."""
    if delay_s is None:
        return "never"

    def told(seconds: int) -> tuple[str, str]:
        return (f"{seconds // 3600}", "h") if seconds >= 3600 else (f"{seconds // 60}", "min")

    later = [edge for edge in DELAYS_S if edge > delay_s]
    start, unit = told(delay_s)
    if not later:
        return f"over {start} {unit}"
    end, end_unit = told(later[0])
    if not delay_s:
        return f"under {end} {end_unit}"
    return f"{start}-{end} {unit}" if unit == end_unit else f"{start} {unit}-{end} {end_unit}"


def mean(values: Iterable[float]) -> float | None:
    """Average; None of nothing."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else None


def summary(replies: Sequence[Reply], policy: str, kind: str, delay_s: int | None) -> Row:
    """Sum up replies that belong to one row."""
    ran = [reply for reply in replies if reply.right is not None]
    tokens = mean(reply.context_tokens for reply in ran)
    held = mean(reply.memory_bytes for reply in ran)
    return Row(
        policy=policy,
        kind=kind,
        delay_s=delay_s,
        n=len(replies),
        accuracy=mean(bool(reply.right) for reply in ran) if len(ran) == len(replies) else None,
        span_recall=mean(reply.found for reply in ran if reply.found is not None),
        context_tokens=None if tokens is None else round(tokens, 1),
        memory_bytes=None if held is None else round(held),
    )


def rows_of(replies: Sequence[Reply]) -> list[Row]:
    """Give a row per policy, kind and delay, in the order of the policies, the kinds and time."""
    rows = []
    for policy in dict.fromkeys(reply.policy for reply in replies):
        mine = [reply for reply in replies if reply.policy == policy]
        for kind in KINDS:
            for delay_s in (*DELAYS_S, None):
                group = [reply for reply in mine if reply.kind == kind and reply.delay_s == delay_s]
                if group:
                    rows.append(summary(group, policy, kind, delay_s))
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as a JSON list.  Raises OnlookerError where the disk refuses."""
    lines = ",\n ".join(json.dumps(asdict(row)) for row in rows)
    write_output(path, f"[{lines}]\n")


def share(value: float | None) -> str:
    """Write a share as "0.87", "-" where there is none."""
    return "-" if value is None else f"{value:.2f}"


def size(count: float | None) -> str:
    """Write bytes as "12.3 MB"."""
    if count is None:
        return "-"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lay cells out in columns, the first to the left, the others to the right; the first line is the head."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    out = []
    for number, line in enumerate(lines):
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        out.append("  ".join(cells).rstrip())
        if number == 0:
            out.append("  ".join("-" * width for width in widths))
    return "\n".join(out)


def table(replies: Sequence[Reply]) -> str:
    """Write the accuracy of every policy: about the past, by kind and by delay, and about the present."""
    policies = list(dict.fromkeys(reply.policy for reply in replies))
    kinds = [kind for kind in KINDS if kind != "present" and any(reply.kind == kind for reply in replies)]
    main = [["policy", "past", "spans", "present", *kinds, "context", "memory"]]
    delays = [d for d in (*DELAYS_S, None) if any(r.delay_s == d and r.kind != "present" for r in replies)]
    late = [["policy", *(delay_name(delay) for delay in delays)]]
    for policy in policies:
        mine = [reply for reply in replies if reply.policy == policy]
        past = [reply for reply in mine if reply.kind != "present"]
        whole = summary(past or mine, policy, "", None)
        by_kind = [summary([r for r in mine if r.kind == kind], policy, kind, None).accuracy for kind in kinds]
        main.append(
            [
                policy,
                share(summary(past, policy, "past", None).accuracy),
                share(summary(past, policy, "past", None).span_recall),
                share(summary([r for r in mine if r.kind == "present"], policy, "present", None).accuracy),
                *map(share, by_kind),
                "-" if whole.context_tokens is None else f"{whole.context_tokens:.0f}",
                size(whole.memory_bytes),
            ]
        )
        late.append(
            [policy, *(share(summary([r for r in past if r.delay_s == d], policy, "", d).accuracy) for d in delays)]
        )
    counts = {policy: [r for r in replies if r.policy == policy] for policy in policies[:1]}
    asked = next(iter(counts.values()), [])
    counted = [str(sum(r.delay_s == d and r.kind != "present" for r in asked)) for d in delays]
    late.append(["questions", *counted])
    main.append(
        [
            "questions",
            str(sum(r.kind != "present" for r in asked)),
            str(sum(r.kind != "present" and r.delay_s is not None for r in asked)),
            str(sum(r.kind == "present" for r in asked)),
            *(str(sum(r.kind == kind for r in asked)) for kind in kinds),
            "",
            "",
        ]
    )
    return f"{aligned(main)}\n\nPast questions by the time since the oldest needed moment:\n\n{aligned(late)}"
