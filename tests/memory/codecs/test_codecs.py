"""Every codec keeps the contract: rows by themselves, the same bytes again, damage refused."""

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onlooker.errors import RecallError, SettingsError
from onlooker.memory.block import KVLayout, RotarySpec
from onlooker.memory.codecs.choice import CODECS, codec_of
from onlooker.memory.codecs.codec import Codec
from onlooker.memory.codecs.payload import HEADER_BYTES

LAYOUT = KVLayout(3, 4, 2, 16, torch.float32, RotarySpec(tuple(10.0 ** (-n / 8) for n in range(8))), "test")
HALF = dataclasses.replace(LAYOUT, dtype=torch.bfloat16)
COLUMNS = 2 * 3 * 2 * 16


def group(count: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(seed)
    both = torch.randn(2, 3, 2, count, 16, generator=made) * torch.rand(2, 3, 2, 1, 16, generator=made) * 4
    keys, values = both.to(dtype)
    return keys, values


def error(found: Tensor, true: Tensor) -> float:
    """Give the squared error as a share of the spread around each column's mean."""
    spread = (true.float() - true.float().mean(dim=2, keepdim=True)).square().sum()
    return float((found.float() - true.float()).square().sum() / spread)


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest, make_tables: Any) -> Codec:
    return codec_of(request.param, LAYOUT, make_tables(LAYOUT))


@settings(max_examples=25)
@given(st.sampled_from(CODECS), st.integers(0, 70), st.data())
def test_rows_are_read_and_kept_alone(make_tables: Any, name: str, count: int, data: st.DataObject) -> None:
    coder = codec_of(name, LAYOUT, make_tables(LAYOUT))
    written = coder.encode(*group(count, count))
    assert coder.tokens(written) == count
    keys, values = coder.decode(memoryview(written))
    assert keys.shape == values.shape == (3, 2, count, 16)
    rows = data.draw(st.lists(st.integers(0, count - 1), max_size=9)) if count else []
    some_keys, some_values = coder.decode(written, rows)
    assert torch.equal(some_keys, keys[:, :, rows]) and torch.equal(some_values, values[:, :, rows])
    kept = coder.select(written, rows)
    assert coder.tokens(kept) == len(rows)
    assert torch.equal(coder.decode(kept)[0], keys[:, :, rows])
    assert torch.equal(coder.decode(kept)[1], values[:, :, rows])
    part = slice(count // 3, count // 2)
    assert torch.equal(coder.decode(written, part)[0], keys[:, :, part])


def test_the_same_input_gives_the_same_bytes(codec: Codec) -> None:
    keys, values = group(40)
    first = codec.encode(keys, values)
    codec.encode(*group(13, seed=5))
    assert codec.encode(keys.clone(), values.clone()) == first
    laid_out_otherwise = keys.transpose(2, 3).contiguous().transpose(2, 3)
    assert codec.encode(laid_out_otherwise, values) == first


def test_selecting_in_two_steps_equals_one(codec: Codec) -> None:
    written = codec.encode(*group(30))
    assert codec.select(codec.select(written, range(5, 25)), [0, 3, 19]) == codec.select(written, [5, 8, 24])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_raw_is_exact_to_the_bit(dtype: torch.dtype) -> None:
    keys, values = group(9, dtype=dtype)
    keys[0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), -0.0], dtype=dtype)
    for name in ("raw", "raw16") if dtype != torch.float32 else ("raw",):
        coder = codec_of(name, dataclasses.replace(LAYOUT, dtype=dtype))
        bits = torch.int32 if dtype == torch.float32 else torch.int16
        for found, true in zip(coder.decode(coder.encode(keys, values)), (keys, values), strict=True):
            assert found.dtype == dtype and torch.equal(found.view(bits), true.view(bits))


def test_raw16_of_a_float32_model_rounds_to_float16() -> None:
    keys, values = group(9)
    keys[0, 0, 0, 0] = 1e6
    found, _ = codec_of("raw16", LAYOUT).decode(codec_of("raw16", LAYOUT).encode(keys, values))
    assert found[0, 0, 0, 0] == 65504.0
    assert torch.equal(found, keys.clamp(-65504, 65504).half().float())


