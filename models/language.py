"""The language side of a backbone: passes over a context, and decoding, for any text model of transformers."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from ..errors import ModelError
from ..memory.block import Context, KVLayout, RotarySpec
from ..memory.rotary import angle_table
from .attention import AttentionPass, Tail
from .backbone import ContextSelector, HeadId, Prefill, Sampling
from .decoding import TokenPicker

# Rotary types whose frequencies do not change with the length of the sequence.
_STATIC_ROTARY = ("default", "linear", "llama3", "yarn")


class LanguageModel:
    """Run a text model whose attention implementation is ours, and its output head.

    Keeps the weights and nothing else: every pass gets its context and gives back what it made.
    """

    def __init__(self, text_model: PreTrainedModel, head: nn.Module, layout: KVLayout, device: torch.device) -> None:
        self._text_model, self._head = text_model, head
        self._layout, self._device = layout, device

    def prefill(
        self,
        features: Tensor,
        positions: Tensor,
        context: Context | None = None,
        *,
        heads: Sequence[HeadId] = (),
        logits: bool = False,
        select: ContextSelector | None = None,
        planes: Tensor | None = None,
    ) -> Prefill:
        """Run features [n, D] at positions int64 [n, axes], as Backbone.prefill says."""
        with torch.no_grad():
            self._check(features, positions, context, heads, planes)
            cos, sin = self._angles(positions)
            state = AttentionPass(cos, sin, context, select=select, heads=heads)
            hidden = self._run(features, state, planes)
            last = self._logits(hidden) if logits else None
            return Prefill(torch.stack(state.keys), torch.stack(state.values), state.queries, last)

    def tokens(
        self,
        features: Tensor,
        positions: Tensor,
        context: Context | None,
        sampling: Sampling,
        select: ContextSelector | None = None,
        planes: Tensor | None = None,
    ) -> Iterator[int]:
        """Prefill features [n, D], then yield up to max_tokens picked token ids; the caller stops it at a stop id.

        Each new token stands one past the last position, on every axis.
        """
        self._check(features, positions, context, (), planes)
        return self._steps(features, positions, context, sampling, select, planes)

    def _steps(
        self,
        features: Tensor,
        positions: Tensor,
        context: Context | None,
        sampling: Sampling,
        select: ContextSelector | None,
        planes: Tensor | None,
    ) -> Iterator[int]:
        # Gradients are switched off around each pass, never across a yield: the mode belongs to the thread.
        picker, tail = TokenPicker(sampling), Tail(sampling.max_tokens)
        with torch.no_grad():
            cos, sin = self._angles(positions)
            state = AttentionPass(cos, sin, context, select=select, capture=False, tail=tail)
            logits = self._logits(self._run(features, state, planes))
            following = torch.arange(sampling.max_tokens, device=positions.device) + positions.max() + 1
            cos, sin = self._angles(following[:, None].expand(-1, self._layout.rotary.axes))
        embedding = self._text_model.get_input_embeddings()
        for step in range(sampling.max_tokens):
            token = picker.pick(logits)
            yield token
            if step + 1 == sampling.max_tokens:
                return
            with torch.no_grad():
                state = AttentionPass(cos[step : step + 1], sin[step : step + 1], capture=False, tail=tail)
                logits = self._logits(self._run(embedding(torch.tensor([token], device=self._device)), state))

    def _run(self, features: Tensor, state: AttentionPass, planes: Tensor | None = None) -> Tensor:
        """Run new tokens [n, D] through all layers; gives hidden states [n, D]."""
        rows, axes = features.shape[0], self._layout.rotary.axes
        more: dict[str, object] = {}
        if planes is not None:
            # Every row counts as visual: text has zeros, which add nothing.
            more["visual_pos_masks"] = torch.ones((1, rows), dtype=torch.bool, device=self._device)
            more["deepstack_visual_embeds"] = list(planes.to(self._device, self._layout.dtype).unbind(dim=1))
        shape = (1, rows) if axes == 1 else (axes, 1, rows)
        out = self._text_model(
            inputs_embeds=features.to(self._device, self._layout.dtype)[None],
            # Position 0 makes the model's own rotary embedding the identity.
            position_ids=torch.zeros(shape, dtype=torch.int64, device=self._device),
            use_cache=False,
            attention_pass=state,
            **more,
        )
        hidden: Tensor = out.last_hidden_state
        return hidden[0]

    def _logits(self, hidden: Tensor) -> Tensor:
        """Give float32 logits [vocab] after the last token."""
        logits: Tensor = self._head(hidden[-1:])
        return logits[0].float()

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return angle_table(positions.to(self._device), self._layout.rotary, self._layout.dtype)

    def _check(
        self,
        features: Tensor,
        positions: Tensor,
        context: Context | None,
        heads: Sequence[HeadId],
        planes: Tensor | None,
    ) -> None:
        """Refuse what would only fail deep inside, or not at all.  Raises ModelError."""
        layout = self._layout
        new = features.shape[0]
        if features.ndim != 2 or new == 0:
            raise ModelError(f"a pass needs features [n, D] with n >= 1, not {list(features.shape)}")
        if planes is not None and (planes.ndim != 3 or (planes.shape[0], planes.shape[2]) != features.shape):
            raise ModelError(f"planes must be [{new}, planes, {features.shape[1]}], not {list(planes.shape)}")
        if tuple(positions.shape) != (new, layout.rotary.axes):
            raise ModelError(f"positions must be [{new}, {layout.rotary.axes}], not {list(positions.shape)}")
        shape = (layout.layers, layout.kv_heads, layout.head_dim)
        if context is not None and (*context.keys.shape[:2], context.keys.shape[3]) != shape:
            raise ModelError(f"the context is of another model: its keys are {list(context.keys.shape)}")
        if context is not None and context.keys.dtype != layout.dtype:
            raise ModelError(f"the context's keys are {context.keys.dtype}, but the model runs in {layout.dtype}")
        for head in heads:
            if not (0 <= head.layer < layout.layers and 0 <= head.head < layout.query_heads):
                raise ModelError(f"{head} is outside the model's {layout.layers} layers of {layout.query_heads} heads")


def rotary_spec(text_model: nn.Module, config: PreTrainedConfig, interleaved: bool = False) -> RotarySpec:
    """Read a text model's rotary embedding, 1-D or M-RoPE.

    interleaved: whether M-RoPE's axes alternate; the configs of either kind do not say.  The scaling is 1: a factor on
    cos and sin (YaRN) acts at position 0 too, so the raw keys have it already.  Raises ModelError for a kind that
    changes with length, for sections that do not add up, and for layers that see a sliding window only.
    """
    kind = (config.rope_parameters or {}).get("rope_type", "default")
    if kind not in _STATIC_ROTARY:
        raise ModelError(f'rotary embedding of type "{kind}" is not supported; these are: {", ".join(_STATIC_ROTARY)}')
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise ModelError("layers with a sliding window are not supported: what memory recalls would lie outside of it")
    # Made anew, in float32: the loaded one may have been rounded to the model's dtype.
    kind_of_rotary: Any = type(text_model.rotary_emb)
    made = kind_of_rotary(config=config)
    frequencies = tuple(float(frequency) for frequency in made.inv_freq.double())
    sections = tuple(int(length) for length in getattr(made, "mrope_section", ()))
    if sections and sum(sections) != len(frequencies):
        raise ModelError(
            f"the M-RoPE sections {list(sections)} take {sum(sections)} frequencies, but a head has "
            f"{len(frequencies)}; mend mrope_section in config.json"
        )
    return RotarySpec(frequencies, sections, interleaved and bool(sections))
