"""One shard of a token index: a flat FAISS index and the table of the blocks whose rows it holds."""

from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .faiss_build import one_thread

Precision = Literal["fp16", "flat"]

_TABLE = np.dtype([("id", "<i8"), ("first", "<i8"), ("rows", "<i8"), ("since", "<i8"), ("until", "<i8"), ("dead", "?")])
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
        self._table = np.empty(0, dtype=_TABLE)
        self._blocks = 0
        self._reserved = 0
        self._dead_rows = 0
        self._index = self._new_index()

    @property
    def rows(self) -> int:
        """Number of vectors held, forgotten ones included."""
        return int(self._index.ntotal)

    @property
    def live_rows(self) -> int:
        """Number of vectors that are not forgotten."""
        return self.rows - self._dead_rows

    @property
    def nbytes(self) -> int:
        """True bytes of codes and table, reserve included."""
        return self._reserved * int(self._index.code_size) + self._table.nbytes

    def add(self, block_id: int, vectors: NDArray[np.float32], span_us: tuple[int, int]) -> None:
        """Append a block's vectors [n, dim], n >= 1."""
        first, count = self.rows, len(vectors)
        if first + count > self._reserved:
            step = max(self._limit // _GROWTH, 1)
            self._reserve(min(max(first + count, self._reserved + step), max(self._limit, first + count)))
        if self._blocks == len(self._table):
            grown = np.empty(self._blocks + max(self._blocks // 4, 16), dtype=_TABLE)
            grown[: self._blocks] = self._table
            self._table = grown
        with one_thread(self._faiss):
            self._index.add(vectors)
        self._table[self._blocks] = (block_id, first, count, *span_us, False)
        self._blocks += 1

    def forget(self, block_id: int) -> bool:
        """Mark a block's rows as forgotten; say whether the block was here."""
        table = self._used
        place = int(np.searchsorted(table["id"], block_id))
        if place == len(table) or table["id"][place] != block_id or table["dead"][place]:
            return False
        table["dead"][place] = True
        self._dead_rows += int(table["rows"][place])
        return True

    def seal(self) -> None:
        """Give back the reserve: nothing will be added any more."""
        if self._reserved > self.rows or len(self._table) > self._blocks:
            self.rewrite()

    def rewrite(self) -> None:
        """Copy the rows that are not forgotten into an index of just their size; codes are copied, not re-coded."""
        table = self._used
        alive = ~table["dead"]
        size = int(self._index.code_size)
        codes = self._faiss.vector_to_array(self._index.codes).reshape(-1, size)
        kept = codes[np.repeat(alive, table["rows"])]
        self._index = self._new_index()
        self._reserved = 0
        self._reserve(len(kept))
        self._index.codes.resize(kept.size)
        if kept.size:
            self._faiss.memcpy(self._index.codes.data(), self._faiss.swig_ptr(kept), kept.nbytes)
        self._index.ntotal = len(kept)
        self._table = table[alive]
        self._table["first"] = np.cumsum(self._table["rows"]) - self._table["rows"]
        self._blocks = len(self._table)
        self._dead_rows = 0

    def wanted(self, since_us: int | None, until_us: int | None) -> NDArray[np.bool_]:
        """Say which blocks of the table are not forgotten and meet [since_us, until_us).

        A block without duration counts as its one moment.
        """
        table = self._used
        keep: NDArray[np.bool_] = ~table["dead"]
        if until_us is not None:
            keep &= table["since"] < until_us
        if since_us is not None:
            keep &= np.maximum(table["until"], table["since"] + 1) > since_us
        return keep

    def row_counts(self, blocks: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Give the number of rows of each of the chosen blocks."""
        return np.asarray(self._used["rows"][blocks], dtype=np.int64)

    def search(
        self, queries: NDArray[np.float32], top: int, since_us: int | None, until_us: int | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """Find each query's best rows: scores and block ids [m, k], k at most top; None when no row is wanted."""
        table = self._used
        keep = self.wanted(since_us, until_us)
        found = int(table["rows"][keep].sum())
        if found == 0:
            return None
        parameters = None
        if found < self.rows:
            bits = np.packbits(np.repeat(keep, table["rows"]), bitorder="little")
            parameters = self._faiss.SearchParameters(sel=self._faiss.IDSelectorBitmap(bits))
        with one_thread(self._faiss):
            scores, rows = self._index.search(queries, min(top, found), params=parameters)
        places = np.searchsorted(table["first"], rows, side="right") - 1
        return scores, np.asarray(table["id"][places], dtype=np.int64)

    @property
    def _used(self) -> NDArray[np.void]:
        return self._table[: self._blocks]

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
