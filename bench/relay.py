"""A backbone that hands everything on to another one: what a measurement changes is written over it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..memory.block import Context
from ..models.backbone import Backbone, ContextSelector, HeadId, Prefill, Sampling
from ..models.decoding import Decoding
from ..models.rows import Rows
from ..models.tokens import VisualTokens


class Relay:
    """Behave as the backbone inside."""

    def __init__(self, inner: Backbone) -> None:
        self.inner = inner
        self.name, self.revision, self.frame_tokens = inner.name, inner.revision, inner.frame_tokens
        self.weights, self.layout, self.hidden_size = inner.weights, inner.layout, inner.hidden_size
        self.device, self.card, self.codec_tables = inner.device, inner.card, inner.codec_tables

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Hand on."""
        return self.inner.grid_of(height, width)

    def encode(
        self,
        images: Sequence[NDArray[np.uint8]],
        times_us: Sequence[int],
        grid: tuple[int, int] | None = None,
        planes: frozenset[str] = frozenset(),
    ) -> VisualTokens:
        """Hand on."""
        return self.inner.encode(images, times_us, grid, planes)

    def frame(self, tokens: VisualTokens) -> Rows:
        """Hand on."""
        return self.inner.frame(tokens)

    def tokenize(self, text: str) -> Tensor:
        """Hand on."""
        return self.inner.tokenize(text)

    def embed(self, ids: Tensor) -> Tensor:
        """Hand on."""
        return self.inner.embed(ids)

    def stamp(self, time_us: int) -> str:
        """Hand on."""
        return self.inner.stamp(time_us)

    def opening(self) -> Tensor:
        """Hand on."""
        return self.inner.opening()

    def question(self, text: str) -> tuple[Tensor, Tensor]:
        """Hand on."""
        return self.inner.question(text)

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
        """Hand on."""
        return self.inner.prefill(
            features, positions, context, heads=heads, logits=logits, select=select, planes=planes
        )

    def generate(
        self,
        features: Tensor,
        positions: Tensor,
        context: Context | None,
        sampling: Sampling,
        *,
        select: ContextSelector | None = None,
        planes: Tensor | None = None,
    ) -> Decoding:
        """Hand on."""
        return self.inner.generate(features, positions, context, sampling, select=select, planes=planes)
