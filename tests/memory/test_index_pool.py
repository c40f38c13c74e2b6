"""The pool of a search lets go of no token that is among a query's best."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onlooker.memory.index_pool import Pool


@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=8),
    queries=st.integers(1, 4),
    top=st.integers(1, 30),
    levels=st.sampled_from((3, 10_000)),  # with three, most are ties
    seed=st.integers(0, 1000),
)
def test_the_best_tokens_are_those_of_a_sort(sizes: list[int], queries: int, top: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (sum(sizes), queries)).astype(np.float32)
    pool, start = Pool(queries, top), 0
    for size in sizes:
        part = scores[start : start + size].copy()
        pool.add(part, np.arange(start, start + size))
        assert np.array_equal(part, scores[start : start + size])
        start += size
    cut = sum(sizes) > top
    query, ids, best, floor = pool.best(cut)
    for m in range(queries):
        least = np.sort(scores[:, m])[-top] if cut else -np.inf
        assert floor[m] == least
        assert sorted(ids[query == m].tolist()) == np.nonzero(scores[:, m] >= least)[0].tolist()
        assert np.array_equal(best[query == m], scores[ids[query == m], m])
