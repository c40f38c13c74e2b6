"""Relevance: from which score on something that was asked about counts as remembered.

The score is what a session judges by: the best cosine of a word of the question with a visual token of anything seen,
recent keyframes included.  It is measured for questions about what was shown and about what never was; the threshold
is chosen on the picking streams, in known wordings, and judged on the other streams, in known and in other wordings.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..stream.reading import Reader
from ..theatre.questions import Question
from .moment import Moment

# Calling a memory not remembered is the worse error: it may happen to so few of them, and weighs so much.
MOST_MISSED = 0.03
MISS_WEIGHT = 4.0
QUANTILES = (0.05, 0.5, 0.95)
LEAST_QUESTIONS = 10
"""Of either kind, in both halves: fewer would make a threshold of whatever the few happened to be."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Hold the scores of questions about what was shown and of questions about what never was."""

    shown: tuple[float, ...] = ()
    absent: tuple[float, ...] = ()

    def __add__(self, other: "Likeness") -> "Likeness":
        return Likeness(self.shown + other.shown, self.absent + other.absent)


@dataclass(frozen=True, slots=True)
class Spread:
    """Say how far apart the scores are.

    counts: questions about what was shown, and about what never was.  shown, absent: their QUANTILES.  auc: how often
    the first of a pair of them has the higher score.  missed: share of what was shown that is called not remembered.
    let_through: share of what never was that is taken for remembered.
    """

    name: str
    counts: tuple[int, int]
    shown: tuple[float, ...]
    absent: tuple[float, ...]
    auc: float
    missed: float
    let_through: float


@dataclass(frozen=True, slots=True)
class Relevance:
    """Hold the threshold and how well it parts the questions, on the picking streams first."""

    threshold: float
    spreads: tuple[Spread, ...]


def likeness_of(moment: Moment, shown: Sequence[Question], absent: Sequence[Question]) -> Likeness:
    """Measure questions at a moment, as a session without retrieval heads does: they do not change this score."""
    view = copy.copy(moment.ingest)  # the same memory under other settings
    view.settings = replace(view.settings, gate="always", fusion="embeddings")
    reader = Reader(view, ())

    def measure(questions: Sequence[Question]) -> tuple[float, ...]:
        found = (reader.read(question.text).likeness for question in questions)
        return tuple(score for score in found if score is not None)

    return Likeness(measure([question for question in shown if question.spans_us]), measure(absent))


def fit(picking: Likeness, judging: Likeness, reworded: Likeness) -> Relevance | None:
    """Choose the threshold, and judge it; None where picking or judging has too few questions of a kind."""
    parts = [("picking", picking), ("judging", judging), ("other wording", reworded)]
    measured = [(name, part) for name, part in parts if min(len(part.shown), len(part.absent)) >= LEAST_QUESTIONS]
    if measured[:2] != parts[:2]:
        return None
    threshold = choose_threshold(picking)
    return Relevance(threshold, tuple(_spread(name, part, threshold) for name, part in measured))


def choose_threshold(scores: Likeness) -> float:
    """Find the least bad threshold, between two scores that were measured, among those that miss few memories."""
    shown, absent = np.sort(scores.shown), np.sort(scores.absent)
    values = np.unique(np.concatenate((shown, absent)))
    between = np.concatenate(([values[0] - 1e-4], (values[1:] + values[:-1]) / 2))
    missed = np.searchsorted(shown, between, side="right") / len(shown)
    let_through = 1.0 - np.searchsorted(absent, between, side="right") / len(absent)
    cost = np.where(missed <= MOST_MISSED, MISS_WEIGHT * missed + let_through, np.inf)
    return round(float(np.clip(between[cost.argmin()], -1.0, 1.0)), 4)


def area(shown: NDArray[np.float64], absent: NDArray[np.float64]) -> float:
    """Give the area under the curve of hits over false alarms (AUC); equal scores count half."""
    below, not_above = (np.searchsorted(np.sort(absent), shown, side=side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(absent))


def _spread(name: str, scores: Likeness, threshold: float) -> Spread:
    shown, absent = np.asarray(scores.shown), np.asarray(scores.absent)
    return Spread(
        name=name,
        counts=(len(shown), len(absent)),
        shown=tuple(np.quantile(shown, QUANTILES).tolist()),
        absent=tuple(np.quantile(absent, QUANTILES).tolist()),
        auc=area(shown, absent),
        missed=float((shown <= threshold).mean()),
        let_through=float((absent > threshold).mean()),
    )


def lay_out(relevance: Relevance | None) -> list[list[str]]:
    """Lay the result out as a table; the first line is its head."""
    head = ["streams", "shown", "5 / 50 / 95 %", "never", "5 / 50 / 95 %", "AUC", "missed", "let through"]
    table = [head]
    for spread in relevance.spreads if relevance is not None else ():
        quantiles = [" / ".join(f"{value:.2f}" for value in row) for row in (spread.shown, spread.absent)]
        shares = [f"{spread.auc:.2f}", f"{spread.missed:.2f}", f"{spread.let_through:.2f}"]
        table.append([spread.name, str(spread.counts[0]), quantiles[0], str(spread.counts[1]), quantiles[1], *shares])
    return table
