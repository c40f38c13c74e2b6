"""Moments equal numpy's, however the vectors were grouped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.memory.moments import Moments


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.lists(st.integers(0, 7), max_size=8))
def test_moments_equal_numpy(seed: int, dim: int, batches: list[int]) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.standard_normal((sum(batches), dim)) * 3 + 1000).astype(np.float32)
    grouped, single = Moments(dim), Moments(dim)
    at = 0
    for size in batches:
        grouped.add(rows[at : at + size])
        at += size
    for row in rows:
        single.add(row[None])
    assert grouped.count == single.count == len(rows)
    if len(rows):
        np.testing.assert_allclose(grouped.mean, rows.astype(np.float64).mean(axis=0), rtol=1e-12)
        expected = np.cov(rows.astype(np.float64), rowvar=False, bias=True).reshape(dim, dim)
        np.testing.assert_allclose(grouped.covariance, expected, atol=1e-8)
    np.testing.assert_allclose(grouped.covariance, single.covariance, atol=1e-8)
    assert grouped.nbytes == Moments(dim).nbytes == 8 * (dim + dim * dim)


def test_standardised_scores_have_mean_0_and_spread_1() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((5000, 6)) @ rng.standard_normal((6, 6)) + 50
    moments = Moments(6)
    moments.add(rows)
    queries = rng.standard_normal((4, 6)) * 10
    z = moments.standardise(queries @ rows.T, queries)
    np.testing.assert_allclose(z.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(z.std(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("rows", [np.zeros((0, 3)), np.ones((1, 3)), np.full((50, 3), 0.1), np.full((9, 3), 3e4)])
def test_no_spread_gives_0_and_not_noise(rows: np.ndarray) -> None:
    moments = Moments(3)
    for row in rows:
        moments.add(row[None])
    queries = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    scores = np.array([[5.0, -np.inf], [0.0, 0.0]])
    assert moments.standardise(scores, queries).tolist() == [[0.0, -np.inf], [0.0, 0.0]]
