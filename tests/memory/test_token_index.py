"""The token index equals brute force, whatever was added, forgotten and filtered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.errors import RecallError, SettingsError
from onlooker.memory.shard import Precision
from onlooker.memory.token_index import TokenIndex

DIM = 4
streams = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 3)), max_size=25)  # rows, gap, length


@settings(max_examples=150)
@given(
    stream=streams,
    data=st.data(),
    shard_rows=st.sampled_from((1, 5, 16, 1000)),
    precision=st.sampled_from(("fp16", "flat")),
    seed=st.integers(0, 1000),
    top=st.sampled_from((1, 3, 10, 10_000)),
)
def test_index_equals_brute_force(
    stream: list[tuple[int, int, int]],
    data: st.DataObject,
    shard_rows: int,
    precision: Precision,
    seed: int,
    top: int,
) -> None:
    rng = np.random.default_rng(seed)
    index = TokenIndex(DIM, precision=precision, shard_rows=shard_rows)
    blocks: dict[int, tuple[np.ndarray, int, int]] = {}
    now = 0
    for block_id, (rows, gap, length) in enumerate(stream):
        now += gap
        vectors = rng.standard_normal((rows, DIM)).astype(np.float32)
        index.add(block_id, vectors, (now, now + length))
        blocks[block_id] = (vectors, now, now + length)
        if data.draw(st.integers(0, 3)) == 0:
            gone = data.draw(st.sampled_from(range(block_id + 1)))
            index.forget(gone)
            blocks.pop(gone, None)
    since, until = data.draw(st.none() | st.integers(-1, 60)), data.draw(st.none() | st.integers(-1, 60))
    inside = {
        block_id: vectors
        for block_id, (vectors, start, end) in blocks.items()
        if len(vectors) and (until is None or start < until) and (since is None or max(end, start + 1) > since)
    }
    queries = rng.standard_normal((3, DIM)).astype(np.float32)
    hits = index.search(queries, top, since, until)
    total = sum(len(v) for v in inside.values())
    assert index.count(since, until) == total
    assert len(index) == sum(len(v) for v, _, _ in blocks.values())
    all_scores = {block_id: (queries @ v.T).max(axis=1) for block_id, v in inside.items()}
    assert set(hits.block_ids.tolist()) <= set(inside)
    assert hits.block_ids.tolist() == sorted(hits.block_ids.tolist())
    tolerance = 0.02 if precision == "fp16" else 1e-4
    for m in range(3):
        found = dict(zip(hits.block_ids.tolist(), hits.scores[m].tolist(), strict=True))
        tokens = np.sort(np.concatenate([queries[m] @ v.T for v in inside.values()] or [np.empty(0)]))[::-1]
        if total <= top:
            assert np.isneginf(hits.floor[m])
            assert set(found) == set(inside)
        else:
            assert hits.floor[m] == pytest.approx(tokens[top - 1], abs=tolerance)
        for block_id, scores in all_scores.items():
            if total <= top or scores[m] > tokens[top - 1] + tolerance:
                assert found[block_id] == pytest.approx(scores[m], abs=tolerance)
            elif scores[m] < tokens[top - 1] - tolerance:
                assert found.get(block_id, -np.inf) == -np.inf


def test_a_constant_bias_costs_no_precision() -> None:
    rng = np.random.default_rng(1)
    bias = np.array([300.0, -200.0, 0.0, 50.0], np.float32)
    rows = rng.standard_normal((40, 8, DIM)).astype(np.float32) + bias
    index = TokenIndex(DIM)
    for block_id, vectors in enumerate(rows):
        index.add(block_id, vectors, (block_id, block_id + 1))
    query = rng.standard_normal((1, DIM)).astype(np.float32)
    exact = (rows.astype(np.float64) @ query[0].astype(np.float64)).max(axis=1)
    assert np.abs(index.search(query, 1000).scores[0] - exact).max() < 0.01


def test_bytes_are_those_of_the_vectors_and_fall_when_blocks_are_forgotten() -> None:
    index = TokenIndex(32, shard_rows=512)
    rng = np.random.default_rng(0)
    for block_id in range(2000):
        index.add(block_id, rng.standard_normal((8, 32)), (block_id, block_id + 1))
        index.forget(block_id - 500)
    live = 500 * 8 * 32 * 2
    assert len(index) == 500 * 8
    assert live < index.nbytes < 1.5 * live  # a third dead at most in one shard, a table, one reserve
    for block_id in range(1500, 2000):
        index.forget(block_id)
    assert index.shards == 0
    assert index.nbytes == 32 * 4  # the centre


def test_reserve_is_really_where_the_vectors_go() -> None:
    index = TokenIndex(16, shard_rows=1600)
    index.add(0, np.ones((1, 16)), (0, 1))
    codes = index._shards[0]._index.codes
    here, counted = int(codes.data()), index.nbytes
    for block_id in range(1, 15):
        index.add(block_id, np.ones((7, 16)), (block_id, block_id + 1))
    assert int(codes.data()) == here  # 99 of the 100 reserved rows are used: no move, so no hidden growth
    assert index.nbytes == counted


def test_strange_input() -> None:
    index = TokenIndex(DIM)
    assert index.search(np.ones((2, DIM)), 5).scores.shape == (2, 0)
    index.add(3, np.full((2, DIM), np.nan), (0, 1))
    index.add(4, np.full((2, DIM), 1e30), (1, 2))
    assert np.isfinite(index.search(np.ones((1, DIM)), 9).scores).all()
    assert index.search(np.ones((0, DIM)), 9).scores.shape[0] == 0
    index.forget(99)
    with pytest.raises(RecallError, match="block 4 came after block 4"):
        index.add(4, np.ones((1, DIM)), (2, 3))
    with pytest.raises(RecallError, match="do not fit"):
        index.add(5, np.ones((1, DIM + 1)), (2, 3))
    with pytest.raises(SettingsError, match="dim >= 1"):
        TokenIndex(0)
