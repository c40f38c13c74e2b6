"""One flat shard of a token index: vectors in the order of arrival, searched exactly."""

from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from .faiss_build import one_thread
from .shard_table import ShardTable, View

Precision = Literal["fp16", "flat"]

_GROWTH = 16  # a shard's reserve grows by this part of its limit, so little is reserved unused


class Shard:
    """Hold the vectors of consecutive blocks, at most limit rows.

    The codes' reserve is grown here and not by the vector class, which doubles it, so that bytes can be counted.
    """

    def __init__(self, faiss: ModuleType, dim: int, precision: Precision, limit: int) -> None:
        self._faiss = faiss
        self._dim = dim
        self._precision: Precision = precision
        self._limit = limit
        self.table = ShardTable()
        self._reserved = 0
        self._index = self._new_index()

    @property
    def rows(self) -> int:
        """Number of vectors held, forgotten ones included."""
        return int(self._index.ntotal)

    @property
    def live_rows(self) -> int:
        """Number of vectors that are not forgotten."""
        return self.rows - self.table.dead_rows

    @property
    def nbytes(self) -> int:
        """True bytes of codes and table, reserve included."""
        return self._reserved * int(self._index.code_size) + self.table.nbytes

    def add(
        self,
        ids: NDArray[np.int64],
        counts: NDArray[np.int64],
        spans_us: NDArray[np.int64],
        vectors: NDArray[np.float32],
    ) -> None:
        """Append blocks: ids [b], counts [b] of 1 or more, spans_us [b, 2], and their vectors [n, dim]."""
        first, count = self.rows, len(vectors)
        if first + count > self._reserved:
            step = max(self._limit // _GROWTH, 1)
            self._reserve(max(min(-(-(first + count) // step) * step, self._limit), first + count))
        with one_thread(self._faiss):
            self._index.add(vectors)
        self.table.add(ids, counts, spans_us, first)

    def forget(self, block_id: int) -> bool:
        """Mark a block's rows as forgotten; say whether the block was here."""
        return self.table.forget(block_id)

    def seal(self) -> None:
        """Give back the reserve: nothing will be added any more."""
        if self._reserved > self.rows or self.table.spare:
            self.rewrite()

    def rewrite(self) -> None:
        """Copy the rows that are not forgotten into an index of just their size; codes are copied, not re-coded."""
        kept = self._live_codes()
        self._index = self._new_index()
        self._reserved = 0
        self._reserve(len(kept))
        self._index.codes.resize(kept.size)
        if kept.size:
            self._faiss.memcpy(self._index.codes.data(), self._faiss.swig_ptr(kept), kept.nbytes)
        self._index.ntotal = len(kept)
        self.table = self.table.kept()

    def vectors(self) -> NDArray[np.float32]:
        """Decode the vectors that are not forgotten [n, dim], in the order of arrival."""
        return np.asarray(self._index.sa_decode(self._live_codes()), dtype=np.float32)

    def vectors_of(self, place: int) -> NDArray[np.float32]:
        """Decode the vectors [r, dim] of the block at a place of the table, in the order of arrival."""
        entry = self.table.used[place]
        first, size = int(entry["first"]), int(self._index.code_size)
        codes = self._faiss.rev_swig_ptr(self._index.codes.data(), self.rows * size)
        rows = codes.reshape(-1, size)[first : first + int(entry["rows"])].copy()
        return np.asarray(self._index.sa_decode(rows), dtype=np.float32)

    def scan(self, queries: NDArray[np.float32], view: View) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Read all rows in view: scores [r, m] of queries [m, dim], and block ids [r]."""
        ids = np.repeat(self.table.ids, self.table.counts)
        scores = self._products(queries)
        if view.keep is not None:
            inside = np.repeat(view.keep, self.table.counts)
            scores, ids = scores[inside], ids[inside]
        return scores, ids

    def _products(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        # Not by FAISS' own search: most of its time goes into heaps of hundreds of hits.
        codes = self._faiss.rev_swig_ptr(self._index.codes.data(), self.rows * int(self._index.code_size))
        kind = np.float32 if self._precision == "flat" else np.float16
        vectors = torch.from_numpy(codes.view(kind).reshape(-1, self._dim))
        turned = torch.from_numpy(np.ascontiguousarray(queries.T))
        out = torch.empty((self.rows, len(queries)))
        step = max(1, (1 << 17) // self._dim)  # so many decoded rows stay in the core's cache
        for start in range(0, self.rows, step):
            torch.mm(vectors[start : start + step].float(), turned, out=out[start : start + step])
        return np.asarray(out.numpy(), dtype=np.float32)

    def _live_codes(self) -> NDArray[np.uint8]:
        codes = self._faiss.vector_to_array(self._index.codes).reshape(-1, int(self._index.code_size))
        alive = np.repeat(~self.table.used["dead"], self.table.counts)
        return np.asarray(codes if alive.all() else codes[alive])

    def _new_index(self) -> Any:
        faiss = self._faiss
        if self._precision == "flat":
            return faiss.IndexFlatIP(self._dim)
        return faiss.IndexScalarQuantizer(self._dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)

    def _reserve(self, rows: int) -> None:
        # resize() to the wanted rows and back: std::vector keeps its capacity when it shrinks
        size = int(self._index.code_size)
        used = int(self._index.codes.size())
        self._index.codes.resize(rows * size)
        self._index.codes.resize(used)
        self._reserved = rows
