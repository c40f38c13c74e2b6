"""Calibration: which query heads know where things are, and from which score on something counts as remembered.

Heads are chosen by span recall on streams with known spans.  They are picked greedily on one half of the streams, by
what they find together; how many of them are kept is decided on the other half, asked in wordings that training never
saw as well.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, SettingsError
from ..models.backbone import Backbone, HeadId
from ..models.card import CARD_NAME
from ..settings import Settings
from .head_scores import Case, HeadScorer, reciprocal_rank, span_recall
from .output import check_output, write_output
from .recall_bench import RecallPlan, moments_of
from .relevance import MOST_MISSED, Likeness, Relevance, fit, lay_out, likeness_of
from .tally import aligned
from .theatre import Show

# Streams of calibration share no seed with those of training or of evaluation.
CALIBRATION = 0xCA11
TOP_BLOCKS = 4
MOST_HEADS = 8
DRAWS = 1000
TIE_WEIGHT = 1e-3  # of reciprocal rank beside span recall: it decides only between equals


@dataclass(frozen=True, slots=True)
class Found:
    """Hold a measured span recall with its 95 % bootstrap interval over questions.  rank: mean reciprocal rank."""

    recall: float
    low: float
    high: float
    rank: float

    def __str__(self) -> str:
        return f"{self.recall:.2f} ({self.low:.2f}-{self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Step:
    """Hold one step of the greedy choice: the head that joined, and what all heads so far find together.

    picking: on the streams that chose it.  judging, held_out: on the other streams, in known and in other wordings.
    """

    head: HeadId
    picking: Found
    judging: Found
    held_out: Found


@dataclass(frozen=True, slots=True)
class Calibration:
    """Hold a calibration's result.

    single: every head alone on the picking streams, best first.  relevance: None where it could not be measured.
    """

    model: str
    plan: RecallPlan
    questions: tuple[int, int, int]
    blocks: int
    single: tuple[tuple[HeadId, Found], ...]
    baselines: tuple[tuple[str, Found], ...]
    steps: tuple[Step, ...]
    chosen: tuple[HeadId, ...]
    relevance: Relevance | None = None


def calibrate(
    backbone: Backbone,
    plan: RecallPlan,
    settings: Settings | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Choose up to MOST_HEADS retrieval heads and the threshold of relevance.

    plan: at least two streams; its held_out is not used.  Raises SettingsError when the streams give no questions
    whose evidence is out of the recent window.
    """
    if plan.streams < 2:
        raise SettingsError(f"calibration needs 2 streams or more (to pick heads, to judge them), not {plan.streams}")
    picking: list[Case] = []
    judging: list[Case] = []
    held_out: list[Case] = []
    likeness = [Likeness(), Likeness(), Likeness()]  # picking, judging, held out
    heads: tuple[HeadId, ...] = ()
    blocks = 0
    for number in range(plan.streams):
        show = Show(plan.seed * 1000 + number, plan.minutes * 60.0, namespace=CALIBRATION)
        told(f"stream {number + 1} of {plan.streams}: watching")
        *_, (moment, questions) = moments_of(backbone, show, plan, settings or Settings(), ())
        scorer = HeadScorer(moment)
        heads, blocks = scorer.heads, blocks + len(scorer.blocks)
        told(f"stream {number + 1} of {plan.streams}: asking {len(questions)} questions of {len(heads)} heads")
        cases = [case for case in map(scorer.case, questions) if case is not None]
        if number < (plan.streams + 1) // 2:
            picking += cases
            likeness[0] += likeness_of(moment, questions, show.absent_questions())
        else:
            judging += cases
            likeness[1] += likeness_of(moment, questions, show.absent_questions())
            other = show.questions(None, plan.per_event, held_out=True)
            held_out += [case for case in map(scorer.case, other) if case is not None]
            likeness[2] += likeness_of(moment, other, show.absent_questions(held_out=True))
    if not picking or not judging or not held_out:
        raise SettingsError(f"streams of {plan.minutes:g} minutes gave too few questions; give longer ones (--minutes)")
    told("choosing heads")
    steps = _choose(heads, picking, judging, held_out)
    return Calibration(
        model=backbone.name,
        plan=plan,
        questions=(len(picking), len(judging), len(held_out)),
        blocks=blocks,
        single=_single(heads, picking),
        baselines=_baselines(judging),
        steps=steps,
        chosen=tuple(step.head for step in steps[: _enough(steps)]),
        relevance=fit(*likeness),
    )


