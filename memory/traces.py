"""Traces: what each remembered block leaves in the indexes that recall searches."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import RecallError, SettingsError
from ..models.backbone import HeadId
from .block import KVBlock, KVLayout
from .moments import Moments
from .shard import Precision
from .token_index import TokenIndex

KeyHead = tuple[int, int]
"""A key head: layer, key head."""


class Trace:
    """Hold an index of token vectors together with the moments its scores are measured against."""

    def __init__(self, dim: int, precision: Precision, shard_rows: int) -> None:
        self.index = TokenIndex(dim, precision=precision, shard_rows=shard_rows)
        self.moments = Moments(dim)

    @property
    def nbytes(self) -> int:
        """True bytes held."""
        return self.index.nbytes + self.moments.nbytes


class Traces:
    """Index each block's raw keys of the calibrated heads, and its visual features.

    heads: the calibrated query heads; heads of a group that share a key head share its index.  feature_dim: width
    of the visual features, 0 to index none.  moment_rows: at most so many of a block's vectors, evenly spaced, enter
    the moments, because a covariance of wide vectors costs dim² for each.
    """

    def __init__(
        self,
        layout: KVLayout,
        heads: Sequence[HeadId],
        feature_dim: int = 0,
        *,
        precision: Precision = "fp16",
        shard_rows: int = 16_384,
        moment_rows: int = 16,
    ) -> None:
        if moment_rows < 1:
            raise SettingsError(f"moment_rows must be at least 1, not {moment_rows}")
        for head in heads:
            if not (0 <= head.layer < layout.layers and 0 <= head.head < layout.query_heads):
                raise SettingsError(
                    f"head {head.head} of layer {head.layer} is not in this model ({layout.layers} layers of "
                    f"{layout.query_heads} heads); calibrate the heads on this model"
                )
        self._group = layout.query_heads // layout.kv_heads
        self._moment_rows = moment_rows
        self.heads = tuple(heads)
        self.keys: dict[KeyHead, Trace] = {
            key_head: Trace(layout.head_dim, precision, shard_rows)
            for key_head in sorted({self.key_head(head) for head in heads})
        }
        self.features = Trace(feature_dim, precision, shard_rows) if feature_dim else None

    @property
    def nbytes(self) -> int:
        """True bytes held."""
        return sum(trace.nbytes for trace in self._all())

    @property
    def fixed_bytes(self) -> int:
        """Bytes held whatever is remembered: the moments."""
        return sum(trace.moments.nbytes for trace in self._all())

    def key_head(self, head: HeadId) -> KeyHead:
        """Name the key head that a query head reads (grouped-query attention)."""
        return head.layer, head.head // self._group

    def add(self, block: KVBlock, features: Tensor | None = None) -> None:
        """Index a block: its raw keys [n, head_dim] of each key head, its visual features [v, D] scaled to length 1."""
        visual = None if features is None else self.features
        if visual is not None and features is not None and features.shape != (len(features), visual.index.dim):
            raise RecallError(
                f"features of shape {list(features.shape)} do not fit an index of [n, {visual.index.dim}]"
            )
        for (layer, kv_head), trace in self.keys.items():
            self._add(trace, block, _to_numpy(block.keys[layer, kv_head]))
        if visual is not None and features is not None:
            self._add(visual, block, unit(_to_numpy(features)))

    def forget(self, block_id: int) -> None:
        """Take a block out of every index; the moments still count it."""
        for trace in self._all():
            trace.index.forget(block_id)

    def _all(self) -> list[Trace]:
        return [*self.keys.values(), *([self.features] if self.features is not None else [])]

    def _add(self, trace: Trace, block: KVBlock, vectors: NDArray[np.float32]) -> None:
        if trace.index.last_id == block.block_id:
            return  # a call that was interrupted got as far as here
        trace.index.add(block.block_id, vectors, block.span_us)
        step = -(-len(vectors) // self._moment_rows) or 1
        trace.moments.add(vectors[::step])


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale vectors [n, d] to length 1; zero stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1.0), dtype=np.float32)


def _to_numpy(vectors: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = vectors.detach().to("cpu", torch.float32).numpy()
    return array
