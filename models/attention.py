"""The attention of one pass: rotation, context and capture, outside of any model object.

The text model runs with position 0 everywhere, which makes its own rotary embedding the identity. What a layer hands
to its attention function is then raw: the function registered here rotates queries and keys itself, attends to
[context | new tokens], and keeps what the caller asked for. All of it travels in an AttentionPass, a keyword argument
of the model's forward, so that two sessions can share one model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from ..memory.block import Context
from ..memory.rotary import rotate
from .backbone import ContextSelector, HeadId, LayerContext

ATTENTION_NAME = "onlooker"


class Tail:
    """Hold rotated keys and values of one answer in buffers that are allocated once and filled in place.

    reserve: how many tokens may follow those of the first pass.
    """

    def __init__(self, reserve: int) -> None:
        self._reserve = reserve
        self._buffers: dict[int, tuple[Tensor, Tensor]] = {}
        self._lengths: dict[int, int] = {}

    def holds(self, layer: int) -> bool:
        """Tell whether the layer's context was copied in already."""
        return layer in self._buffers

    def start(self, layer: int, context: LayerContext | None, like: Tensor) -> None:
        """Allocate a layer's buffers and copy its context in.  like: new keys [kv_heads, n, head_dim]."""
        length = 0 if context is None else context.keys.shape[1]
        shape = (like.shape[0], length + like.shape[1] + self._reserve, like.shape[2])
        keys, values = like.new_empty(shape), like.new_empty(shape)
        if context is not None:
            keys[:, :length] = context.keys
            values[:, :length] = context.values
        self._buffers[layer], self._lengths[layer] = (keys, values), length

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add new keys and values [kv_heads, n, head_dim]; returns views of all so far."""
        held_keys, held_values = self._buffers[layer]
        start = self._lengths[layer]
        end = start + keys.shape[1]
        held_keys[:, start:end] = keys
        held_values[:, start:end] = values
        self._lengths[layer] = end
        return held_keys[:, :end], held_values[:, :end]


class AttentionPass:
    """Carry one pass of n new tokens through all layers.

    cos, sin: [n, head_dim] of the new tokens' positions.  context: rotated keys and values that all new tokens see.
    select: gives each layer its context in place of context.  heads: whose raw queries are kept, in queries.
    capture: whether raw keys and values are kept, in keys and values (one [kv_heads, n, head_dim] per layer).
    tail: where rotated keys and values are kept for the steps that follow; None for a pass that stands alone.
    """

    def __init__(
        self,
        cos: Tensor,
        sin: Tensor,
        context: Context | None = None,
        *,
        select: ContextSelector | None = None,
        heads: Sequence[HeadId] = (),
        capture: bool = True,
        tail: Tail | None = None,
    ) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.queries: dict[HeadId, Tensor] = {}
        self._cos, self._sin = cos, sin
        self._context, self._select = context, select
        self._heads: dict[int, list[HeadId]] = {}
        for head in heads:
            self._heads.setdefault(head.layer, []).append(head)
        self._capture, self._tail = capture, tail
        self._masks: dict[int, Tensor] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Run one layer: raw query [query_heads, n, head_dim], raw key and value [kv_heads, n, head_dim].

        Returns [n, query_heads, head_dim].
        """
        if self._capture:
            self.keys.append(key)
            self.values.append(value)
        for head in self._heads.get(layer, ()):
            self.queries[head] = query[head.head].clone()
        turned = rotate(key, self._cos, self._sin)
        keys, values = self._extend(layer, query, turned, value)
        return self._attention(rotate(query, self._cos, self._sin), keys, values, scaling)

    def _extend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put the layer's context before the new keys and values."""
        if self._tail is None:
            context = self._layer_context(layer, query)
            if context is None:
                return key, value
            return torch.cat((context.keys, key), dim=1), torch.cat((context.values, value), dim=1)
        if not self._tail.holds(layer):
            self._tail.start(layer, self._layer_context(layer, query), key)
        return self._tail.append(layer, key, value)

    def _layer_context(self, layer: int, query: Tensor) -> LayerContext | None:
        if self._select is not None:
            return self._select(layer, query)
        if self._context is None or len(self._context) == 0:
            return None
        return LayerContext(self._context.keys[layer], self._context.values[layer])

    def _attention(self, query: Tensor, keys: Tensor, values: Tensor, scaling: float) -> Tensor:
        """Attend with the queries of a GQA group laid end to end, so that keys and values are never repeated."""
        query_heads, new, head_dim = query.shape
        kv_heads, total, _ = keys.shape
        groups = query_heads // kv_heads
        packed = query.reshape(kv_heads, groups * new, head_dim)
        mask = None if new == 1 else self._mask(new, total, groups)
        out = scaled_dot_product_attention(packed[None], keys[None], values[None], attn_mask=mask, scale=scaling)
        return out.reshape(query_heads, new, head_dim).transpose(0, 1)

    def _mask(self, new: int, total: int, groups: int) -> Tensor:
        """Make the mask [groups * new, total]: all of the context, and the new tokens up to one's own."""
        if total not in self._masks:
            causal = torch.ones(new, total, dtype=torch.bool, device=self._cos.device).tril(total - new)
            self._masks[total] = causal.repeat(groups, 1)
        return self._masks[total]


def onlooker_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    attention_pass: AttentionPass,
    **_: object,
) -> tuple[Tensor, None]:
    """Attend as transformers' AttentionInterface wants it: query [1, heads, n, head_dim] to [1, n, heads, head_dim]."""
    layer = module.layer_idx
    if not isinstance(layer, int):
        raise TypeError(f"the attention module's layer_idx is {layer!r}, not a number")
    out = attention_pass.attend(layer, query[0], key[0], value[0], scaling)
    return out.unsqueeze(0), None


def register_attention() -> str:
    """Make the attention function known to transformers under the name that is returned; safe to call again.

    No mask function is registered beside it on purpose: transformers then prepares no mask at all.
    """
    AttentionInterface.register(ATTENTION_NAME, onlooker_attention)
    return ATTENTION_NAME
