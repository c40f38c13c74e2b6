"""Index of token vectors: which blocks hold a token that answers a query vector.

Newest vectors lie in flat shards in fp16, searched exactly.  `maintain` settles older shards: 8-bit codes in
lists of like vectors, of which a search reads the most promising ones (docs/index.md has the measurements).
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import RecallError, SettingsError
from .faiss_build import load_faiss, one_thread
from .index_pool import Pool
from .index_probe import probe
from .listed_shard import ListedShard, settle
from .shard import Precision, Shard
from .shard_table import View

_FP16_LIMIT = 65504.0
_QUERIES = 32  # searched together: bounds the scores held at once


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Hold, for m queries, the best score in each of n blocks.

    block_ids: int64 [n], rising.  scores: float32 [m, n]; minus infinity where none of the block's tokens is among
    the query's hits.  floor: float32 [m], the score below which hits were cut off: of the tokens that were read, as
    many as were asked for are not below it; minus infinity if none were cut off.  unread: float32 [m], an estimate
    (no bound) of the most that a token that was not read may score; minus infinity where all were read, and then the
    floor is an upper bound of every token that is no hit.
    """

    block_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    floor: NDArray[np.float32]
    unread: NDArray[np.float32]


class TokenIndex:
    """Index the token vectors of blocks by inner product.

    precision: "fp16" (2 bytes a channel) or "flat" (fp32), of what is not settled.  shard_rows: vectors in a sealed
    shard.  settle_shards: sealed shards that are settled together.  scan_rows: settled vectors that one search
    reads at most; up to so many are read exactly, as 8 bits have them.  dead_share: a shard is rewritten without its
    forgotten rows once they are more than this share, so dead bytes stay bounded.  cap_bytes: bound on nbytes, None for
    none: when it is passed, shards get coarser, the oldest first (8 bits, then 4), and when all are at 4 bits the
    oldest shard is dropped.  Vectors are stored less the first block's mean: a model's constant key bias would
    otherwise eat fp16's precision.  Scores are of the vectors as given.  ordered: whether settled shards keep the
    order of a block's vectors, for vectors_of.  Not safe for use by several threads at once.
    """

    def __init__(
        self,
        dim: int,
        *,
        precision: Precision = "fp16",
        shard_rows: int = 16_384,
        settle_shards: int = 4,
        scan_rows: int = 32_768,
        dead_share: float = 0.25,
        cap_bytes: int | None = None,
        ordered: bool = False,
    ) -> None:
        if dim < 1 or min(shard_rows, settle_shards, scan_rows) < 1 or not 0.0 <= dead_share <= 1.0:
            raise SettingsError(
                f"a token index needs dim >= 1, shard_rows, settle_shards and scan_rows >= 1 and dead_share in 0..1, "
                f"not {dim}, {shard_rows}, {settle_shards}, {scan_rows} and {dead_share}"
            )
        if cap_bytes is not None and cap_bytes < dim * 4:
            raise SettingsError(f"an index of {dim} channels holds {dim * 4} bytes at least; {cap_bytes} is no cap")
        self.dim = dim
        self.precision: Precision = precision
        self.cap_bytes = cap_bytes
        self._faiss = load_faiss()
        self.scan_rows = scan_rows
        self._shard_rows, self._settle_shards = shard_rows, settle_shards
        self._dead_share, self._ordered = dead_share, ordered
        self._shards: list[Shard | ListedShard] = []  # by block ids: settled, sealed, and last the one that is filled
        self._centre: NDArray[np.float32] | None = None
        self._last_id = -1
        self._first_id = 0

    def __len__(self) -> int:
        """Number of vectors that are not forgotten."""
        return sum(shard.live_rows for shard in self._shards)

    @property
    def nbytes(self) -> int:
        """True bytes held: codes with their reserve, lists, tables, forgotten rows not yet rewritten."""
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

    @property
    def first_id(self) -> int:
        """The cap dropped the vectors of every block with an id below this one; 0 while it dropped none."""
        return self._first_id

    @property
    def due(self) -> bool:
        """Whether `maintain` has something to settle."""
        return bool(self._due())

    def add(self, block_id: int, vectors: NDArray[np.floating], span_us: tuple[int, int]) -> tuple[int, ...]:
        """Index the token vectors [n, dim] of a block, n may be 0; give the blocks whose vectors the cap dropped.

        Raises RecallError unless block ids rise.
        """
        return self.add_many([block_id], vectors, [len(vectors)], [span_us])

    def add_many(
        self,
        block_ids: Sequence[int],
        vectors: NDArray[np.floating],
        counts: Sequence[int],
        spans_us: Sequence[tuple[int, int]],
    ) -> tuple[int, ...]:
        """Index many blocks at once, with the same result as one by one; give those whose vectors the cap dropped.

        vectors: [n, dim] of all blocks.  counts: how many of them each block has.  The cap may be passed by a shard's
        worth in between.  Raises RecallError unless ids rise and shapes fit.
        """
        ids, sizes = np.asarray(block_ids, np.int64).reshape(-1), np.asarray(counts, np.int64).reshape(-1)
        spans = np.asarray(spans_us, np.int64).reshape(-1, 2)
        self._check(ids, vectors, sizes, spans)
        newest = int(ids[-1]) if len(ids) else self._last_id
        some = sizes > 0
        ids, sizes, spans = ids[some], sizes[some], spans[some]
        ends = np.cumsum(sizes)
        dropped: list[int] = []
        start = 0
        while start < len(ids):
            done = int(ends[start] - sizes[start])
            tail = self._shards[-1] if self._shards else None
            stop = start
            if isinstance(tail, Shard):
                stop = int(np.searchsorted(ends, done + self._shard_rows - tail.rows, side="right"))
                if stop <= start:
                    tail.seal()
            if not isinstance(tail, Shard) or stop <= start:
                tail = Shard(self._faiss, self.dim, self.precision, max(self._shard_rows, int(sizes[start])))
                self._shards.append(tail)
                stop = max(int(np.searchsorted(ends, done + self._shard_rows, side="right")), start + 1)
            part = slice(start, stop)
            tail.add(
                ids[part], sizes[part], spans[part], self._stored(vectors[done : int(ends[stop - 1])], sizes[start])
            )
            self._last_id = int(ids[stop - 1])  # only now: what is interrupted before is added again
            dropped += self._keep_cap()
            start = stop
        self._last_id = newest
        return tuple(dropped)

    def forget(self, block_id: int) -> None:
        """Take a block's vectors out; a block that is not here is no error."""
        for number, shard in enumerate(self._shards):
            if shard.forget(block_id):
                if shard.live_rows == 0:
                    del self._shards[number]
                elif shard.rows - shard.live_rows > self._dead_share * shard.rows:
                    shard.rewrite()
                return

    def maintain(self, budget_s: float = math.inf) -> bool:
        """Settle sealed shards, the oldest first, until budget_s is used up; say whether more are due.

        At least one group is settled when one is due: about 0.4 s for 65,536 vectors of 64 channels on one core.  While
        nothing is forgotten and no cap is passed, what comes of it does not depend on when this is called.
        """
        began = time.perf_counter()
        while group := self._due():
            self._settle(group)
            if time.perf_counter() - began >= budget_s:
                return bool(self._due())
        return False

    def coarsen(self) -> bool:
        """Bring the oldest shard that can be made coarser one step down; say whether there was one.

        A sealed shard is settled, a settled one goes from 8 bits to 4; the one that is being filled stays as it is.
        """
        for shard in self._shards:
            if isinstance(shard, ListedShard):
                if shard.bits == 8:
                    shard.coarsen()
                    return True
            elif shard is not self._shards[-1]:
                self._settle([shard])
                return True
        return False

    def search(
        self,
        queries: NDArray[np.floating],
        top_tokens: int,
        since_us: int | None = None,
        until_us: int | None = None,
    ) -> Hits:
        """Find each query's top_tokens best tokens, and give the best score of every block among them.

        queries: [m, dim].  top_tokens: 1 or more.  since_us, until_us: only blocks whose span meets [since_us,
        until_us).  Exact, as far as codes are, while at most scan_rows settled vectors are searched; beyond that those
        of the most promising lists are.
        """
        asked = np.ascontiguousarray(np.nan_to_num(queries), dtype=np.float32)
        views = [(shard, shard.table.view(since_us, until_us)) for shard in self._shards]
        wanted = [(shard, view) for shard, view in views if view.rows]
        with one_thread(self._faiss):  # many small products: a second thread would be waited for more than it brings
            groups = [self._found(asked[n : n + _QUERIES], wanted, top_tokens) for n in range(0, len(asked), _QUERIES)]
        block_ids = np.unique(np.concatenate([np.empty(0, np.int64), *(group.ids for group in groups)]))
        scores = np.full((len(asked), len(block_ids)), -np.inf, dtype=np.float32)
        for number, group in enumerate(groups):
            rows = scores[number * _QUERIES : (number + 1) * _QUERIES]
            np.maximum.at(rows, (group.query, np.searchsorted(block_ids, group.ids)), group.scores)
        none = np.empty(0, np.float32)
        floor = np.concatenate([none, *(group.floor for group in groups)])
        unread = np.concatenate([none, *(group.unread for group in groups)])
        if self._centre is not None:
            offset = asked @ self._centre  # [m]
            scores, floor, unread = scores + offset[:, None], floor + offset, unread + offset
        return Hits(block_ids, scores, floor, unread)

    def count(self, since_us: int | None = None, until_us: int | None = None) -> int:
        """Count the vectors of the blocks whose span meets [since_us, until_us)."""
        return sum(shard.table.view(since_us, until_us).rows for shard in self._shards)

    def vectors_of(self, block_id: int) -> NDArray[np.float32] | None:
        """Decode a block's vectors [n, dim] as the index has them, in the order in which they were added.

        None for a block that has none here, or whose shard was settled where the index is not ordered.
        """
        for shard in self._shards:
            place = shard.table.find(block_id)
            if place is not None:
                vectors = shard.vectors_of(place)
                return vectors if vectors is None or self._centre is None else vectors + self._centre
        return None

    def _found(self, queries: NDArray[np.float32], wanted: "list[_Wanted]", top_tokens: int) -> "_Found":
        """Search some queries: the tokens that are not below each one's floor."""
        listed = [(shard, view) for shard, view in wanted if isinstance(shard, ListedShard)]
        looked = probe(queries, [shard for shard, _ in listed], [view for _, view in listed], self.scan_rows)
        pool = Pool(len(queries), top_tokens)
        few: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
        for (shard, view), lists, products in zip(listed, looked.lists, looked.products, strict=True):
            if len(lists):
                scores, ids = shard.scan(queries, products, lists, view)
                if len(ids) > 2 * top_tokens:
                    pool.add(scores, ids)
                else:
                    few.append((scores, ids))
        if few:  # together: the floor that they give spares more of what follows
            pool.add(np.concatenate([scores for scores, _ in few]), np.concatenate([ids for _, ids in few]))
        for flat, view in wanted:
            if isinstance(flat, Shard):
                pool.add(*flat.scan(queries, view))
        rows = sum(view.rows for _, view in wanted)
        query, ids, best, floor = pool.best(rows > top_tokens)
        return _Found(query, ids, best, floor, looked.unread)

    def _check(
        self, ids: NDArray[np.int64], vectors: NDArray[np.floating], sizes: NDArray[np.int64], spans: NDArray[np.int64]
    ) -> None:
        newest = self._last_id
        for block_id in ids.tolist():
            if block_id <= newest:
                raise RecallError(f"block {block_id} came after block {newest}; blocks are added in rising order")
            newest = block_id
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise RecallError(f"vectors of shape {list(vectors.shape)} do not fit an index of [n, {self.dim}]")
        if not len(ids) == len(sizes) == len(spans) or sizes.min(initial=0) < 0 or int(sizes.sum()) != len(vectors):
            raise RecallError(
                f"{len(ids)} blocks, {len(sizes)} counts (together {sizes.sum()}) and {len(spans)} spans do not fit "
                f"{len(vectors)} vectors; give one count and one span a block, and all its vectors"
            )

    def _stored(self, vectors: NDArray[np.floating], first: int) -> NDArray[np.float32]:
        """Make vectors what is stored of them; first: how many are the first block's."""
        rows = np.nan_to_num(np.asarray(vectors, dtype=np.float32), posinf=_FP16_LIMIT, neginf=-_FP16_LIMIT)
        if self._centre is None:
            self._centre = rows[:first].mean(axis=0)
        return np.clip(rows - self._centre, -_FP16_LIMIT, _FP16_LIMIT)

    def _due(self) -> list[Shard]:
        """Find the oldest sealed shards that are to be settled together; none while they are too few."""
        group = [shard for shard in self._shards[:-1] if isinstance(shard, Shard)][: self._settle_shards]
        return group if len(group) == self._settle_shards else []

    def _settle(self, group: list[Shard]) -> None:
        first = self._shards.index(group[0])
        self._shards[first : first + len(group)] = [settle(self._faiss, group, self._ordered)]

    def _keep_cap(self) -> list[int]:
        """Come back under the cap; give the ids of the blocks whose vectors had to go."""
        dropped: list[int] = []
        while self.cap_bytes is not None and self._shards and self.nbytes > self.cap_bytes:
            if self.coarsen():
                continue
            table = self._shards.pop(0).table
            dropped += table.ids[table.wanted()].tolist()
            self._first_id = int(table.ids[-1]) + 1
        return dropped


_Wanted = tuple[Shard | ListedShard, View]


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Hold what some queries found: for each token the query's number, the block's id and the score."""

    query: NDArray[np.intp]
    ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    floor: NDArray[np.float32]
    unread: NDArray[np.float32]
