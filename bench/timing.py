"""Timing: parts of ingest that say how long they took."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..memory.archive import Archive
from ..memory.block import Context, KVBlock
from ..models.backbone import Backbone, ContextSelector, HeadId, Prefill, Sampling
from ..models.decoding import Decoding
from ..models.rows import Rows
from ..models.tokens import VisualTokens


class Stopwatch:
    """Add up wall time by name, waiting for the device so that its work is counted where it was asked for."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device

    def now(self) -> float:
        """Read the clock when the device is idle."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def add(self, name: str, began: float) -> float:
        """Add the time since `began`; gives the time added."""
        passed = self.now() - began
        self.seconds[name] = self.seconds.get(name, 0.0) + passed
        return passed


class TimedBackbone:
    """Hand everything on to a backbone and time its encoding."""

    def __init__(self, backbone: Backbone, watch: Stopwatch) -> None:
        self._backbone, self._watch = backbone, watch
        self.name, self.layout, self.hidden_size = backbone.name, backbone.layout, backbone.hidden_size
        self.device, self.card, self.weights = backbone.device, backbone.card, backbone.weights
        self.revision, self.frame_tokens = backbone.revision, backbone.frame_tokens
        self.codec_tables = backbone.codec_tables

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Hand on."""
        return self._backbone.grid_of(height, width)

    def encode(
        self,
        images: Sequence[NDArray[np.uint8]],
        times_us: Sequence[int],
        grid: tuple[int, int] | None = None,
        planes: frozenset[str] = frozenset(),
    ) -> VisualTokens:
        """Encode, timed."""
        began = self._watch.now()
        tokens = self._backbone.encode(images, times_us, grid, planes)
        self._watch.add("encode", began)
        return tokens

    def frame(self, tokens: VisualTokens) -> Rows:
        """Hand on."""
        return self._backbone.frame(tokens)

    def tokenize(self, text: str) -> Tensor:
        """Hand on."""
        return self._backbone.tokenize(text)

    def embed(self, ids: Tensor) -> Tensor:
        """Hand on."""
        return self._backbone.embed(ids)

    def stamp(self, time_us: int) -> str:
        """Hand on."""
        return self._backbone.stamp(time_us)

    def opening(self) -> Tensor:
        """Hand on."""
        return self._backbone.opening()

    def question(self, text: str) -> tuple[Tensor, Tensor]:
        """Hand on."""
        return self._backbone.question(text)

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
        return self._backbone.prefill(
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
        return self._backbone.generate(features, positions, context, sampling, select=select, planes=planes)


class TimedArchive(Archive):
    """An archive that times what it costs to store a chunk of blocks."""

    def __init__(self, like: Archive, watch: Stopwatch) -> None:
        super().__init__(
            like.cap_bytes,
            like.traces,
            like.codec,
            ladder=like.ladder,
            store=like.store,
            disk_cap_bytes=like.disk_cap_bytes,
            working_cap_bytes=like.working.cap_bytes,
            keep_us=like.keep_us,
        )
        self._watch = watch

    def extend(
        self, blocks: Sequence[KVBlock], features: Sequence[Tensor | None], pictures: Sequence[bytes]
    ) -> tuple[int, ...]:
        """Store, timed."""
        began = self._watch.now()
        gone = super().extend(blocks, features, pictures)
        self._watch.add("store", began)
        return gone
