"""Probes: passes over samples that show what the layers of the language model see."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from .contexts import Sample, collate

Embed = Callable[[dict[str, Tensor]], Tensor]
"""Makes a batch's input embeddings [B, n, D]."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Hold one sample's pass, n tokens.

    ids, labels, part: int [n], as in Sample.  features: of its visual tokens [visual, D].  inputs: each layer's normed
    inputs [n, D].  squares: the mean square of the residual stream there.  attentions: each layer's [heads, n, n].
    """

    sample: Sample
    ids: Tensor
    labels: Tensor
    part: Tensor
    features: Tensor
    inputs: list[Tensor]
    squares: list[float]
    attentions: list[Tensor]


def probes(model: LlavaOnevisionForConditionalGeneration, samples: Sequence[Sample], embed: Embed) -> Iterator[Probe]:
    """Run the samples, one after the other."""
    language = model.model.language_model
    model.set_attn_implementation("eager")
    try:
        for sample in samples:
            batch = collate([sample])
            out = language(
                inputs_embeds=embed(batch),
                attention_mask={"full_attention": torch.where(batch["mask"], 0.0, -1e9)},
                position_ids=batch["positions"],
                use_cache=False,
                output_hidden_states=True,
                output_attentions=True,
            )
            streams = [hidden[0] for hidden in out.hidden_states[: len(language.layers)]]
            yield Probe(
                sample,
                *(batch[name][0] for name in ("ids", "labels", "part")),
                batch["features"].float(),
                [layer.input_layernorm(stream) for layer, stream in zip(language.layers, streams, strict=True)],
                [float(stream.pow(2).mean()) for stream in streams],
                [attention[0] for attention in out.attentions],
            )
    finally:
        model.set_attn_implementation("sdpa")


def joined(inputs: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Lay the inputs of all samples end to end, layer by layer [tokens, D]."""
    return [torch.cat(rows) for rows in zip(*inputs, strict=True)]


def sizes(squares: Sequence[Sequence[float]]) -> list[float]:
    """Give the residual stream's root mean square over all samples, layer by layer."""
    return [(sum(values) / len(values)) ** 0.5 for values in zip(*squares, strict=True)]
