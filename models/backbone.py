"""The contract between Onlooker and a vision language model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..memory.block import Context, KVLayout
from .tokens import VisualTokens


@dataclass(frozen=True, slots=True, order=True)
class HeadId:
    """Name one query head of one layer."""

    layer: int
    head: int


@dataclass(frozen=True, slots=True, eq=False)
class Prefill:
    """Hold what a pass over n tokens left behind.

    keys, values: [layers, kv_heads, n, head_dim], keys raw.  queries: raw (unrotated) query vectors [n, head_dim] of
    the heads that were asked for.  logits: float32 [vocab] after the last token, or None when not asked for.
    """

    keys: Tensor
    values: Tensor
    queries: Mapping[HeadId, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """Say how an answer is decoded: temperature 0 is greedy."""

    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


class Backbone(Protocol):
    """Encode frames, prefill tokens over a context, decode text from one.

    A backbone keeps no state of any stream: positions, clocks and caches belong to the caller.
    """

    name: str
    layout: KVLayout
    hidden_size: int
    grid: tuple[int, int]
    device: torch.device

    def encode(self, images: Sequence[NDArray[np.uint8]], times_us: Sequence[int]) -> VisualTokens:
        """Turn RGB frames [H, W, 3] into visual tokens of the language model's input space."""
        ...

    def tokenize(self, text: str) -> Tensor:
        """Turn text into token ids, int64 [n], special tokens in the text recognised."""
        ...

    def embed(self, ids: Tensor) -> Tensor:
        """Look up input embeddings [n, D]."""
        ...

    def stamp(self, time_us: int) -> str:
        """Write the text time stamp that precedes a frame; empty when the model's format has none."""
        ...

    def opening(self) -> Tensor:
        """Give the embeddings [n, D] of everything before the first frame (the sink: system prompt, role)."""
        ...

    def question(self, text: str) -> tuple[Tensor, Tensor]:
        """Give the embeddings [n, D] of everything after the last frame, and which rows are the question's own
        words (bool [n]); the rows around them are the template's."""
        ...

    def prefill(
        self,
        features: Tensor,
        positions: Tensor,
        context: Context | None = None,
        *,
        heads: Sequence[HeadId] = (),
        logits: bool = False,
    ) -> Prefill:
        """Run n tokens, causal among themselves and seeing all of the context.

        features: [n, D].  positions: int64 [n, axes], absolute.
        """
        ...

    def generate(
        self, features: Tensor, positions: Tensor, context: Context | None, sampling: Sampling
    ) -> Iterator[str]:
        """Prefill features over the context, then decode; yields pieces of text that join to the answer."""
        ...
