"""Running mean and covariance: what a score is measured against."""

import numpy as np
from numpy.typing import NDArray


class Moments:
    """Track the mean and covariance of vectors [*, dim] in float64, in fixed space.

    Batches are merged by Chan, Golub and LeVeque's update (1983), so the grouping of the vectors changes the result by
    rounding alone.  Vectors that memory forgets later stay counted: the moments describe all that was seen.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.count = 0
        self._mean = np.zeros(dim, dtype=np.float64)
        self._scatter = np.zeros((dim, dim), dtype=np.float64)  # sum of outer products of the deviations

    @property
    def nbytes(self) -> int:
        """True bytes held."""
        return self._mean.nbytes + self._scatter.nbytes

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean [dim]; zero before the first vector."""
        return self._mean.copy()

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance [dim, dim], normalised by the count; zero before the first vector."""
        return self._scatter / max(self.count, 1)

    def state(self) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """Give all that is held: the count, the mean [dim], the scatter [dim, dim]; copies."""
        return self.count, self._mean.copy(), self._scatter.copy()

    def restore(self, count: int, mean: NDArray[np.float64], scatter: NDArray[np.float64]) -> None:
        """Take over what state() gave.  Raises ValueError for another width."""
        if mean.shape != self._mean.shape or scatter.shape != self._scatter.shape or count < 0:
            raise ValueError(f"moments of {mean.shape} and {scatter.shape} do not fit {self.dim} channels")
        self.count, self._mean, self._scatter = count, mean.copy(), scatter.copy()

    def add(self, vectors: NDArray[np.floating]) -> None:
        """Merge a batch of vectors [n, dim]."""
        batch = np.asarray(vectors, dtype=np.float64)
        added = batch.shape[0]
        if added == 0:
            return
        mean = batch.mean(axis=0)
        centred = batch - mean
        delta = mean - self._mean
        total = self.count + added
        self._scatter += centred.T @ centred
        self._scatter += np.outer(delta, delta) * (self.count * added / total)
        self._mean += delta * (added / total)
        self.count = total

    def standardise(self, scores: NDArray[np.floating], queries: NDArray[np.floating]) -> NDArray[np.float64]:
        """Turn inner products [m, n] of queries [m, dim] with vectors into z = (v - mean)·q / sqrt(q' Cov q).

        A row whose spread is nothing (fewer than two vectors, all of them equal, or a zero query) becomes 0; minus
        infinity stays what it is.
        """
        rows = np.asarray(queries, dtype=np.float64)
        centre = rows @ self._mean  # [m]
        variance = np.einsum("md,de,me->m", rows, self._scatter, rows, optimize=True) / max(self.count, 1)
        power = np.einsum("md,md->m", rows, rows) * max(float(np.trace(self._scatter)) / max(self.count, 1), 1e-30)
        flat = variance <= 1e-12 * power  # what is left is rounding, not spread
        spread = np.sqrt(np.where(flat, 1.0, variance))
        z = (np.asarray(scores, dtype=np.float64) - centre[:, None]) / spread[:, None]
        z[flat] = np.where(np.isneginf(z[flat]), -np.inf, 0.0)
        return z
