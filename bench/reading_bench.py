"""What is still answered when recalled tokens are pruned for the question: one memory, and the same questions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import SettingsError
from ..models.backbone import Backbone, HeadId
from ..pruning.readings import READINGS
from ..settings import Settings
from .own import Ours
from .recall_bench import RecallPlan, moments_of, reply_of
from .tally import Reply, aligned, mean, share

RATES: tuple[float, ...] = (0.5, 0.25, 0.1)

WHOLE, FEWER = "none", "fewer-frames"
"""All that was recalled; and the same recall with a smaller budget, which leaves whole frames out."""


@dataclass(frozen=True, slots=True)
class ReadingRow:
    """Sum up the answers under one reading at one rate.

    accuracy: share of right answers, paired with the whole reading's by gained (right here alone) and lost (right there
    alone).  context_tokens: read of the context, text and newest frames too, on average over layers and questions.
    """

    reading: str
    rate: float
    questions: int
    accuracy: float | None
    gained: int
    lost: int
    context_tokens: float | None


def policies_at(
    rates: Sequence[float], names: Sequence[str], heads: tuple[HeadId, ...]
) -> dict[tuple[str, float], Ours]:
    """Make a policy for each reading at each rate, and one for all that was recalled, which is first."""
    found = {(WHOLE, 1.0): Ours("ours", heads)}
    for name in names:
        for rate in rates:
            label = f"ours+{name}@{rate:g}"
            if name == FEWER:
                found[name, rate] = Ours(label, heads, budget=rate)
            elif name != WHOLE:
                found[name, rate] = Ours(label, heads, reading=name, reading_rate=rate)
    return found


def chosen(names: Sequence[str] | None) -> list[str]:
    """Choose readings by name, all of them and FEWER for None.  Raises SettingsError for a name that is not there."""
    known = [*READINGS, FEWER]
    for name in names or ():
        if name not in known:
            raise SettingsError(f"there is no reading {name!r}; choose from {', '.join(known)}")
    return known if names is None else list(dict.fromkeys(names))


def run_readings(
    backbone: Backbone,
    plan: RecallPlan,
    rates: Sequence[float] = RATES,
    names: Sequence[str] | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> list[ReadingRow]:
    """Stream every show once; at its end ask the questions about the past under every reading at every rate.

    Questions about the present are not asked: what they read is not recalled.  Raises SettingsError for a rate outside
    of 0.01..1 or an unknown name.
    """
    for rate in rates:
        if not 0.01 <= rate <= 1.0:
            raise SettingsError(f"a rate is {rate}; give a share of the recalled tokens from 0.01 to 1")
    heads = backbone.card.retrieval_heads
    policies = policies_at(rates, chosen(names), heads)
    replies: dict[tuple[str, float], list[Reply]] = {key: [] for key in policies}
    for number, show in enumerate(plan.shows()):
        title = f"stream {number + 1} of {plan.streams}"
        told(f"{title}: watching")
        *_, (moment, questions) = moments_of(backbone, show, plan, Settings(), heads, title)
        for (name, rate), policy in policies.items():
            told(f"{title}: {len(questions)} questions, {name} at {rate:g}")
            replies[name, rate] += [reply_of(policy, moment, question, plan.answer_tokens) for question in questions]
    whole = replies[WHOLE, 1.0]
    return [row_of(name, rate, found, whole) for (name, rate), found in replies.items()]


def row_of(name: str, rate: float, replies: Sequence[Reply], whole: Sequence[Reply]) -> ReadingRow:
    """Sum up one policy's replies beside those to the same questions over all that was recalled."""
    pairs = [(bool(one.right), bool(other.right)) for one, other in zip(replies, whole, strict=True)]
    return ReadingRow(
        reading=name,
        rate=rate,
        questions=len(replies),
        accuracy=mean(right for right, _ in pairs),
        gained=sum(right and not before for right, before in pairs),
        lost=sum(before and not right for right, before in pairs),
        context_tokens=mean(reply.context_tokens for reply in replies),
    )


def readings_table(rows: Sequence[ReadingRow]) -> str:
    """Write one line for each reading, with a group of columns for each rate: right, gained and lost, tokens read."""
    rates = list(dict.fromkeys(row.rate for row in rows if row.reading != WHOLE))
    whole = next(row for row in rows if row.reading == WHOLE)
    head, first = ["reading"], [WHOLE]
    for rate in rates or [whole.rate]:
        head += [f"at {rate:g}", "+", "-", "context"]
        first += _cells(whole) if len(first) == 1 else [""] * 4
    lines = [head, first]
    for name in dict.fromkeys(row.reading for row in rows if row.reading != WHOLE):
        line = [name]
        for rate in rates:
            line += _cells(next(row for row in rows if (row.reading, row.rate) == (name, rate)))
        lines.append(line)
    return aligned(lines)


def _cells(row: ReadingRow) -> list[str]:
    context = "-" if row.context_tokens is None else f"{row.context_tokens:.0f}"
    return [share(row.accuracy), str(row.gained), str(row.lost), context]