def write_card(folder: Path, heads: Sequence[HeadId], relevance: float | None = None) -> None:
    """Put the heads and the threshold of relevance, where there is one, into a model folder's onlooker.json.

    Raises what card_fields does, and OnlookerError where the disk refuses.
    """
    card = card_fields(folder)
    card["retrieval_heads"] = [[head.layer, head.head] for head in heads]
    if relevance is not None:
        card["relevance"] = relevance
    write_output(folder / CARD_NAME, json.dumps(card, indent=2) + "\n")


def card_fields(folder: Path) -> dict[str, object]:
    """Read a model folder's onlooker.json, which is to be written anew; empty where there is none.

    Raises ModelError when that is no model folder or its onlooker.json is broken, SettingsError when it cannot be
    written.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json, so it is no model folder; give the one that was calibrated")
    path = folder / CARD_NAME
    check_output(path)
    if not path.exists():
        return {}
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path} ({error}); mend it or remove it") from error
    if not isinstance(fields, dict):
        raise ModelError(f"{path} must hold a JSON object, not {type(fields).__name__}; mend it or remove it")
    return fields


def _single(heads: Sequence[HeadId], cases: Sequence[Case]) -> tuple[tuple[HeadId, Found], ...]:
    recalls = np.stack([span_recall(case.scores, case.spans, TOP_BLOCKS) for case in cases])  # [questions, heads]
    ranks = np.stack([reciprocal_rank(case.scores, case.spans) for case in cases])
    worth = recalls.mean(axis=0) + TIE_WEIGHT * ranks.mean(axis=0)
    order = np.argsort(-worth, kind="stable")
    return tuple((heads[place], _found(recalls[:, place], ranks[:, place])) for place in order)


def _choose(
    heads: Sequence[HeadId], picking: Sequence[Case], judging: Sequence[Case], held_out: Sequence[Case]
) -> tuple[Step, ...]:
    """Add the head that helps most to those before it, up to MOST_HEADS times."""
    steps: list[Step] = []
    chosen: list[int] = []
    for _ in range(min(MOST_HEADS, len(heads))):
        worth = np.zeros(len(heads))
        for case in picking:
            together = (case.scores[chosen].sum(axis=0) + case.scores) / (len(chosen) + 1)  # [heads, n]
            worth += span_recall(together, case.spans, TOP_BLOCKS)
            worth += TIE_WEIGHT * reciprocal_rank(together, case.spans)
        worth[chosen] = -np.inf
        chosen.append(int(worth.argmax()))
        found = [measure(cases, chosen) for cases in (picking, judging, held_out)]
        steps.append(Step(heads[chosen[-1]], *found))
    return tuple(steps)


def measure(cases: Sequence[Case], rows: Sequence[int]) -> Found:
    """Measure what the heads of these rows find together: the mean of their scores."""
    scores = [case.scores[list(rows)].mean(axis=0, keepdims=True) for case in cases]
    return _measured(cases, scores)


def _baselines(cases: Sequence[Case]) -> tuple[tuple[str, Found], ...]:
    """Measure mean keys and the mean of all heads on the judging streams."""
    layers = cases[0].mean_keys.shape[0]
    by_layer = [_measured(cases, [case.mean_keys[layer][None] for case in cases]) for layer in range(layers)]
    best = max(range(layers), key=lambda layer: by_layer[layer].recall)
    average = np.stack([span_recall(case.mean_keys, case.spans, TOP_BLOCKS).mean() for case in cases])
    ranks = np.stack([reciprocal_rank(case.mean_keys, case.spans).mean() for case in cases])
    return (
        ("mean keys, each layer by itself, on average", _found(average, ranks)),
        (f"mean keys, best layer ({best})", by_layer[best]),
        ("token maximum, mean of all heads", _measured(cases, [case.scores.mean(axis=0)[None] for case in cases])),
    )


def _measured(cases: Sequence[Case], scores: Sequence[NDArray[np.floating]]) -> Found:
    """Measure scores [1, n], one for each case."""
    pairs = list(zip(cases, scores, strict=True))
    recalls = np.array([span_recall(row, case.spans, TOP_BLOCKS)[0] for case, row in pairs])
    return _found(recalls, np.array([reciprocal_rank(row, case.spans)[0] for case, row in pairs]))


def _found(recalls: NDArray[np.float64], ranks: NDArray[np.float64]) -> Found:
    draws = np.random.default_rng(0).integers(len(recalls), size=(DRAWS, len(recalls)))
    low, high = np.quantile(recalls[draws].mean(axis=1), [0.025, 0.975])
    return Found(float(recalls.mean()), float(low), float(high), float(ranks.mean()))


def _enough(steps: Sequence[Step]) -> int:
    """Take the fewest heads that come within one standard error of the best number of them, both wordings counted."""
    scores = [(step.judging.recall + step.held_out.recall) / 2 for step in steps]
    best = max(range(len(steps)), key=scores.__getitem__)
    width = steps[best].judging.high - steps[best].judging.low
    error = width / 3.92  # a 95 % interval is 3.92 standard errors wide
    return next(n + 1 for n, score in enumerate(scores) if score >= scores[best] - error)


def tables(result: Calibration) -> tuple[list[list[str]], ...]:
    """Lay the result out: single heads, baselines, greedy steps, relevance; the first line of each is its head."""
    single = [["layer", "head", "span recall", "reciprocal rank"]]
    single += [[str(h.layer), str(h.head), str(found), f"{found.rank:.2f}"] for h, found in result.single[:16]]
    base = [["baseline", "span recall", "reciprocal rank"]]
    base += [[name, str(found), f"{found.rank:.2f}"] for name, found in result.baselines]
    steps = [["heads", "joins (layer:head)", "picking", "judging", "other wording", "kept"]]
    for number, step in enumerate(result.steps):
        head = f"{step.head.layer}:{step.head.head}"
        kept = "yes" if number < len(result.chosen) else ""
        steps.append([str(number + 1), head, str(step.picking), str(step.judging), str(step.held_out), kept])
    return single, base, steps, lay_out(result.relevance)


def _titles(result: Calibration) -> tuple[str, str, str, str, str]:
    plan, (picking, judging, other) = result.plan, result.questions
    pickers = (plan.streams + 1) // 2
    intro = (
        f"{result.model}: {plan.streams} streams of {plan.minutes:g} min at {plan.fps:g} frames/s, seed {plan.seed}, "
        f"{result.blocks} blocks. Span recall is the share of needed spans with a block among the {TOP_BLOCKS} best, "
        "with its 95 % bootstrap interval over questions."
    )
    return (
        intro,
        f"Single heads, the best of {len(result.single)} ({pickers} picking streams, {picking} questions)",
        f"Without calibration ({plan.streams - pickers} judging streams, {judging} questions)",
        f"Heads together, picked greedily (judging: {judging} questions; other wording: {other})",
        "Relevance: the best cosine of a word of the question with a visual token, for things shown and never shown",
    )


def _relevance_line(result: Calibration) -> str:
    if result.relevance is None:
        return "Relevance could not be measured: the model's visual features have no words to be compared with"
    return (
        f"Relevant: above a cosine of {result.relevance.threshold:g}, chosen on the picking streams so that at most "
        f"{MOST_MISSED:.0%} of what was shown there is missed"
    )


def text_report(result: Calibration) -> str:
    """Write the result for a terminal."""
    intro, *titles = _titles(result)
    parts = [intro]
    for title, lines in zip(titles, tables(result), strict=True):
        parts.append(f"{title}:\n\n{aligned(lines)}")
    parts.append("Chosen: " + ", ".join(f"{head.layer}:{head.head}" for head in result.chosen))
    parts.append(_relevance_line(result))
    return "\n\n".join(parts)


def markdown_report(result: Calibration, command: str) -> str:
    """Write the result as a page of documentation.  command: what made it."""
    intro, *titles = _titles(result)
    parts = [f"# Retrieval heads of {result.model}", f"Made by `{command}`.", intro]
    for title, lines in zip(titles, tables(result), strict=True):
        head, *body = ["| " + " | ".join(line) + " |" for line in lines]
        parts += [f"## {title}", "\n".join([head, "|" + " --- |" * len(lines[0]), *body])]
    parts.append("Chosen (layer:head): " + ", ".join(f"{head.layer}:{head.head}" for head in result.chosen) + ".")
    parts.append(_relevance_line(result) + ".")
    return "\n\n".join(parts) + "\n"
