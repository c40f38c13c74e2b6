"""Traces: what each remembered block leaves in the indexes that recall searches."""

import math
import time
from collections.abc import Mapping, Sequence

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

KEYS_READ = 32_768
"""Settled keys of a head that one search reads at most (docs/index.md)."""

FEATURES_READ = 262_144
"""Settled visual features that one search reads at most: lists foretell them worse than keys (docs/index.md)."""

_WIDE = 256  # channels; shards of wider features have fewer rows, so that settling one takes no longer


class Trace:
    """Hold an index of token vectors together with the moments its scores are measured against."""

    def __init__(
        self,
        dim: int,
        precision: Precision,
        shard_rows: int,
        settle_shards: int = 4,
        scan_rows: int = KEYS_READ,
        cap_bytes: int | None = None,
        ordered: bool = False,
    ) -> None:
        self.index = TokenIndex(
            dim,
            precision=precision,
            shard_rows=shard_rows,
            settle_shards=settle_shards,
            scan_rows=scan_rows,
            cap_bytes=cap_bytes,
            ordered=ordered,
        )
        self.moments = Moments(dim)

    @property
    def nbytes(self) -> int:
        """True bytes held."""
        return self.index.nbytes + self.moments.nbytes


class Traces:
    """Index each block's raw keys of the calibrated heads, and its visual features.

    heads: the calibrated query heads; heads of a group that share a key head share its index.  feature_dim: width
    of the visual features, 0 to index none.  moment_rows: at most so many of a block's vectors, evenly spaced, enter
    the moments, because a covariance of wide vectors costs dim² for each.  index_bytes: bound on the bytes of all
    indexes, shared in proportion to their channels; None for none.
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
        index_bytes: int | None = None,
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
        places = sorted({self.key_head(head) for head in heads})
        channels = len(places) * layout.head_dim + feature_dim

        def cap_of(dim: int) -> int | None:
            return None if index_bytes is None else index_bytes * dim // channels

        self.keys: dict[KeyHead, Trace] = {
            place: Trace(layout.head_dim, precision, shard_rows, cap_bytes=cap_of(layout.head_dim)) for place in places
        }
        self.features: Trace | None = None
        if feature_dim:
            rows = max(shard_rows * _WIDE // max(feature_dim, _WIDE), min(shard_rows, 1024))
            # In order: a question may prune what it reads by these, token by token.
            cap = cap_of(feature_dim)
            self.features = Trace(feature_dim, precision, rows, 1, FEATURES_READ, cap, ordered=True)

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
        keys = {place: to_numpy(block.keys[place]) for place in self.keys}
        self.take(block.block_id, block.span_us, keys, None if features is None else unit(to_numpy(features)))

    def take(
        self,
        block_id: int,
        span_us: tuple[int, int],
        keys: Mapping[KeyHead, NDArray[np.float32]],
        features: NDArray[np.float32] | None,
    ) -> None:
        """Index a block's vectors as they are: keys [n, head_dim] of every key head, features [v, D] of length 1.

        A block that is indexed already is left alone, so that a call that was interrupted can be made again.
        """
        visual = None if features is None else self.features
        if visual is not None and features is not None and features.shape != (len(features), visual.index.dim):
            raise RecallError(
                f"features of shape {list(features.shape)} do not fit an index of [n, {visual.index.dim}]"
            )
        for place, trace in self.keys.items():
            if trace.index.last_id < block_id:
                self._add(trace, block_id, span_us, keys[place])
        if visual is not None and features is not None and visual.index.last_id < block_id:
            self._add(visual, block_id, span_us, features)

    def forget(self, block_id: int) -> None:
        """Take a block out of every index; the moments still count it."""
        for trace in self._all():
            trace.index.forget(block_id)

    def features_of(self, block_id: int) -> NDArray[np.float32] | None:
        """Give a block's visual features [v, D] as they are indexed, of length about 1; None where there are none.

        They are those of the tokens that were stored: more than the block has once it was thinned.
        """
        return None if self.features is None else self.features.index.vectors_of(block_id)

    def named(self) -> list[tuple[str, Trace]]:
        """List every trace under a name of its own."""
        found = [(f"{layer}.{kv_head}", trace) for (layer, kv_head), trace in self.keys.items()]
        return [*found, *([("features", self.features)] if self.features is not None else [])]

    @property
    def first_id(self) -> int:
        """Blocks with an id below this one are in no index any more because of index_bytes; 0 while there are none."""
        return min((trace.index.first_id for trace in self._all()), default=0)

    def maintain(self, budget_s: float = math.inf) -> bool:
        """Settle sealed shards of the indexes until budget_s is used up; say whether more are due.

        One group of shards is settled in any case when one is due: about 0.4 s for 65,536 keys of 64 channels.
        """
        began = time.perf_counter()
        for trace in self._all():
            while trace.index.due:
                trace.index.maintain(0.0)
                if time.perf_counter() - began >= budget_s:
                    return any(other.index.due for other in self._all())
        return False

    def _all(self) -> list[Trace]:
        return [*self.keys.values(), *([self.features] if self.features is not None else [])]

    def _add(self, trace: Trace, block_id: int, span_us: tuple[int, int], vectors: NDArray[np.float32]) -> None:
        trace.index.add(block_id, vectors, span_us)
        step = -(-len(vectors) // self._moment_rows) or 1
        trace.moments.add(vectors[::step])


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale vectors [n, d] to length 1; zero stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1.0), dtype=np.float32)


def to_numpy(vectors: Tensor) -> NDArray[np.float32]:
    """Copy vectors to host memory as float32."""
    array: NDArray[np.float32] = vectors.detach().to("cpu", torch.float32).numpy()
    return array
