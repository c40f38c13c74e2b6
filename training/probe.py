"""Probe: a pass over one sample that shows what the layers of the language model saw."""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPast

from .contexts import Sample, collate

Embed = Callable[[dict[str, Tensor]], Tensor]
"""Makes a batch's input embeddings [B, n, D]."""


def probe(
    model: LlavaOnevisionForConditionalGeneration, sample: Sample, embed: Embed, attentions: bool = False
) -> tuple[dict[str, Tensor], BaseModelOutputWithPast]:
    """Run a sample: its batch, and hidden states of all layers; attentions too, with the eager implementation."""
    batch = collate([sample])
    out = model.model.language_model(
        inputs_embeds=embed(batch),
        attention_mask={"full_attention": torch.where(batch["mask"], 0.0, -1e9)},
        position_ids=batch["positions"],
        use_cache=False,
        output_hidden_states=True,
        output_attentions=attentions,
    )
    return batch, out
