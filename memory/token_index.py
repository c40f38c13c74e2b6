"""Index of token vectors: which blocks hold a token that answers a query vector, by FAISS.

Vectors lie in sealed shards and one active shard, each a flat scalar-quantised FAISS index with a table of its blocks
beside it.  Flat and not a graph or inverted lists: nothing to train, true deletes, exact up to fp16.
400,000 vectors of 64 channels take 7 ms a query on one core (512 hits), and time grows in proportion.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import RecallError, SettingsError
from .faiss_build import load_faiss
from .shard import Precision, Shard

_FP16_LIMIT = 65504.0


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Hold, for m queries, the best score in each of n blocks.

    block_ids: int64 [n], rising.  scores: float32 [m, n]; minus infinity where none of the block's tokens is among
    the query's hits.  floor: float32 [m], the score below which hits were cut off; minus infinity if none were.
    """

    block_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    floor: NDArray[np.float32]


class TokenIndex:
    """Index the token vectors of blocks by inner product.

    precision: "fp16" (2 bytes a channel) or "flat" (fp32).  shard_rows: vectors in a sealed shard.  dead_share: a
    shard is rewritten without its forgotten rows once they are more than this share, so dead bytes stay bounded.
    Vectors are stored less the first block's mean: a model's constant key bias would otherwise eat fp16's
    precision.  Scores are of the vectors as given.  Not safe for use by several threads at once.
    """

    def __init__(
        self, dim: int, *, precision: Precision = "fp16", shard_rows: int = 16_384, dead_share: float = 0.25
    ) -> None:
        if dim < 1 or shard_rows < 1 or not 0.0 <= dead_share <= 1.0:
            raise SettingsError(
                f"a token index needs dim >= 1, shard_rows >= 1 and dead_share in 0..1, not {dim}, {shard_rows} and "
                f"{dead_share}"
            )
        self.dim = dim
        self.precision: Precision = precision
        self._faiss = load_faiss()
        self._shard_rows = shard_rows
        self._dead_share = dead_share
        self._shards: list[Shard] = []
        self._centre: NDArray[np.float32] | None = None
        self._last_id = -1

    def __len__(self) -> int:
        """Number of vectors that are not forgotten."""
        return sum(shard.live_rows for shard in self._shards)

    @property
    def nbytes(self) -> int:
        """True bytes held: codes with their reserve, tables, forgotten rows not yet rewritten."""
        centre = 0 if self._centre is None else self._centre.nbytes
        return centre + sum(shard.nbytes for shard in self._shards)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self._shards)

    @property
    def last_id(self) -> int:
        """Id of the newest block that was added, -1 before the first."""
        return self._last_id

    def add(self, block_id: int, vectors: NDArray[np.floating], span_us: tuple[int, int]) -> None:
        """Index the token vectors [n, dim] of a block; n may be 0.  Raises RecallError unless block ids rise."""
        if block_id <= self._last_id:
            raise RecallError(f"block {block_id} came after block {self._last_id}; blocks are added in rising order")
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise RecallError(f"vectors of shape {list(vectors.shape)} do not fit an index of [n, {self.dim}]")
        rows = np.nan_to_num(np.asarray(vectors, dtype=np.float32), posinf=_FP16_LIMIT, neginf=-_FP16_LIMIT)
        count = rows.shape[0]
        if count == 0:
            self._last_id = block_id
            return
        if self._centre is None:
            self._centre = rows.mean(axis=0)
        rows = np.clip(rows - self._centre, -_FP16_LIMIT, _FP16_LIMIT)
        if not self._shards or self._shards[-1].rows + count > self._shard_rows:
            if self._shards:
                self._shards[-1].seal()
            self._shards.append(Shard(self._faiss, self.dim, self.precision, max(self._shard_rows, count)))
        self._shards[-1].add(block_id, rows, span_us)
        self._last_id = block_id  # only now: what is interrupted before is added again

    def forget(self, block_id: int) -> None:
        """Take a block's vectors out; a block that is not here is no error."""
        for number, shard in enumerate(self._shards):
            if shard.forget(block_id):
                if shard.live_rows == 0:
                    del self._shards[number]
                elif shard.rows - shard.live_rows > self._dead_share * shard.rows:
                    shard.rewrite()
                return

    def search(
        self,
        queries: NDArray[np.floating],
        top_tokens: int,
        since_us: int | None = None,
        until_us: int | None = None,
    ) -> Hits:
        """Find each query's top_tokens best tokens, and give the best score of every block among them.

        queries: [m, dim].  top_tokens: 1 or more.  since_us, until_us: only blocks whose span meets [since_us,
        until_us).
        """
        asked = np.ascontiguousarray(np.nan_to_num(queries), dtype=np.float32)
        scores, ids = [np.empty((len(asked), 0), np.float32)], [np.empty((len(asked), 0), np.int64)]
        if len(asked):
            for shard in self._shards:
                found = shard.search(asked, top_tokens, since_us, until_us)
                if found is not None:
                    scores.append(found[0])
                    ids.append(found[1])
        cut = self.count(since_us, until_us) > top_tokens
        return self._by_block(asked, np.concatenate(scores, axis=1), np.concatenate(ids, axis=1), top_tokens, cut)

    def count(self, since_us: int | None = None, until_us: int | None = None) -> int:
        """Count the vectors of the blocks whose span meets [since_us, until_us)."""
        return sum(int(shard.row_counts(shard.wanted(since_us, until_us)).sum()) for shard in self._shards)

    def _by_block(
        self,
        queries: NDArray[np.float32],
        scores: NDArray[np.float32],
        ids: NDArray[np.int64],
        top_tokens: int,
        cut: bool,
    ) -> Hits:
        floor = np.full(len(queries), -np.inf, dtype=np.float32)
        if cut:
            floor = -np.partition(-scores, top_tokens - 1, axis=1)[:, top_tokens - 1]
        kept = (scores >= floor[:, None]) & (ids >= 0)
        query, column = np.nonzero(kept)
        block_ids, place = np.unique(ids[query, column], return_inverse=True)
        best = np.full((len(queries), len(block_ids)), -np.inf, dtype=np.float32)
        np.maximum.at(best, (query, place), scores[query, column])
        if self._centre is not None:
            offset = queries @ self._centre  # [m]
            best += offset[:, None]
            floor = floor + offset
        return Hits(block_ids, best, floor)
