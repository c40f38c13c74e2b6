"""Timing: parts of ingest that say how long they took."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..memory.archive import Archive
from ..memory.block import Context, KVBlock
from ..models.backbone import Backbone, ContextSelector, HeadId, Prefill
from ..models.tokens import VisualTokens
from .relay import Relay


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


class TimedBackbone(Relay):
    """Hand everything on to a backbone; time its encoding and its prefill."""

    def __init__(self, inner: Backbone, watch: Stopwatch) -> None:
        super().__init__(inner)
        self.watch = watch

    def encode(
        self,
        images: Sequence[NDArray[np.uint8]],
        times_us: Sequence[int],
        grid: tuple[int, int] | None = None,
        planes: frozenset[str] = frozenset(),
    ) -> VisualTokens:
        """Encode, timed."""
        began = self.watch.now()
        tokens = super().encode(images, times_us, grid, planes)
        self.watch.add("encode", began)
        return tokens

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
        """Prefill, timed."""
        began = self.watch.now()
        done = super().prefill(features, positions, context, heads=heads, logits=logits, select=select, planes=planes)
        self.watch.add("prefill", began)
        return done


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
