"""Settled shards give what flat ones give, up to their codes, and reading a part of them finds nearly all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.errors import RecallError
from onlooker.memory.shard_codes import encode
from onlooker.memory.token_index import Hits, TokenIndex

DIM = 8


def fill(index: TokenIndex, blocks: list[np.ndarray], first: int = 0) -> None:
    for number, vectors in enumerate(blocks, start=first):
        index.add(number, vectors, (number, number + 1))


def same(one: Hits, other: Hits) -> bool:
    fields = ("block_ids", "scores", "floor", "unread")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in fields)


def things_of(count: int, dim: int) -> np.ndarray:
    return np.random.default_rng([7, dim]).standard_normal((count, dim)).astype(np.float32)


def clustered(blocks: int, rows: int, dim: int) -> list[np.ndarray]:
    """Blocks of a few common things; in every tenth block and the three after it half the tokens are of a rare one."""
    rng, things = np.random.default_rng(0), things_of(20 + blocks // 10, dim)
    chosen = rng.integers(0, 20, (blocks, rows))
    for event in range(blocks // 10):
        chosen[event * 10 : event * 10 + 4, : rows // 2] = 20 + event
    noise = rng.standard_normal((blocks, rows, dim)).astype(np.float32)
    return list(things[chosen] + 0.2 * noise)


@settings(max_examples=80)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    data=st.data(),
    shard_rows=st.sampled_from((1, 5, 16, 1000)),
    seed=st.integers(0, 1000),
    top=st.sampled_from((1, 3, 10, 10_000)),
)
def test_what_is_read_whole_equals_brute_force(
    sizes: list[int], data: st.DataObject, shard_rows: int, seed: int, top: int
) -> None:
    rng = np.random.default_rng(seed)
    index = TokenIndex(DIM, shard_rows=shard_rows, settle_shards=2)
    blocks: dict[int, np.ndarray] = {}
    for block_id, rows in enumerate(sizes):
        blocks[block_id] = rng.standard_normal((rows, DIM)).astype(np.float32)
        index.add(block_id, blocks[block_id], (block_id, block_id + 1))
        if data.draw(st.integers(0, 3)) == 0:
            assert index.maintain() is False
        if data.draw(st.integers(0, 3)) == 0:
            gone = data.draw(st.sampled_from(range(block_id + 1)))
            index.forget(gone)
            blocks.pop(gone, None)
    since, until = data.draw(st.none() | st.integers(-1, 40)), data.draw(st.none() | st.integers(-1, 40))
    inside = {
        block_id: vectors
        for block_id, vectors in blocks.items()
        if len(vectors) and (until is None or block_id < until) and (since is None or block_id + 1 > since)
    }
    queries = rng.standard_normal((3, DIM)).astype(np.float32)
    hits = index.search(queries, top, since, until)
    total = sum(map(len, inside.values()))
    assert index.count(since, until) == total
    assert len(index) == sum(map(len, blocks.values()))
    assert np.isneginf(hits.unread).all()
    tolerance = 0.15
    for m in range(3):
        found = dict(zip(hits.block_ids.tolist(), hits.scores[m].tolist(), strict=True))
        tokens = np.sort(np.concatenate([queries[m] @ v.T for v in inside.values()] or [np.empty(0)]))[::-1]
        if total <= top:
            assert set(found) == set(inside) and np.isneginf(hits.floor[m])
        else:
            assert hits.floor[m] == pytest.approx(tokens[top - 1], abs=tolerance)
        for block_id, vectors in inside.items():
            best = float((queries[m] @ vectors.T).max())
            if total <= top or best > tokens[top - 1] + 2 * tolerance:
                assert found[block_id] == pytest.approx(best, abs=tolerance)
            elif best < tokens[top - 1] - 2 * tolerance:
                assert found.get(block_id, -np.inf) == -np.inf


def test_a_part_is_read_and_the_blocks_asked_for_are_found() -> None:
    index = TokenIndex(32, shard_rows=2048, settle_shards=2)
    fill(index, clustered(3000, 8, 32))
    index.maintain()
    rng = np.random.default_rng(5)
    found = []
    for event in range(5, 245, 8):
        queries = rng.standard_normal((2, 32)).astype(np.float32)
        queries[1] = things_of(320, 32)[20 + event]  # one row asks for it; the other says nothing
        index.scan_rows = 1 << 40
        whole = index.search(queries, 256)
        index.scan_rows = 3000  # of the 20,480 that are settled
        part = index.search(queries, 256)
        assert np.isneginf(whole.unread).all() and np.isfinite(part.unread).all()
        assert (part.floor <= whole.floor + 1e-3).all()
        best = part.block_ids[np.argsort(-part.scores[1])[:4]]
        found.append(set(best.tolist()) == set(range(event * 10, event * 10 + 4)))
        both = np.intersect1d(whole.block_ids, part.block_ids)
        scores = [hits.scores[:, np.searchsorted(hits.block_ids, both)] for hits in (whole, part)]
        hit = np.isfinite(scores[0]) & np.isfinite(scores[1])
        assert (scores[1][hit] <= scores[0][hit] + 1e-4).all()  # the block's best token may not have been read
    assert np.mean(found) >= 0.8
    index.scan_rows = 1
    least = index.search(queries, 256)  # one list at least, and what is not settled
    assert 0 < len(least.block_ids) < len(part.block_ids)


def test_a_question_of_many_rows_is_read_in_parts() -> None:
    blocks = clustered(400, 8, DIM)
    index = TokenIndex(DIM, shard_rows=512, settle_shards=1)
    fill(index, blocks)
    index.maintain()
    queries = np.random.default_rng(0).standard_normal((70, DIM)).astype(np.float32)
    whole = index.search(queries, 5)
    for row in (0, 31, 32, 69):
        one = index.search(queries[row : row + 1], 5)
        column = np.searchsorted(whole.block_ids, one.block_ids)
        assert whole.scores[row, column] == pytest.approx(one.scores[0], abs=1e-4)
        assert np.isfinite(whole.scores[row]).sum() == len(one.block_ids)


def test_when_maintain_is_called_changes_nothing() -> None:
    blocks = clustered(600, 7, DIM)
    often, once, bulk = (TokenIndex(DIM, shard_rows=256, settle_shards=3, scan_rows=500) for _ in range(3))
    for number, vectors in enumerate(blocks):
        often.add(number, vectors, (number, number + 1))
        often.maintain(0.0)
    fill(once, blocks)
    assert once.due and once.maintain(0.0) and once.maintain() is False and not once.due
    ids = list(range(len(blocks)))
    bulk.add_many(ids, np.concatenate(blocks), [7] * len(ids), [(n, n + 1) for n in ids])
    bulk.maintain()
    queries = np.random.default_rng(1).standard_normal((4, DIM)).astype(np.float32)
    found = often.search(queries, 50)
    assert same(found, once.search(queries, 50)) and same(found, bulk.search(queries, 50))
    assert often.nbytes == once.nbytes == bulk.nbytes


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 12), max_size=40),
    shard_rows=st.sampled_from((1, 5, 16, 1000)),
    cut=st.integers(0, 40),
)
def test_adding_in_bulk_equals_adding_one_by_one(sizes: list[int], shard_rows: int, cut: int) -> None:
    rng = np.random.default_rng(len(sizes))
    blocks = [rng.standard_normal((size, DIM)).astype(np.float32) + 5.0 for size in sizes]
    one, many = TokenIndex(DIM, shard_rows=shard_rows), TokenIndex(DIM, shard_rows=shard_rows)
    fill(one, blocks)
    for start, stop in ((0, cut), (cut, len(blocks))):
        part = blocks[start:stop]
        vectors = np.concatenate([np.empty((0, DIM), np.float32), *part])
        ids = range(start, start + len(part))
        many.add_many(list(ids), vectors, [len(v) for v in part], [(n, n + 1) for n in ids])
    queries = rng.standard_normal((3, DIM)).astype(np.float32)
    assert same(one.search(queries, 10), many.search(queries, 10))
    assert (one.nbytes, one.shards, one.last_id, len(one)) == (many.nbytes, many.shards, many.last_id, len(many))


def test_bulk_that_does_not_fit_is_refused_whole() -> None:
    index = TokenIndex(DIM)
    vectors = np.ones((4, DIM), np.float32)
    for counts, ids, spans in (([2, 1], [0, 1], 2), ([2, 2], [1, 1], 2), ([4], [0, 1], 2), ([5, -1], [0, 1], 2)):
        with pytest.raises(RecallError, match=r"do not fit|rising order"):
            index.add_many(ids, vectors, counts, [(0, 1)] * spans)
    assert index.last_id == -1 and len(index) == 0


def test_a_rewrite_copies_codes() -> None:
    blocks = clustered(400, 8, DIM)
    index = TokenIndex(DIM, shard_rows=1024, settle_shards=1)
    fill(index, blocks)
    index.maintain()
    queries = np.random.default_rng(2).standard_normal((3, DIM)).astype(np.float32)
    before, held = index.search(queries, 10_000), index.nbytes
    for block_id in range(0, 380, 2):
        index.forget(block_id)
    after = index.search(queries, 10_000)
    kept = np.isin(before.block_ids, after.block_ids)
    assert after.block_ids.tolist() == [n for n in range(400) if n % 2 or n >= 380]
    assert np.abs(after.scores - before.scores[:, kept]).max() < 1e-5  # sums in another order, no new codes
    assert index.nbytes < 0.75 * held


@pytest.mark.parametrize("dim", [1, 7, 64])
def test_half_the_bits_take_half_the_bytes(dim: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((500, dim)).astype(np.float32)
    queries = np.eye(dim, dtype=np.float32)
    fine = encode(vectors)
    coarse = fine.coarser()
    assert coarse.coarser() is coarse
    assert fine.codes.nbytes == 500 * dim and coarse.codes.nbytes == 500 * ((dim + 1) // 2)
    scale = np.abs(vectors).max(axis=1, keepdims=True) * 1.5 + 0.01
    assert (np.abs(fine.dots([slice(None)], queries) - vectors) <= scale / 100).all()
    assert (np.abs(coarse.dots([slice(None)], queries) - vectors) <= scale / 6).all()
    parts = [slice(3, 5), slice(70, 90)]
    assert np.array_equal(fine.dots(parts, queries), fine.dots([slice(None)], queries)[np.r_[3:5, 70:90]])


def test_bytes_are_counted_true() -> None:
    index = TokenIndex(64, shard_rows=2048, settle_shards=4)
    fill(index, clustered(2100, 8, 64))
    flat = index.nbytes
    index.maintain()
    settled = index._shards[0]
    parts = (settled.centroids, settled.spread, settled._starts, settled._places, settled.table._rows)  # type: ignore[union-attr]
    codes = settled._codes  # type: ignore[union-attr]
    arrays = [*parts, codes.codes, codes.scale, codes.step]
    assert settled.nbytes == sum(array.nbytes for array in arrays)
    assert all(array.base is None or array.base.nbytes <= array.nbytes for array in arrays)  # no view of more
    assert 64 < settled.nbytes / settled.rows < 64 + 2 + 2 + 4 + 45 / 8 + 1  # codes, scale, place, lists, table
    assert index.nbytes < 0.65 * flat
    while index.coarsen():
        pass
    assert index.nbytes < 0.4 * flat


def test_strange_vectors_settle() -> None:
    index = TokenIndex(DIM, shard_rows=4, settle_shards=1)
    fill(index, [np.zeros((4, DIM)), np.full((4, DIM), 3.0), np.full((4, DIM), 1e30), np.full((4, DIM), np.nan)])
    fill(index, [np.ones((1, DIM))], first=4)
    index.maintain()
    hits = index.search(np.ones((1, DIM)), 100)
    assert hits.block_ids.tolist() == [0, 1, 2, 3, 4]
    assert hits.scores[0, [0, 1, 3, 4]] == pytest.approx([0.0, 24.0, 0.0, 8.0], abs=0.1)
    assert np.isfinite(hits.scores).all()
    index.scan_rows = 1
    assert np.isfinite(index.search(np.zeros((2, DIM)), 100).scores).any()
