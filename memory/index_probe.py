"""Which lists of settled shards a search reads: those that promise most to any of its queries.

Lists of all shards compete with each other, and so do the queries, on one scale: how many standard deviations of all
that is searched a list's best vector may lie above the mean.  A question's words of which something was seen fire far
above the others, so nearly all reading is spent on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .listed_shard import ListedShard
from .shard_table import View

REACH = 3.0
"""How many times its spread a list is thought to reach beyond its centroid (0 to 4 measured: docs/index.md)."""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Hold what is read of settled shards, and what is left out.

    lists: for each shard the numbers of its lists to read, rising.  products: for each shard [lists, m], of its
    centroids with the queries.  unread: float32 [m], the most that a vector of the other lists is thought to score;
    minus infinity where every list is read.
    """

    lists: tuple[NDArray[np.intp], ...]
    products: tuple[NDArray[np.float32], ...]
    unread: NDArray[np.float32]


def probe(
    queries: NDArray[np.float32],
    shards: Sequence[ListedShard],
    views: Sequence[View],
    scan_rows: int,
) -> Probe:
    """Choose lists of together at most scan_rows vectors, or all lists where all are not more; one at least.

    queries: [m, dim].  views: for each shard, of which vectors are searched.
    """
    if not shards:
        return Probe((), (), np.full(len(queries), -np.inf, dtype=np.float32))
    turned = torch.from_numpy(np.ascontiguousarray(queries.T))
    products = tuple((torch.from_numpy(shard.centroids) @ turned).numpy() for shard in shards)
    sizes = [shard.list_sizes(view) for shard, view in zip(shards, views, strict=True)]
    borders = np.cumsum([len(size) for size in sizes])[:-1]
    rows = np.concatenate(sizes)
    chosen = rows > 0
    unread = np.full(len(queries), -np.inf, dtype=np.float32)
    total = int(rows.sum())
    if total > scan_rows:
        bound, promise = _promise(np.concatenate(products), np.concatenate([s.spread for s in shards]), rows / total)
        promise[~chosen] = -np.inf
        order = np.argsort(-promise)
        taken = order[: max(int(np.searchsorted(np.cumsum(rows[order]), scan_rows, side="right")), 1)]
        rest = chosen.copy()
        rest[taken] = False
        chosen[rest] = False
        unread = bound[rest].max(axis=0, initial=-np.inf)
    return Probe(tuple(np.nonzero(part)[0] for part in np.split(chosen, borders)), products, unread)


def _promise(
    products: NDArray[np.float32], spread: NDArray[np.float32], share: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Estimate each list's best score for each query [lists, m], and its best over queries in standard deviations.

    share: of the vectors, in each list [lists].  What lists' vectors differ from centroids adds to the variance of the
    centroids' scores as much as it does to that of all channels.
    """
    weight = share.astype(np.float32)
    mean = weight @ products  # [m]
    within = min(float(weight @ np.square(spread)), 0.999)
    deviation = np.sqrt(weight @ np.square(products - mean) / np.float32(1.0 - within))
    deviation = np.maximum(deviation, np.float32(1e-20))
    bound = products + np.float32(REACH) * spread[:, None] * deviation
    return bound, np.asarray(((bound - mean) / deviation).max(axis=1))
