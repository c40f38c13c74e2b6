"""The tables of a pruning run: accuracy by recipe and share of tokens, by what strains it, and what it costs."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..theatre.stress import STRAINS, Strain
from .output import write_output
from .pruning_bench import FULL, MINUTES, Cost, Outcome
from .tally import aligned, mean, share, size


@dataclass(frozen=True, slots=True)
class Line:
    """Sum up one recipe at one rate.

    accuracy: share of right answers over all questions.  spread: standard deviation of the runs' accuracies, None for
    one run.  kept: share of the tokens.  by_strain: accuracy by strain.  Times are means, in milliseconds.
    """

    recipe: str
    rate: float
    n: int
    accuracy: float
    spread: float | None
    kept: float
    by_strain: dict[Strain, float]
    prune_ms: float
    prefill_ms: float | None
    first_token_ms: float
    context_tokens: float


def lines_of(outcomes: Sequence[Outcome]) -> list[Line]:
    """Give a line for each recipe and rate, in the order in which they ran."""
    lines = []
    for recipe, rate in dict.fromkeys((outcome.recipe, outcome.rate) for outcome in outcomes):
        mine = [outcome for outcome in outcomes if (outcome.recipe, outcome.rate) == (recipe, rate)]
        by_run = [_accuracy(o for o in mine if o.run == run) for run in dict.fromkeys(o.run for o in mine)]
        prefill = [outcome.prefill_ms for outcome in mine if outcome.prefill_ms is not None]
        lines.append(
            Line(
                recipe=recipe,
                rate=rate,
                n=sum(len(outcome.right) for outcome in mine),
                accuracy=_accuracy(mine),
                spread=statistics.stdev(by_run) if len(by_run) > 1 else None,
                kept=statistics.mean(outcome.kept for outcome in mine),
                by_strain={strain: _accuracy(mine, strain) for strain in STRAINS},
                prune_ms=statistics.mean(outcome.prune_ms for outcome in mine),
                prefill_ms=mean(prefill),
                first_token_ms=statistics.mean(outcome.first_token_ms for outcome in mine),
                context_tokens=statistics.mean(outcome.context_tokens for outcome in mine),
            )
        )
    return lines


def _accuracy(outcomes: Iterable[Outcome], strain: Strain | None = None) -> float:
    right = [good for outcome in outcomes for kind, good in outcome.right if strain in (None, kind)]
    return sum(right) / max(1, len(right))


def report_text(lines: Sequence[Line], costs: Sequence[Cost], detail: Sequence[float] = (0.10, 0.25)) -> str:
    """Write the tables.  detail: the rates that are shown by strain, where they ran."""
    full = next(line for line in lines if line.recipe == FULL)
    rates = sorted({line.rate for line in lines if line.recipe != FULL})
    by = {(line.recipe, line.rate): line for line in lines}
    names = [name for name in dict.fromkeys(line.recipe for line in lines) if name != FULL]
    names.sort(key=lambda name: -sum(by[name, rate].accuracy for rate in rates))
    parts = [
        f"With every token: {share(full.accuracy)} of {full.n} questions"
        + (f" (standard deviation over runs {full.spread:.2f})." if full.spread is not None else ".")
    ]
    table = [["accuracy at", *(f"{rate:.0%}" for rate in rates), "kept", *(f"/full {rate:.0%}" for rate in rates)]]
    for name in names:
        mine = [by[name, rate] for rate in rates]
        table.append(
            [
                name,
                *(share(line.accuracy) + ("" if line.spread is None else f" ±{line.spread:.2f}"[:6]) for line in mine),
                " ".join(f"{line.kept * 100:.0f}" for line in mine),
                *(f"{line.accuracy / max(full.accuracy, 1e-9):.1%}" for line in mine),
            ]
        )
    parts.append(aligned(table))
    for rate in (rate for rate in detail if rate in rates):
        strains = [[f"at {rate:.0%}, by strain", *STRAINS, "read", "first token"]]
        for line in (full, *(by[name, rate] for name in names)):
            cells = [share(line.by_strain[strain]) for strain in STRAINS]
            strains.append([line.recipe, *cells, f"{line.context_tokens:.0f}", f"{line.first_token_ms:.0f} ms"])
        parts.append(aligned(strains))
    parts.append(_cost_text(full, [by[name, rates[len(rates) // 2]] for name in names], costs))
    return "\n\n".join(parts)


def _cost_text(full: Line, lines: Sequence[Line], costs: Sequence[Cost]) -> str:
    by = {cost.recipe: cost for cost in costs}
    rate = lines[0].rate if lines else 1.0
    table = [[f"a frame, at {rate:.0%}", "reads", "tower", "prune", "prefill", *(f"state, {m} min" for m in MINUTES)]]
    for line in (full, *lines):
        cost = by[line.recipe]
        table.append(
            [
                line.recipe,
                "+".join(cost.needs) or "features",
                f"{cost.tower_ms:.2f} ms",
                f"{line.prune_ms:.2f} ms",
                "-" if line.prefill_ms is None else f"{line.prefill_ms:.2f} ms",
                *(size(count) for count in cost.state_bytes),
            ]
        )
    return aligned(table)


def write_lines(path: Path, lines: Sequence[Line], costs: Sequence[Cost]) -> None:
    """Write lines and costs as JSON.  Raises OnlookerError where the disk refuses."""
    told = {"lines": [asdict(line) for line in lines], "costs": [asdict(cost) for cost in costs]}
    write_output(path, json.dumps(told, indent=1) + "\n")
