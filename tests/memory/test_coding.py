"""From blocks to a stored group and on to the indexes: what is searched is what is stored."""

import numpy as np
import pytest
import torch

from onlooker.errors import RecallError
from onlooker.memory.block import KVBlock, KVLayout, RotarySpec
from onlooker.memory.codec_set import codecs_of
from onlooker.memory.coding import code_group, index_group, with_keys
from onlooker.memory.group import Head
from onlooker.memory.traces import Traces, unit
from onlooker.models.backbone import HeadId

LAYOUT = KVLayout(2, 4, 2, 8, torch.float32, RotarySpec((1.0, 0.1, 0.01, 0.001)), "test")
CODECS = codecs_of(LAYOUT)
HEADS = (HeadId(0, 0), HeadId(1, 3))


def block(block_id: int, n: int) -> KVBlock:
    made = torch.Generator().manual_seed(block_id)
    keys, values = torch.randn(2, 2, 2, n, 8, generator=made)
    coords = torch.zeros(n, 3).int()
    return KVBlock(block_id, keys, values, torch.arange(n)[:, None], n, coords, (block_id * 10, block_id * 10 + 10), 0)


def group(traces: Traces, sizes: list[int]) -> Head:
    blocks = [block(number, size) for number, size in enumerate(sizes)]
    features = [torch.randn(size, 6, generator=torch.Generator().manual_seed(size)) for size in sizes]
    return code_group(CODECS["raw"], traces, blocks, features, [b""] * len(sizes))[0]


def test_features_are_scaled_to_length_one_and_keys_are_near_the_originals() -> None:
    traces = Traces(LAYOUT, HEADS, 6)
    head = group(traces, [4, 0, 7])
    assert list(head.keys) == [(0, 0), (1, 1)]
    keys = np.concatenate([block(0, 4).keys[1, 1].numpy(), block(2, 7).keys[1, 1].numpy()])
    assert np.abs(head.key_vectors()[1, 1] - keys).max() < 0.02
    features = head.feature_vectors()
    assert features is not None and features.shape == (11, 6)
    assert np.abs(np.linalg.norm(features, axis=1) - 1.0).max() < 0.2


def test_the_indexes_hold_the_vectors_as_they_are_stored() -> None:
    traces = Traces(LAYOUT, HEADS, 6)
    head = group(traces, [4, 0, 7])
    index_group(traces, head)
    query = np.random.default_rng(0).standard_normal((1, 8)).astype(np.float32)
    found = traces.keys[0, 0].index.search(query, 100)
    assert found.block_ids.tolist() == [0, 2]
    vectors = head.key_vectors()[0, 0]
    wanted = [(vectors[:4] @ query[0]).max(), (vectors[4:] @ query[0]).max()]
    assert found.scores[0] == pytest.approx(wanted, abs=0.02)  # halves
    assert traces.features is not None
    seen = head.feature_vectors()
    assert seen is not None
    asked = unit(seen[5:6])
    assert traces.features.index.search(asked, 1).block_ids.tolist() == [2]


def test_indexing_a_group_twice_is_indexing_it_once() -> None:
    once, twice = Traces(LAYOUT, HEADS, 6), Traces(LAYOUT, HEADS, 6)
    head = group(once, [3, 5])
    index_group(once, head)
    index_group(twice, head)
    index_group(twice, head)
    for (_, one), (_, other) in zip(once.named(), twice.named(), strict=True):
        assert len(one.index) == len(other.index) == 8
        assert one.moments.count == other.moments.count
        assert np.array_equal(one.moments.covariance, other.moments.covariance)


def test_features_that_do_not_fit_are_refused() -> None:
    traces = Traces(LAYOUT, HEADS, 6)
    with pytest.raises(RecallError, match=r"features of shape \[3, 5\]"):
        code_group(CODECS["raw"], traces, [block(0, 3)], [torch.zeros(3, 5)], [b""])


def test_without_an_index_of_features_none_are_kept() -> None:
    head, _ = code_group(CODECS["raw"], Traces(LAYOUT, HEADS), [block(0, 3)], [torch.zeros(3, 5)], [b""])
    assert head.features == b"" and head.feature_vectors() is None and head.table["visual"].tolist() == [0]


def test_keys_of_further_heads_are_added_by_token() -> None:
    traces = Traces(LAYOUT, HEADS)
    blocks = [block(0, 4), block(1, 3)]
    head, body = code_group(CODECS["raw"], traces, blocks, [None, None], [b"", b""])
    more = with_keys(head, CODECS["raw"].decode(body.codes)[0], [(1, 0)])
    wider = Traces(LAYOUT, (*HEADS, HeadId(1, 0)))
    index_group(wider, more)
    assert [len(trace.index) for trace in wider.keys.values()] == [7, 7, 7]
    assert head.keys.keys() == {(0, 0), (1, 1)}  # the one that is stored stays as it is


def test_keys_that_were_read_after_tokens_were_dropped_are_cut_by_what_is_left() -> None:
    traces = Traces(LAYOUT, HEADS)
    head, _ = code_group(CODECS["raw"], traces, [block(0, 4), block(1, 4)], [None, None], [b"", b""])
    head.table["tokens"] = [1, 3]
    left = torch.cat((block(0, 4).keys[:, :, :1], block(1, 4).keys[:, :, :3]), dim=2)
    wider = Traces(LAYOUT, (*HEADS, HeadId(1, 0)))
    index_group(wider, with_keys(head, left, [(1, 0)]))
    found = wider.keys[1, 0].index.search(np.ones((1, 8), np.float32), 100)
    assert found.block_ids.tolist() == [0, 1] and len(wider.keys[1, 0].index) == 4
    assert len(wider.keys[0, 0].index) == 8


def test_vectors_that_do_not_fit_their_blocks_are_damage() -> None:
    traces = Traces(LAYOUT, HEADS)
    head, _ = code_group(CODECS["raw"], traces, [block(0, 4)], [None], [b""])
    head.table["vectors"], head.table["tokens"] = 5, 3
    with pytest.raises(RecallError, match="4 vectors do not fit"):
        index_group(traces, head)
