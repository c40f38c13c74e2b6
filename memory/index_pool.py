"""The pool of a search: the best tokens so far of every query, and the score that others must reach."""

import numpy as np
from numpy.typing import NDArray


class Pool:
    """Collect scored tokens of some queries, and let go of those that are surely not among any query's best.

    queries: how many.  top: how many of the best tokens of each are wanted.
    """

    def __init__(self, queries: int, top: int) -> None:
        self._top = top
        self._least = np.full(queries, -np.inf, dtype=np.float32)  # as many as are wanted are known not to be below
        self._scores: list[NDArray[np.float32]] = [np.empty((0, queries), dtype=np.float32)]
        self._ids: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]

    def add(self, scores: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
        """Take in tokens: scores [r, m] and the ids of their blocks [r]."""
        if len(ids) > self._top and np.isfinite(self._least).any():
            scores, ids = self._hopeful(scores, ids)
        if len(ids) > 2 * self._top:
            self._least = np.maximum(self._least, _place(scores, self._top))
            scores, ids = self._hopeful(scores, ids)
        self._scores.append(scores)
        self._ids.append(ids)

    def best(self, cut: bool) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Give the tokens that are not below each query's floor, and the floors [m].

        The tokens: number of the query, block id and score of each.  cut: whether there is a floor; minus infinity
        where not.
        """
        scores, ids = np.concatenate(self._scores), np.concatenate(self._ids)
        floor = np.full(scores.shape[1], -np.inf, dtype=np.float32)
        if cut:
            floor = _place(scores, min(self._top, len(scores)))
        row, query = np.nonzero(scores >= floor)
        return query, ids[row], scores[row, query], floor

    def _hopeful(
        self, scores: NDArray[np.float32], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        hopeful = (scores >= self._least).any(axis=1)
        return scores[hopeful], ids[hopeful]


def _place(scores: NDArray[np.float32], place: int) -> NDArray[np.float32]:
    """Find each query's score at a place, 1 for the best: scores [r, m], r at least place."""
    turned = np.partition(np.ascontiguousarray(scores.T), len(scores) - place, axis=1)
    return np.asarray(turned[:, len(scores) - place])
