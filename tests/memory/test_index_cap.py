"""An index with a cap gets coarser first and then forgets the oldest, and says what it forgot."""

import numpy as np
import pytest
import torch

from onlooker.errors import SettingsError
from onlooker.memory.block import KVLayout, RotarySpec
from onlooker.memory.listed_shard import ListedShard
from onlooker.memory.token_index import TokenIndex
from onlooker.memory.traces import Traces
from onlooker.models.backbone import HeadId

DIM, ROWS = 16, 8
CAP = 100_000


def filled(blocks: int, cap_bytes: int | None = CAP) -> tuple[TokenIndex, list[int]]:
    rng = np.random.default_rng(0)
    index, dropped = TokenIndex(DIM, shard_rows=512, cap_bytes=cap_bytes), []
    for block_id in range(blocks):
        dropped += index.add(block_id, rng.standard_normal((ROWS, DIM)), (block_id, block_id + 1))
        assert cap_bytes is None or index.nbytes <= cap_bytes
        found = [index.search(np.ones((1, DIM)), 1 << 20).block_ids.tolist()] if block_id % 256 == 255 else []
        assert found in ([], [list(range(index.first_id, block_id + 1))])
    return index, dropped


def test_the_cap_holds_and_the_oldest_blocks_go_last() -> None:
    index, dropped = filled(3000)
    assert dropped == list(range(index.first_id)) and index.first_id > 0
    assert len(index) == (3000 - index.first_id) * ROWS
    free, nothing = filled(3000, None)
    assert nothing == [] and free.first_id == 0 and free.nbytes > 5 * CAP


def test_nothing_is_dropped_before_all_is_at_four_bits() -> None:
    rng = np.random.default_rng(0)
    index, steps = TokenIndex(DIM, shard_rows=512, cap_bytes=CAP), []
    for block_id in range(1500):
        gone = index.add(block_id, rng.standard_normal((ROWS, DIM)), (block_id, block_id + 1))
        bits = [shard.bits if isinstance(shard, ListedShard) else 16 for shard in index._shards]
        assert bits == sorted(bits)  # the oldest is coarsest
        assert not gone or set(bits[:-1]) <= {4}
        steps.append(tuple(bits))
    assert {step[0] for step in steps} == {16, 8, 4}


def test_the_cap_does_the_same_every_time() -> None:
    (one, gone), (other, again) = filled(2500), filled(2500)
    queries = np.random.default_rng(1).standard_normal((3, DIM))
    assert gone == again and one.nbytes == other.nbytes
    assert np.array_equal(one.search(queries, 50).scores, other.search(queries, 50).scores)


def test_the_cap_in_bulk_is_the_cap_one_by_one() -> None:
    one, gone = filled(2500)
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.standard_normal((ROWS, DIM)) for _ in range(2500)])
    many = TokenIndex(DIM, shard_rows=512, cap_bytes=CAP)
    ids = list(range(2500))
    assert list(many.add_many(ids, vectors, [ROWS] * 2500, [(n, n + 1) for n in ids])) == gone
    assert many.nbytes == one.nbytes and many.first_id == one.first_id
    queries = np.random.default_rng(1).standard_normal((3, DIM))
    assert np.array_equal(one.search(queries, 50).scores, many.search(queries, 50).scores)


def test_a_cap_that_holds_nothing() -> None:
    index = TokenIndex(DIM, cap_bytes=DIM * 4)
    assert index.add(7, np.ones((3, DIM)), (0, 1)) == (7,)
    assert index.first_id == 8 and len(index) == 0 and index.nbytes <= DIM * 4
    with pytest.raises(SettingsError, match="64 bytes at least"):
        TokenIndex(DIM, cap_bytes=DIM * 4 - 1)


def test_traces_share_a_cap_and_settle_together() -> None:
    layout = KVLayout(2, 4, 2, 32, torch.float32, RotarySpec(tuple(0.5**i for i in range(16))), "test")
    heads = (HeadId(0, 0), HeadId(1, 3))
    rng = np.random.default_rng(0)

    def traced(index_bytes: int | None) -> Traces:
        traces = Traces(layout, heads, 64, shard_rows=256, index_bytes=index_bytes)
        for block_id in range(400):
            keys = {place: rng.standard_normal((ROWS, 32)).astype(np.float32) for place in traces.keys}
            features = rng.standard_normal((ROWS, 64)).astype(np.float32)
            traces.take(block_id, (block_id, block_id + 1), keys, features)
        return traces

    free = traced(None)
    held = free.nbytes
    assert free.maintain(0.0)  # more is due: one group at a time
    assert not free.maintain()
    assert free.nbytes < held and free.first_id == 0
    capped = traced(200_000)
    assert capped.nbytes - capped.fixed_bytes <= 200_000
    assert 0 < capped.first_id < 400
