"""What the index is measured against: FAISS' own ways to search many vectors, and bounds of whole blocks."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..memory.faiss_build import load_faiss, one_thread
from .index_keys import IndexKeys

_LISTS, _PROBED = 4096, 64
_REFINED = 4  # candidates of fast scan that are scored again, for each token asked for
_BLOCKS_READ = 1024


class Searched(Protocol):
    """A search of vectors by queries."""

    @property
    def name(self) -> str:
        """Its name in the table."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        ...

    def scores(self, queries: NDArray[np.float32], top: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Give the numbers of blocks [n] and the best score of each for each query [m, n]; minus infinity for none."""
        ...


class InvertedFile:
    """FAISS' IndexIVFScalarQuantizer: lists over all vectors, 8 bits."""

    def __init__(self, held: IndexKeys) -> None:
        faiss = load_faiss()
        dim, lists = held.keys.shape[1], min(_LISTS, len(held.keys) // 64 or 1)
        self.name = f"FAISS IVF{lists},SQ8, {_PROBED} read"
        self._faiss, self._blocks = faiss, np.repeat(np.arange(len(held.counts)), held.counts)
        self._index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dim), dim, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        self._index.own_fields = False
        self._quantizer = self._index.quantizer
        self._index.cp.max_points_per_centroid = 64
        self._index.nprobe = _PROBED
        with one_thread(faiss):
            self._index.train(held.keys)
            self._index.add(held.keys)

    @property
    def nbytes(self) -> int:
        """Codes, FAISS' 8 bytes of number, the block's number, centroids."""
        index = self._index
        return int(index.ntotal) * (int(index.code_size) + 8 + 4) + int(index.nlist) * int(index.d) * 4

    def scores(self, queries: NDArray[np.float32], top: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Search."""
        with one_thread(self._faiss):
            found, rows = self._index.search(queries, top)
        return by_block(found, rows, self._blocks)


class FastScan:
    """FAISS' 4-bit product quantiser in registers, its best scored again in 8 bits."""

    name = "FAISS PQ fast scan, refined"

    def __init__(self, held: IndexKeys) -> None:
        faiss = load_faiss()
        dim = held.keys.shape[1]
        self._faiss, self._blocks = faiss, np.repeat(np.arange(len(held.counts)), held.counts)
        self._codes = faiss.IndexPQFastScan(dim, dim // 2, 4, faiss.METRIC_INNER_PRODUCT)
        self._exact = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        sample = held.keys[np.random.default_rng(0).permutation(len(held.keys))[:65_536]]
        with one_thread(faiss):
            self._codes.train(sample)
            self._exact.train(sample)
            self._index = faiss.IndexRefine(self._codes, self._exact)
            self._index.k_factor = _REFINED
            self._index.add(held.keys)

    @property
    def nbytes(self) -> int:
        """Both codes and the block's number."""
        return int(self._index.ntotal) * (int(self._codes.code_size) + int(self._exact.code_size) + 4)

    def scores(self, queries: NDArray[np.float32], top: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Search."""
        with one_thread(self._faiss):
            found, rows = self._index.search(queries, top)
        return by_block(found, rows, self._blocks)


class BlockBounds:
    """Channel-wise extremes of each block bound its best score (Quest, arXiv 2406.10774); the best blocks are read."""

    name = f"block bounds, {_BLOCKS_READ} read"

    def __init__(self, held: IndexKeys) -> None:
        self._keys = held.keys - held.keys.mean(axis=0)
        self._counts = held.counts
        self._starts = np.cumsum(held.counts) - held.counts
        self._least = np.minimum.reduceat(self._keys, self._starts, axis=0)
        self._most = np.maximum.reduceat(self._keys, self._starts, axis=0)
        self._deviation = np.cov(self._keys[:: max(len(self._keys) // 65_536, 1)].T)

    @property
    def nbytes(self) -> int:
        """Vectors and extremes, as if both were held in fp16."""
        return 2 * int(self._keys.size + 2 * self._least.size)

    def scores(self, queries: NDArray[np.float32], top: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Search: blocks by their best bound in standard deviations, then every token of the best blocks."""
        spread = np.sqrt(np.einsum("md,de,me->m", queries, self._deviation, queries)).astype(np.float32)
        bound = self._most @ np.maximum(queries, 0.0).T + self._least @ np.minimum(queries, 0.0).T  # [blocks, m]
        best = (bound / spread).max(axis=1)
        count = min(_BLOCKS_READ, len(best))
        chosen = np.sort(np.argpartition(-best, count - 1)[:count])
        sizes = self._counts[chosen]
        rows = np.repeat(self._starts[chosen] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        products = self._keys[rows] @ queries.T
        return chosen, np.maximum.reduceat(products, np.cumsum(sizes) - sizes, axis=0).T


def by_block(
    found: NDArray[np.float32], rows: NDArray[np.int64], blocks: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Turn scores of rows [m, k], -1 for none, into the best of each block."""
    query, column = np.nonzero(rows >= 0)
    ids, place = np.unique(blocks[rows[query, column]], return_inverse=True)
    best = np.full((len(found), len(ids)), -np.inf, dtype=np.float32)
    np.maximum.at(best, (query, place), found[query, column])
    return ids, best
