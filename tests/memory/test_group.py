"""A group's two records: written and read back to the bit, refused when cut or changed, cut down without loss."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.errors import RecallError
from onlooker.memory.block import KVBlock, KVLayout, RotarySpec
from onlooker.memory.codec_set import codecs_of
from onlooker.memory.coding import code_group
from onlooker.memory.group import Body, Head
from onlooker.memory.traces import Traces
from onlooker.models.backbone import HeadId

LAYOUT = KVLayout(2, 4, 2, 8, torch.float32, RotarySpec((1.0, 0.1, 0.01, 0.001)), "test")
CODECS = codecs_of(LAYOUT)


def block(block_id: int, n: int, axes: int = 1) -> KVBlock:
    made = torch.Generator().manual_seed(block_id)
    keys, values = torch.randn(2, 2, 2, n, 8, generator=made)
    positions = torch.randint(0, 99, (n, axes), generator=made)
    coords = torch.randint(-1, 30, (n, 3), generator=made).int()
    place = None if block_id % 3 == 2 else block_id * 100
    return KVBlock(block_id, keys, values, positions, n + 2, coords, (block_id * 7, block_id * 7 + 5), place)


def coded(sizes: list[int], codec: str = "raw", axes: int = 1, first: int = 3, dim: int = 6) -> tuple[Head, Body]:
    blocks = [block(first + n, size, axes) for n, size in enumerate(sizes)]
    features = [torch.randn(size // 2, dim) for size in sizes] if dim else [None] * len(sizes)
    traces = Traces(LAYOUT, (HeadId(0, 0), HeadId(1, 3)), dim)
    return code_group(CODECS[codec], traces, blocks, features, [bytes([n]) * n for n in range(len(sizes))])


SIZES = st.lists(st.integers(0, 6), min_size=1, max_size=5)


def assert_equal(one: Head | Body, other: Head | Body) -> None:
    for field in fields(one):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, torch.Tensor):
            assert mine.dtype == theirs.dtype and torch.equal(mine, theirs)
        elif isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs)
        else:
            assert mine == theirs, field.name


@settings(max_examples=30)
@given(
    SIZES, st.sampled_from(["raw", "raw16", "int8", "int4", "int2"]), st.sampled_from([1, 3]), st.sampled_from([0, 6])
)
def test_records_come_back_as_they_were(sizes: list[int], codec: str, axes: int, dim: int) -> None:
    head, body = coded(sizes, codec, axes, dim=dim)
    assert_equal(Head.from_bytes(head.to_bytes()), head)
    assert_equal(Body.from_bytes(body.to_bytes()), body)
    assert head.group_id == body.group_id == 3 and head.codec == body.codec == codec
    assert head.table["picture_bytes"].tolist() == [len(picture) for picture in body.pictures]


@settings(max_examples=20)
@given(SIZES, st.sampled_from([1, 3]))
def test_blocks_come_back_as_they_were(sizes: list[int], axes: int) -> None:
    head, body = coded(sizes, axes=axes)
    found = body.blocks(list(head.table), CODECS["raw"])
    for number, (one, size) in enumerate(zip(found, sizes, strict=True)):
        wanted = block(3 + number, size, axes)
        for name in ("keys", "values", "positions", "coords"):
            assert torch.equal(getattr(one, name), getattr(wanted, name))
        facts = (one.block_id, one.extent, one.span_us, one.place)
        assert facts == (wanted.block_id, wanted.extent, wanted.span_us, wanted.place)
        [alone] = body.blocks([head.table[number]], CODECS["raw"])
        assert torch.equal(alone.keys, one.keys)
        assert torch.equal(body.block(head.table[number], CODECS["raw"]).values, one.values)


@settings(max_examples=20)
@given(SIZES, st.data())
def test_leaving_blocks_out_is_coding_the_others_alone(sizes: list[int], data: st.DataObject) -> None:
    ids = [3 + n for n in range(len(sizes))]
    gone = set(data.draw(st.lists(st.sampled_from(ids), max_size=len(ids) - 1, unique=True))) if len(ids) > 1 else set()
    head, body = coded(sizes)
    less, less_body = head.without(gone), body.without(CODECS["raw"], head.table, gone)
    kept = [block(one, sizes[one - 3]) for one in ids if one not in gone]
    pictures = [body.pictures[one - 3] for one in ids if one not in gone]
    traces = Traces(LAYOUT, (HeadId(0, 0), HeadId(1, 3)))
    alone, alone_body = code_group(CODECS["raw"], traces, kept, [None] * len(kept), pictures)
    assert less_body.codes == alone_body.codes and less_body.pictures == alone_body.pictures
    assert torch.equal(less_body.positions, alone_body.positions) and torch.equal(less_body.coords, alone_body.coords)
    for name in ("id", "start_us", "end_us", "place", "extent", "row", "tokens", "vectors", "picture_bytes"):
        assert less.table[name].tolist() == alone.table[name].tolist()
    for place, vectors in less.key_vectors().items():  # not coded again: to the bit what they were
        stays = np.repeat([one not in gone for one in ids], sizes)
        assert np.array_equal(vectors, head.key_vectors()[place][stays])
    seen, before = less.feature_vectors(), head.feature_vectors()
    assert seen is not None and before is not None
    assert np.array_equal(seen, before[np.repeat([one not in gone for one in ids], [size // 2 for size in sizes])])
    assert less.group_id == less_body.group_id == 3  # its name stays, whichever blocks go


@given(st.lists(st.integers(0, 11), max_size=12, unique=True).map(sorted))
def test_kept_tokens_are_copied(rows: list[int]) -> None:
    head, body = coded([4, 8], "int4")
    few = body.kept(CODECS["int4"], np.array(rows, dtype=np.int64))
    keys, values = CODECS["int4"].decode(body.codes)
    less_keys, less_values = CODECS["int4"].decode(few.codes)
    assert torch.equal(less_keys, keys[:, :, rows]) and torch.equal(less_values, values[:, :, rows])
    assert torch.equal(few.coords, body.coords[rows]) and torch.equal(few.positions, body.positions[rows])
    assert head.table["row"].tolist() == [0, 4]


@pytest.mark.parametrize("kind", [Head, Body])
def test_every_truncation_is_refused(kind: type[Head] | type[Body]) -> None:
    head, body = coded([3, 0, 2])
    data = head.to_bytes() if kind is Head else body.to_bytes()
    for cut in range(len(data)):
        with pytest.raises(RecallError):
            kind.from_bytes(data[:cut])
    with pytest.raises(RecallError, match="bytes in place of"):
        kind.from_bytes(data + b"\0")


@pytest.mark.parametrize("kind", [Head, Body])
def test_another_magic_or_version_is_refused(kind: type[Head] | type[Body]) -> None:
    head, body = coded([3])
    data = head.to_bytes() if kind is Head else body.to_bytes()
    other = body.to_bytes() if kind is Head else head.to_bytes()
    with pytest.raises(RecallError, match="this is no group's"):
        kind.from_bytes(other)
    with pytest.raises(RecallError, match="this is no group's"):
        kind.from_bytes(b"JUNK" + data[4:])
    with pytest.raises(RecallError, match="is of format 9, and this Onlooker reads 1"):
        kind.from_bytes(data[:4] + b"\x09\x00" + data[6:])


@settings(max_examples=200)
@given(st.data())
def test_a_changed_byte_is_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    """Checksums are the store's; here nothing but RecallError may come of nonsense."""
    head, body = coded([3, 2])
    for kind, whole in ((Head, head.to_bytes()), (Body, body.to_bytes())):
        place = data.draw(st.integers(0, len(whole) - 1))
        changed = whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]
        try:
            kind.from_bytes(changed)
        except RecallError:
            pass
