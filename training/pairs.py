"""Pairs: what the heads that tell order are fitted on, gathered from samples that the model is run on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from onlooker.theatre.cast import SPRITES

from .contexts import IGNORED, Sample
from .design import vocabulary
from .probes import Embed, joined, probes, sizes

TURNS = ((1, 1.0), (3, 0.6))  # times round the hour, and what each counts for
CODE = 2 * len(TURNS)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Hold what the heads are fitted on.

    inputs: normed inputs of each layer, [tokens, D].  sizes: the residual stream's root mean square there.  question:
    bool [tokens].  timed: bool [tokens], visual tokens whose frame's clock has no hours; angles: [tokens, CODE].
    nouns: int [nouns], in questions; names: their ids; second: float [nouns], 1 for the second of a question.
    attended: the angles that key head 1 of layer 1 finds from them [nouns, CODE]; sure: bool [nouns], that it finds
    them.  first, last: int [pairs], both nouns of a question about order; earlier: float [pairs], 1 where the first
    noun's thing was first, else -1.  due: int, tokens that a name follows in an answer about order; other: int, all
    others of answers.
    """

    inputs: list[Tensor]
    sizes: list[float]
    question: Tensor
    timed: Tensor
    angles: Tensor
    nouns: Tensor
    names: Tensor
    second: Tensor
    attended: Tensor
    sure: Tensor
    first: Tensor
    last: Tensor
    earlier: Tensor
    due: Tensor
    other: Tensor


def angles_of(minute: int) -> Tensor:
    """Tell a minute as cos and sin of its angles round the clock [CODE]."""
    return torch.tensor([f(2 * math.pi * turns * minute / 60) for turns, _ in TURNS for f in (math.cos, math.sin)])


def gather(
    model: LlavaOnevisionForConditionalGeneration,
    samples: Sequence[Sample],
    embed: Embed,
) -> Pairs:
    """Run the samples and pick what the heads are fitted on."""
    words = vocabulary()
    things = torch.tensor([words.index(name) for name in SPRITES])
    inputs: list[list[Tensor]] = []
    squares: list[list[float]] = []
    question, timed, angles = [], [], []
    nouns, names, second, attended, sure = [], [], [], [], []
    first, last, earlier, due, other = [], [], [], [], []
    offset = 0
    for probe in probes(model, samples, embed):
        ids, labels, part = probe.ids, probe.labels, probe.part
        inputs.append(probe.inputs)
        squares.append(probe.squares)
        seen = ids == -1
        told, known = clock_angles(probe.sample, words)
        question.append(part >= 0)
        angles.append(told)
        timed.append(known & seen)
        for number, kind in enumerate(probe.sample.kinds):
            mine = part == number
            asked = torch.nonzero(mine & torch.isin(ids, things) & (labels == IGNORED))[:, 0].tolist()
            said = torch.nonzero(mine & (labels != IGNORED))[:, 0].tolist()
            for place, row in enumerate(asked):
                weight = probe.attentions[1][2:, row].mean(0) * seen
                nouns.append(offset + row)
                names.append(int(ids[row]))
                second.append(float(place))
                attended.append(weight @ told / weight.sum().clamp(min=1e-6))
                sure.append(float(weight[known].sum()) > 0.8)
            begins, follows = words[int(labels[said[0]])], int(labels[said[-2]])
            if kind != "order" or len(asked) != 2 or begins not in ("before", "after", "the"):
                other += [offset + row for row in said]
                continue
            was_first = begins == "before" if begins != "the" else follows == int(ids[asked[0]])
            first.append(offset + asked[0])
            last.append(offset + asked[1])
            earlier.append(1.0 if was_first else -1.0)
            if begins == "the":
                due.append(offset + said[1])
        offset += len(ids)
    return Pairs(
        joined(inputs),
        sizes(squares),
        torch.cat(question),
        torch.cat(timed),
        torch.cat(angles),
        torch.tensor(nouns),
        torch.tensor(names),
        torch.tensor(second),
        torch.stack(attended),
        torch.tensor(sure),
        torch.tensor(first),
        torch.tensor(last),
        torch.tensor(earlier),
        torch.tensor(due),
        torch.tensor(other),
    )


def clock_angles(sample: Sample, words: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Tell the angles [n, CODE] of the clock before each token's frame, and for which they are known, bool [n]."""
    told, known = torch.zeros(len(sample.ids), CODE), torch.zeros(len(sample.ids), dtype=torch.bool)
    for number in range(int(sample.frame[sample.part == -1].max()) + 1):
        mine = torch.from_numpy((sample.frame == number) & (sample.part == -1))
        clock = [words[token] for token in sample.ids[mine.numpy()] if token >= 0]
        if len(clock) == 2:  # with hours it has three
            told[mine], known[mine] = angles_of(int(clock[0])), True
    return told, known
