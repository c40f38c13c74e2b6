"""Calibration: which query heads know where things are, and from which score on something counts as remembered.

Heads are chosen by span recall on streams with known spans.  They are picked greedily on one half of the streams, by
what they find together; how many of them are kept is decided on the other half, asked in wordings that training never
saw as well, where there are some.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, SettingsError
from ..models.backbone import Backbone, HeadId
from ..models.calibrations import StoredCalibration
from ..models.card import CARD_NAME
from ..settings import Settings
from .calibration_streams import Material
from .head_scores import Case, HeadScorer, reciprocal_rank, span_recall
from .output import check_output, write_output
from .relevance import Likeness, Relevance, fit, likeness_of

TOP_BLOCKS = 4
MOST_HEADS = 8
Z = 1.96  # standard deviations either side that hold 95 %
LUCK = 0.025  # how likely luck alone may be, for heads to be kept
TIE_WEIGHT = 1e-3  # of reciprocal rank beside span recall: it decides only between equals


@dataclass(frozen=True, slots=True)
class Found:
    """Hold a measured span recall with its 95 % interval (Wilson's, over questions).  rank: mean reciprocal rank."""

    recall: float
    low: float
    high: float
    rank: float

    def __str__(self) -> str:
        return f"{self.recall:.2f} ({self.low:.2f}-{self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Step:
    """Hold one step of the greedy choice: the head that joined, and what all heads so far find together.

    picking: on the streams that chose it.  judging, reworded: on the other streams, in known and in other wordings
    (None where there are none).
    """

    head: HeadId
    picking: Found
    judging: Found
    reworded: Found | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """Hold a calibration's result.

    streams: what was watched, in words.  pickers, judges: how many streams picked heads and judged them.  questions:
    picking, judging, reworded.  single: every head alone on the picking streams, best first.  chance: span recall of
    as many blocks drawn at random, on the judging streams.  relevance: None where it could not be measured.
    """

    model: str
    streams: str
    pickers: int
    judges: int
    questions: tuple[int, int, int]
    blocks: int
    single: tuple[tuple[HeadId, Found], ...]
    baselines: tuple[tuple[str, Found], ...]
    steps: tuple[Step, ...]
    chosen: tuple[HeadId, ...]
    chance: float
    relevance: Relevance | None = None

    @property
    def tries(self) -> str:
        """Say in words why luck is not ruled out."""
        return f"{len(self.steps)} numbers of heads were tried on {self.questions[1]} questions"

    @property
    def sure(self) -> bool:
        """Say whether the chosen heads surely find more than chance does, on the judging streams.

        These decided how many heads are kept, so luck had as many tries as there were numbers of heads (Bonferroni).
        """
        found = self.steps[len(self.chosen) - 1].judging.recall
        return by_luck(found, self.questions[1], self.chance) * len(self.steps) < LUCK


def calibrate(
    backbone: Backbone,
    material: Material,
    settings: Settings | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Choose up to MOST_HEADS retrieval heads and the threshold of relevance.

    material: at least two streams; the first half of them picks heads.  Raises SettingsError when the streams give no
    questions whose evidence is out of the recent window.
    """
    if material.count < 2:
        raise SettingsError(
            f"calibration needs 2 streams or more (to pick heads, to judge them), not {material.count}; give more"
        )
    picking: list[Case] = []
    judging: list[Case] = []
    reworded: list[Case] = []
    likeness = [Likeness(), Likeness(), Likeness()]  # picking, judging, reworded
    heads: tuple[HeadId, ...] = ()
    blocks, pickers = 0, (material.count + 1) // 2
    # Heads are chosen for their keys, not for a codec's; twice the usual tokens show more of them.
    exact = replace(settings or Settings(prune_rate=0.5), codec="raw")
    for number, watched in enumerate(material.watch(backbone, exact, told)):
        moment = watched.moment
        scorer = HeadScorer(moment)
        heads, blocks = scorer.heads, blocks + len(scorer.blocks)
        told(f"stream {number + 1} of {material.count}: asking {len(watched.shown)} questions of {len(heads)} heads")
        cases = [case for case in map(scorer.case, watched.shown) if case is not None]
        if number < pickers:
            picking += cases
            likeness[0] += likeness_of(moment, watched.shown, watched.absent)
            continue
        judging += cases
        likeness[1] += likeness_of(moment, watched.shown, watched.absent)
        if watched.reworded is not None:
            shown, absent = watched.reworded
            reworded += [case for case in map(scorer.case, shown) if case is not None]
            likeness[2] += likeness_of(moment, shown, absent)
    if not picking or not judging:
        raise SettingsError(
            "the streams gave too few questions about what had left the recent frames; give longer ones"
        )
    told("choosing heads")
    steps = _choose(heads, picking, judging, reworded)
    return Calibration(
        model=backbone.name,
        streams=material.title,
        pickers=pickers,
        judges=material.count - pickers,
        questions=(len(picking), len(judging), len(reworded)),
        blocks=blocks,
        single=_single(heads, picking),
        baselines=_baselines(judging),
        steps=steps,
        chosen=tuple(step.head for step in steps[: _enough(steps)]),
        chance=float(np.mean([by_chance(case.spans, TOP_BLOCKS) for case in judging])),
        relevance=fit(*likeness),
    )


def stored(result: Calibration, backbone: Backbone) -> StoredCalibration:
    """Say what of a result is kept for the model it was measured with."""
    found = result.steps[len(result.chosen) - 1].judging
    return StoredCalibration(
        model=result.model,
        weights=backbone.weights,
        fingerprint=backbone.layout.fingerprint,
        heads=result.chosen,
        relevance=None if result.relevance is None else result.relevance.threshold,
        recall=(found.low, found.recall, found.high),
        streams=result.streams,
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
    heads: Sequence[HeadId], picking: Sequence[Case], judging: Sequence[Case], reworded: Sequence[Case]
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
        last = measure(reworded, chosen) if reworded else None
        steps.append(Step(heads[chosen[-1]], measure(picking, chosen), measure(judging, chosen), last))
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


def by_chance(spans: NDArray[np.bool_], top: int) -> float:
    """Give the span recall to be expected of `top` of n blocks drawn at random.  spans: bool [spans, n]."""
    count = spans.shape[1]
    if count < top:
        return 1.0
    missed = [math.comb(count - int(own), top) / math.comb(count, top) for own in spans.sum(axis=1)]
    return 1.0 - float(np.mean(missed))


def _measured(cases: Sequence[Case], scores: Sequence[NDArray[np.floating]]) -> Found:
    """Measure scores [1, n], one for each case."""
    pairs = list(zip(cases, scores, strict=True))
    recalls = np.array([span_recall(row, case.spans, TOP_BLOCKS)[0] for case, row in pairs])
    return _found(recalls, np.array([reciprocal_rank(row, case.spans)[0] for case, row in pairs]))


def _found(recalls: NDArray[np.float64], ranks: NDArray[np.float64]) -> Found:
    """Measure; Wilson's interval does not shrink to nothing when all of a few questions are found, as a bootstrap's."""
    count, share = len(recalls), float(recalls.mean())
    centre = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    half = Z / (1 + Z * Z / count) * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    return Found(share, max(0.0, centre - half), min(1.0, centre + half), float(ranks.mean()))


def by_luck(found: float, count: int, chance: float) -> float:
    """Give how likely at least this share of so many questions is found by chance alone (binomial, rounded down)."""
    least = math.floor(found * count + 1e-9)
    return sum(math.comb(count, n) * chance**n * (1 - chance) ** (count - n) for n in range(least, count + 1))


def _enough(steps: Sequence[Step]) -> int:
    """Take the fewest heads that come within one standard error of the best number of them, both wordings counted."""
    scores = [
        step.judging.recall if step.reworded is None else (step.judging.recall + step.reworded.recall) / 2
        for step in steps
    ]
    best = max(range(len(steps)), key=scores.__getitem__)
    width = steps[best].judging.high - steps[best].judging.low
    error = width / 3.92  # a 95 % interval is 3.92 standard errors wide
    return next(n + 1 for n, score in enumerate(scores) if score >= scores[best] - error)
