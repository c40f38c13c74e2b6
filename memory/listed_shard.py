"""A settled shard: 8-bit or 4-bit codes sorted into lists of like vectors, so that few of them need be read.

An inverted file (Sivic and Zisserman 2003; FAISS' IVF) inside each shard: k-means centroids name the lists, codes hold
what a vector differs from its centroid.  Nothing is ever trained again, so nothing drifts: a shard is settled once.
"""

from collections.abc import Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from .faiss_build import one_thread
from .shard import Shard
from .shard_codes import ShardCodes, encode
from .shard_table import ShardTable, View, joined

LIST_ROWS = 128
"""Vectors in a list, on average: a centroid's 4 bytes a channel are then 1/32 byte a channel of a vector."""

_TRAINED_ROWS = 64  # vectors of each list that k-means looks at
_ROUNDS = 5
_SEED = 1


class ListedShard:
    """Hold the vectors of consecutive blocks in lists.

    table: the blocks.  centroids: float32 [lists, dim].  spread: float32 [lists], the root mean square distance of a
    list's vectors from its centroid, as a share of that of the shard's vectors from their mean.  ranks: which of its
    block's vectors each row is, in the order in which they were added; None where that is not kept.
    """

    def __init__(
        self,
        table: ShardTable,
        codes: ShardCodes,
        places: NDArray[np.integer],
        starts: NDArray[np.int32],
        centroids: NDArray[np.float32],
        spread: NDArray[np.float32],
        ranks: NDArray[np.integer] | None = None,
    ) -> None:
        self.table = table
        self.centroids = centroids
        self.spread = spread
        self._codes = codes
        self._ranks = ranks
        self._places = places  # of each row's block in the table [n]
        self._starts = starts  # first row of each list, and the number of rows [lists + 1]; no list is empty

    @property
    def rows(self) -> int:
        """Number of vectors held, forgotten ones included."""
        return len(self._codes)

    @property
    def live_rows(self) -> int:
        """Number of vectors that are not forgotten."""
        return self.rows - self.table.dead_rows

    @property
    def bits(self) -> int:
        """Bits of a channel of a vector."""
        return self._codes.bits

    @property
    def nbytes(self) -> int:
        """True bytes of codes, ranges, lists and table."""
        lists = self.centroids.nbytes + self.spread.nbytes + self._starts.nbytes + self._places.nbytes
        lists += 0 if self._ranks is None else self._ranks.nbytes
        return self._codes.nbytes + lists + self.table.nbytes

    def forget(self, block_id: int) -> bool:
        """Mark a block's rows as forgotten; say whether the block was here."""
        return self.table.forget(block_id)

    def rewrite(self) -> None:
        """Leave out the rows that are forgotten, and lists that have none left; codes are copied, not re-coded."""
        dead = self.table.used["dead"]
        alive = ~dead[self._places]
        sizes = np.add.reduceat(alive, self._starts[:-1], dtype=np.int64)
        self._codes = self._codes.kept(alive)
        self._ranks = None if self._ranks is None else self._ranks[alive]
        moved = np.cumsum(~dead) - 1
        self._places = moved[self._places[alive]].astype(self._places.dtype)
        self._starts = _starts(sizes[sizes > 0])
        self.centroids, self.spread = self.centroids[sizes > 0], self.spread[sizes > 0]
        self.table = self.table.kept()

    def coarsen(self) -> None:
        """Keep half the bits of every channel."""
        self._codes = self._codes.coarser()

    def list_sizes(self, view: View) -> NDArray[np.int64]:
        """Count the rows of each list that are in view."""
        if view.keep is None:
            return np.asarray(self._starts[1:] - self._starts[:-1], dtype=np.int64)
        return np.asarray(np.add.reduceat(view.keep[self._places], self._starts[:-1], dtype=np.int64))

    def vectors_of(self, place: int) -> NDArray[np.float32] | None:
        """Decode the vectors [r, dim] of the block at a place of the table, in the order in which they were added.

        None where that order is not kept.
        """
        if self._ranks is None:
            return None
        rows = np.flatnonzero(self._places == place)
        lists = np.searchsorted(self._starts, rows, side="right") - 1
        vectors = np.empty((len(rows), self.centroids.shape[1]), dtype=np.float32)
        vectors[self._ranks[rows]] = self._codes.decoded(rows) + self.centroids[lists]
        return vectors

    def scan(
        self,
        queries: NDArray[np.float32],
        products: NDArray[np.float32],
        lists: NDArray[np.intp],
        view: View,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Read lists: scores [r, m] and block ids [r] of their rows in view.

        queries: [m, dim].  products: [lists, m], of the centroids with the queries.  lists: numbers of lists, rising.
        """
        first, end = self._starts[lists], self._starts[lists + 1]
        sizes = end - first
        whole = len(lists) == len(self.spread)
        parts = [slice(None)] if whole else [slice(*span) for span in zip(first.tolist(), end.tolist(), strict=True)]
        places = np.concatenate([self._places[part] for part in parts])
        scores = self._codes.dots(parts, queries)
        scores += np.repeat(products[lists], sizes, axis=0)
        if view.keep is not None:
            inside = view.keep[places]
            scores, places = scores[inside], places[inside]
        return scores, self.table.ids[places]


def settle(faiss: ModuleType, shards: Sequence[Shard], ordered: bool = False) -> ListedShard:
    """Sort what is not forgotten of consecutive sealed shards, one vector at least, into lists and code it in 8 bits.

    ordered: keep the order of each block's vectors, for a byte or two each (ListedShard.vectors_of).  The same
    vectors give the same shard.  Takes about 0.4 s for 65,536 vectors of 64 channels on one core.
    """
    table = joined([shard.table for shard in shards])
    vectors = np.concatenate([shard.vectors() for shard in shards])
    count, dim = vectors.shape
    means = faiss.Kmeans(
        dim,
        max(count // LIST_ROWS, 1),
        niter=_ROUNDS,
        seed=_SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=_TRAINED_ROWS,
    )
    with one_thread(faiss):
        means.train(vectors)
        nearest = means.index.search(vectors, 1)[1][:, 0]
    order = np.argsort(nearest, kind="stable")
    sizes = np.bincount(nearest, minlength=means.k)
    centroids = np.asarray(means.centroids, dtype=np.float32)[sizes > 0]
    sizes = sizes[sizes > 0]
    total = float(np.square(vectors - vectors.mean(axis=0), dtype=np.float64).sum()) / count
    vectors = vectors[order] - np.repeat(centroids, sizes, axis=0)
    starts = _starts(sizes)
    apart = np.add.reduceat(np.einsum("nd,nd->n", vectors, vectors), starts[:-1]) / sizes
    spread = np.sqrt(np.minimum(apart / max(total, 1e-30), 1.0)).astype(np.float32)
    places = np.repeat(np.arange(len(table)), table.counts)[order]
    places = places.astype(np.uint16 if len(table) <= 1 << 16 else np.uint32)
    ranks = None
    if ordered:
        within = np.arange(count) - np.repeat(np.cumsum(table.counts) - table.counts, table.counts)
        ranks = within[order].astype(np.min_scalar_type(int(table.counts.max()) - 1))
    return ListedShard(table, encode(vectors), places, starts, centroids, spread, ranks)


def _starts(sizes: NDArray[np.integer]) -> NDArray[np.int32]:
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
