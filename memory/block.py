"""KV blocks: what a stretch of video leaves behind in the language model's cache, with raw keys."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RotarySpec:
    """Describe a model's rotary embedding.

    inv_freq: the head_dim / 2 inverse frequencies, as float64 values.  sections: for M-RoPE, how many frequencies each
    of the position axes (t, h, w) takes; empty for 1-D positions.  interleaved: whether M-RoPE axes alternate
    (Qwen3-VL) or stand in contiguous sections (Qwen2.5-VL).  scaling: factor on cos and sin (YaRN), 1.0 for most.
    """

    inv_freq: tuple[float, ...]
    sections: tuple[int, ...] = ()
    interleaved: bool = False
    scaling: float = 1.0

    @property
    def axes(self) -> int:
        """Number of position axes."""
        return len(self.sections) or 1


@dataclass(frozen=True, slots=True)
class KVLayout:
    """Give the shape of one model's cache, and the fingerprint of what made it.

    fingerprint: hash of the weights' revision, dtype, rotary parameters and preprocessing; memory made under another
    fingerprint is refused.  ids_per_second: 0 where blocks stand end to end on every position axis; else all blocks
    share their h and w positions, and t follows the clock at this rate (Qwen2.5-VL's absolute time).
    """

    layers: int
    query_heads: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    rotary: RotarySpec
    fingerprint: str
    ids_per_second: int = 0

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's raw keys and values over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype.itemsize


@dataclass(frozen=True, slots=True, eq=False)
class KVBlock:
    """Hold the raw keys and values of one keyframe: its time stamp's text tokens, then its surviving visual tokens.

    keys, values: [layers, kv_heads, n, head_dim]; keys are after any per-head key norm and before RoPE.
    positions: int64 [n, axes], relative to the block's own start.  extent: how far the next block's start is moved.
    coords: int32 [n, 3] = (t, h, w) of visual tokens, (-1, -1, -1) for text tokens.  span_us: stream time from this
    keyframe to the moment it stopped being the newest one.  block_id: counted from 0 per stream, never reused.
    place: where it would start if all of the stream had been kept, in positions; None for text (the sink).
    """

    block_id: int
    keys: Tensor
    values: Tensor
    positions: Tensor
    extent: int
    coords: Tensor
    span_us: tuple[int, int]
    place: int | None = None

    def __len__(self) -> int:
        return self.keys.shape[2]

    @property
    def nbytes(self) -> int:
        """True bytes of the tensors held."""
        return sum(t.numel() * t.element_size() for t in (self.keys, self.values, self.positions, self.coords))


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Hold an assembled, rotated, read-only cache that a model can continue from.

    keys, values: [layers, kv_heads, n, head_dim], keys rotated.  next_position: the position (on every axis) of the
    first text token that follows.  block_ids: the blocks inside, in order; -1 for parts that are no block (sink,
    recent).  next_start: where a further block would start, on each axis; next_position everywhere when left out.
    """

    keys: Tensor
    values: Tensor
    next_position: int
    block_ids: tuple[int, ...] = ()
    next_start: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self.keys.shape[2]
