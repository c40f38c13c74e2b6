"""An index gives a block's vectors back, one for each token and in their order, wherever they lie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.memory.token_index import TokenIndex

DIM = 9  # odd: 4-bit codes put two channels in a byte


def filled(sizes: list[int], seed: int, **options: object) -> tuple[TokenIndex, dict[int, np.ndarray]]:
    rng = np.random.default_rng(seed)
    index = TokenIndex(DIM, ordered=True, **options)  # type: ignore[arg-type]
    blocks = {}
    for number, size in enumerate(sizes):
        blocks[number] = rng.standard_normal((size, DIM)).astype(np.float32) + 3.0
        index.add(number, blocks[number], (number, number + 1))
    return index, blocks


@given(st.lists(st.integers(0, 7), min_size=1, max_size=25), st.integers(0, 999), st.data())
@settings(max_examples=50)
def test_vectors_come_back_in_order_from_every_kind_of_shard(sizes: list[int], seed: int, data: st.DataObject) -> None:
    index, blocks = filled(sizes, seed, shard_rows=data.draw(st.sampled_from((3, 10, 1000))), settle_shards=2)
    if data.draw(st.booleans()):
        index.maintain()
    coarse = data.draw(st.booleans())
    while coarse and index.coarsen():
        pass
    for gone in data.draw(st.sets(st.sampled_from(range(len(sizes))))):
        index.forget(gone)
        blocks.pop(gone)
    for number, vectors in blocks.items():
        found = index.vectors_of(number)
        if not len(vectors):
            assert found is None
            continue
        assert found is not None and found.dtype == np.float32
        assert np.abs(found - vectors).max() < (0.6 if coarse else 0.05)


def test_a_forgotten_or_unknown_block_has_none() -> None:
    index, _ = filled([2, 3], 0)
    index.forget(0)
    assert index.vectors_of(0) is None and index.vectors_of(7) is None
    assert index.vectors_of(1) is not None


def test_order_is_kept_only_where_it_is_asked_for() -> None:
    index = TokenIndex(DIM, shard_rows=4, settle_shards=1)
    vectors = np.random.default_rng(1).standard_normal((4, DIM)).astype(np.float32)
    for number in range(3):
        index.add(number, vectors, (number, number + 1))
    index.maintain()
    assert index.vectors_of(0) is None
    assert index.vectors_of(2) == pytest.approx(vectors, abs=0.01)  # not settled yet


def test_order_costs_a_byte_a_vector_in_settled_shards_alone() -> None:
    sizes = [8] * 40
    plain = TokenIndex(DIM, shard_rows=32, settle_shards=2)
    ordered, blocks = filled(sizes, 3, shard_rows=32, settle_shards=2)
    for number, vectors in blocks.items():
        plain.add(number, vectors, (number, number + 1))
    assert ordered.nbytes == plain.nbytes
    plain.maintain()
    ordered.maintain()
    settled = ordered.nbytes - plain.nbytes
    assert 0 < settled <= 8 * 40
