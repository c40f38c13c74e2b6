"""Rest: a place for attention where there is nothing to look up, set by least squares.

Key head 0 of layer 1 looks up the time of a noun's thing.  But every other word of a question attended so, too, mostly
to what was just seen, and wrote the time of that where the answer is made: "at 4:23" became "at 19:23".  So plain words
now attend to the very first token, and what that gives is made nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from onlooker.theatre.cast import SPRITES

from .circuits import CLOCK
from .contexts import IGNORED, Sample
from .design import vocabulary
from .motion import outputs
from .order import affine, root, scaled
from .probes import Embed, probes

NATS = 120.0  # that a wholly plain word prefers the first token by
PLAIN = 0.45  # what is less plain than this avoids it
CHANNEL = 63  # that rotary turns least
RIDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Tokens:
    """Hold layer 1's normed inputs [n, D] of all samples' tokens and what they are, bool [n].

    visual, clock: of frames.  first: a sample's first.  noun, plain: of questions and answers, between them all.
    """

    inputs: Tensor
    visual: Tensor
    clock: Tensor
    first: Tensor
    noun: Tensor
    plain: Tensor


def set_rest(
    model: LlavaOnevisionForConditionalGeneration,
    samples: Sequence[Sample],
    embed: Embed,
) -> float:
    """Change key head 0 of layer 1; give the share of questions' tokens that it tells plain or not rightly.

    embed: makes a batch's input embeddings.
    """
    with torch.no_grad():
        seen = gather(model, samples, embed)
        weights = torch.zeros(
            len(seen.inputs)
        )  # the system prompt's own words are like a question's: they do not count
        for kind, weight in ((seen.visual, 1), (seen.first, 1), (seen.clock, 2), (seen.plain, 3), (seen.noun, 20)):
            weights[kind] = weight
        read, bias = affine(seen.inputs, seen.plain.float()[:, None], weights, RIDGE)
        opens, at = affine(seen.inputs, seen.first.float()[:, None], torch.where(seen.first, 200.0, 1.0), RIDGE)
        attention = model.model.language_model.layers[1].self_attn
        for query in (0, 1):
            row = query * 64 + CHANNEL
            attention.q_proj.weight[row], attention.q_proj.bias[row] = scaled(
                root(NATS), read[:, 0], float(bias[0]) - PLAIN
            )
        attention.k_proj.weight[CHANNEL], attention.k_proj.bias[CHANNEL] = scaled(root(NATS), opens[:, 0], at[0])
        keys = outputs(0)
        value = attention.v_proj.weight[keys] @ seen.inputs[seen.first][0] + attention.v_proj.bias[keys]
        attention.v_proj.weight[keys] -= value[:, None] * opens[:, 0]
        attention.v_proj.bias[keys] -= value * at[0]
    asked = seen.noun | seen.plain
    told = (seen.inputs @ read + bias)[:, 0] > PLAIN
    return float((told == seen.plain)[asked].float().mean())


def gather(
    model: LlavaOnevisionForConditionalGeneration,
    samples: Sequence[Sample],
    embed: Embed,
) -> Tokens:
    """Run the samples and tell their tokens apart."""
    words = vocabulary()
    things = torch.tensor([words.index(name) for name in SPRITES])
    hours = torch.tensor([words.index(token) for token in CLOCK])
    parts: list[tuple[Tensor, ...]] = []
    for probe in probes(model, samples, embed):
        ids, asked = probe.ids, probe.part >= 0
        noun = asked & torch.isin(ids, things) & (probe.labels == IGNORED)
        parts.append(
            (
                probe.inputs[1],
                ids == -1,
                ~asked & torch.isin(ids, hours),
                torch.arange(len(ids)) == 0,
                noun,
                asked & ~noun,
            )
        )
    return Tokens(*(torch.cat(part) for part in zip(*parts, strict=True)))