@pytest.mark.parametrize(("name", "bits", "most"), [("int8", 8, 1e-4), ("int4", 4, 0.013), ("int2", 2, 0.13)])
def test_uniform_codecs_reach_their_bits_and_errors(name: str, bits: int, most: float) -> None:
    keys, values = group(800)
    coder = codec_of(name, LAYOUT)
    written = coder.encode(keys, values)
    assert len(written) == HEADER_BYTES + COLUMNS * (3 + 800 * bits // 8)
    found = coder.decode(written)
    assert error(found[0], keys) < most and error(found[1], values) < most


@pytest.mark.parametrize("name", [name for name in CODECS if name != "raw16"])
def test_a_large_constant_costs_nothing(make_tables: Any, name: str) -> None:
    bias = torch.randn(3, 2, 1, 16, generator=torch.Generator().manual_seed(3)) * 300  # as Qwen2's key bias
    coder, biased = (codec_of(name, LAYOUT, make_tables(LAYOUT, b)) for b in (torch.zeros_like(bias), bias))
    keys, values = group(60)
    plain = error(coder.decode(coder.encode(keys, values))[0], keys)
    written = biased.encode(keys + bias, values)
    assert len(written) == len(coder.encode(keys, values))
    # Where a grid is as fine as int8's, float16 offsets show: they are as fine as the numbers of a 16-bit model.
    assert error(biased.decode(written)[0], keys + bias) <= max(plain * 1.05, 1e-4)


def test_a_column_of_one_value_comes_back_as_float16_has_it() -> None:
    keys, values = torch.full((3, 2, 30, 16), 271.3), torch.zeros(3, 2, 30, 16)
    found = codec_of("int2", LAYOUT).decode(codec_of("int2", LAYOUT).encode(keys, values))
    assert torch.equal(found[0], keys.half().float()) and torch.equal(found[1], values)


@pytest.mark.parametrize("name", ["int8", "int4", "int2"])
def test_what_is_no_number_spoils_its_own_column_only(name: str) -> None:
    coder = codec_of(name, LAYOUT)
    keys, values = group(50)
    clean = coder.decode(coder.encode(keys, values))
    keys[1, 1, 7, 3], keys[0, 0, 9, 2], values[2, 0, 4, 4] = float("nan"), float("inf"), -float("inf")
    found = coder.decode(coder.encode(keys, values))
    assert found[0].isfinite().all() and found[1].isfinite().all()
    same = torch.stack(found) == torch.stack(clean)  # [2, layers, kv_heads, n, head_dim]
    spoilt = (~same.all(dim=3)).nonzero().tolist()
    assert {tuple(place) for place in spoilt} <= {(0, 1, 1, 3), (0, 0, 0, 2), (1, 2, 0, 4)}


def test_what_is_no_number_spoils_its_own_token_and_block_only(make_tables: Any, make_samples: Any) -> None:
    coder = codec_of("auto", LAYOUT, make_tables(LAYOUT))
    keys, values = make_samples(LAYOUT, 50, seed=3)
    clean = coder.decode(coder.encode(keys, values))
    keys[1, 1, 7, 3], keys[0, 0, 9, 2], values[2, 0, 4, 4] = float("nan"), float("inf"), -float("inf")
    found = coder.decode(coder.encode(keys, values))
    assert found[0].isfinite().all() and found[1].isfinite().all()
    same = torch.stack(found) == torch.stack(clean)  # [2, layers, kv_heads, n, head_dim]
    spoilt = (~same.all(dim=4).all(dim=2)).nonzero().tolist()  # both heads of a layer share a block here
    assert {tuple(place) for place in spoilt} == {(0, 1, 7), (0, 0, 9), (1, 2, 4)}


@pytest.mark.parametrize("name", ["int8", "int4", "int2"])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_no_group_takes_more_room_than_16_bits_a_number(name: str, count: int) -> None:
    coder = codec_of(name, HALF)
    assert len(coder.encode(*group(count, dtype=torch.bfloat16))) <= HEADER_BYTES + 2 * count * COLUMNS


def test_damage_is_refused(codec: Codec) -> None:
    written = codec.encode(*group(20))
    for broken in (b"", written[:10], written[:-1], written + b"x", b"x" + written[1:]):
        with pytest.raises(RecallError):
            codec.decode(broken)
        with pytest.raises(RecallError):
            codec.select(broken, [0])
    with pytest.raises(RecallError, match="version"):
        codec.decode(written[:3] + bytes([99]) + written[4:])
    for rows in ([20], [-1], [0, 500]):
        with pytest.raises(RecallError, match="from 0 to 19"):
            codec.decode(written, rows)


def test_another_codec_or_model_is_refused(codec: Codec, make_tables: Any) -> None:
    written = codec.encode(*group(20))
    for name in CODECS:
        if name != codec.name:
            with pytest.raises(RecallError, match=codec.name):
                codec_of(name, LAYOUT, make_tables(LAYOUT)).tokens(written)
    wider = dataclasses.replace(LAYOUT, kv_heads=4)
    with pytest.raises(RecallError, match="4 heads"):
        codec_of(codec.name, wider, make_tables(wider)).decode(written)


def test_keys_of_another_shape_are_refused(codec: Codec) -> None:
    keys, values = group(4)
    with pytest.raises(RecallError, match="do not fit"):
        codec.encode(keys[:2], values[:2])
    with pytest.raises(RecallError, match="must have"):
        codec.encode(keys, values[:, :, :3])


def test_unknown_names_are_refused_with_the_choices(make_tables: Any) -> None:
    with pytest.raises(SettingsError, match="int2"):
        codec_of("zip", LAYOUT, make_tables(LAYOUT))
    with pytest.raises(SettingsError, match="memory calibrate"):
        codec_of("auto", LAYOUT)


@pytest.mark.gpu
@pytest.mark.parametrize("name", CODECS)
def test_a_gpu_reads_what_a_cpu_wrote(make_tables: Any, name: str) -> None:
    coder = codec_of(name, LAYOUT, make_tables(LAYOUT))
    keys, values = group(50)
    written = coder.encode(keys, values)
    here, there = coder.decode(written), coder.decode(written, device=torch.device("cuda"))
    for cpu, gpu in zip(here, there, strict=True):
        torch.testing.assert_close(gpu.cpu(), cpu, rtol=1e-5, atol=1e-5)
    from_gpu = coder.decode(coder.encode(keys.cuda(), values.cuda()))
    assert abs(error(from_gpu[0], keys) - error(here[0], keys)) < 1e-3
