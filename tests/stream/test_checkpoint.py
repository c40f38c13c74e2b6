"""A checkpoint gives back what was put into it, to the bit, and refuses everything else."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.errors import RecallError
from onlooker.frame import Frame
from onlooker.memory.block import KVBlock
from onlooker.models.tokens import VisualTokens
from onlooker.pruning import State
from onlooker.stream.checkpoint import Checkpoint
from onlooker.stream.gate_state import GateState

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def again(point: Checkpoint) -> Checkpoint:
    return Checkpoint.from_bytes(point.to_bytes())


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal to the bit, a NaN too."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.contiguous().view(torch.uint8).tolist() == other.contiguous().view(torch.uint8).tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "place"), [(0, None), (1, 0), (5, 1 << 40)])
def test_blocks(dtype: torch.dtype, n: int, place: int | None) -> None:
    keys = torch.randn(2, 3, n, 4).to(dtype)
    keys[..., :1] = float("nan")
    wide = torch.randn(2, 3, 2 * n, 4).to(dtype)
    coords = torch.full((n, 3), -1, dtype=torch.int32)
    block = KVBlock(-1, keys, wide[:, :, ::2], torch.arange(n)[:, None], 7, coords, (-5, 1 << 60), place)
    point = Checkpoint()
    point.put_block("a/0", block)
    found = again(point).block("a/0", CPU)
    for name in ("keys", "values", "positions", "coords"):
        assert same(getattr(found, name), getattr(block, name))
    assert (found.block_id, found.extent, found.span_us, found.place) == (-1, 7, (-5, 1 << 60), place)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("extras", [[], ["deepstack"], ["saliency", "deep/0", "deep/1"]])
def test_visual_tokens(dtype: torch.dtype, extras: list[str]) -> None:
    planes = {name: torch.randn(4, 3, 2).to(dtype) for name in extras}
    tokens = VisualTokens(torch.randn(4, 6).to(dtype), torch.arange(12).reshape(4, 3).int(), (2, 2), (123,), planes)
    point = Checkpoint()
    point.put_tokens("encoded/0", tokens)
    point.put_tokens("encoded/1", tokens)
    found = again(point).tokens("encoded/0", CPU)
    assert same(found.features, tokens.features) and same(found.coords, tokens.coords)
    assert (found.grid, found.times_us) == ((2, 2), (123,))
    assert found.extras.keys() == planes.keys() and all(same(found.extras[name], planes[name]) for name in planes)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(-(1 << 62), 1 << 62), st.text(max_size=9), st.data())
def test_frames_come_back_without_loss(height: int, width: int, time_us: int, source: str, data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 99))
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    source = source.encode("utf-8", "replace").decode()
    point = Checkpoint()
    point.put_frame("pending/0", Frame(image, time_us, 3, source))
    found = again(point).frame("pending/0")
    assert np.array_equal(found.image, image) and found.image.dtype == np.uint8 and found.image.flags.c_contiguous
    assert (found.time_us, found.seq, found.source) == (time_us, 3, source)


@pytest.mark.parametrize("data", [b"", b"\0", b"jpeg" * 99])
def test_bytes(data: bytes) -> None:
    point = Checkpoint()
    point.put_bytes("it", data)
    assert again(point).bytes("it") == data


@pytest.mark.parametrize("shared", [False, True])
def test_gates(shared: bool) -> None:
    kept = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    last = kept if shared else kept + 1  # both thumbnails of a first frame are one
    view = np.random.default_rng(1).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    affine, trail = np.array([[1.0, 0.1, 1 / 3], [-0.1, 1.0, -7.0]]), np.arange(16, dtype=np.float32) / 3
    times = {"kept_us": 99, "last_us": 1 << 60, "moved_us": None, "fade_us": -5, "flat_us": 0}
    state = GateState(kept, last, view, shape=(480, 640), noise=0.1 + 0.2, seen=17, affine=affine, trail=trail, **times)
    point = Checkpoint()
    point.put_gate(state)
    found = again(point).gate()
    assert found is not None
    for field in dataclasses.fields(GateState):  # all of them, those too that come later
        one, other = getattr(found, field.name), getattr(state, field.name)
        if isinstance(other, np.ndarray):
            assert np.array_equal(one, other) and one.dtype == other.dtype
        else:
            assert one == other and type(one) is type(other)
    point = Checkpoint()
    point.put_gate(None)
    assert again(point).gate() is None


def test_pruning() -> None:
    memory = {"score/reference": torch.randn(3, 4).bfloat16(), "budget/age": torch.arange(3).int()}
    point = Checkpoint()
    point.put_pruning(State(12, True, memory))
    found = again(point).pruning(CPU)
    assert (found.frames, found.refresh, found.memory.keys()) == (12, True, memory.keys())
    assert all(same(found.memory[name], tensor) for name, tensor in memory.items())
    empty = Checkpoint()
    empty.put_pruning(State())
    assert again(empty).pruning(CPU).memory == {}


def whole() -> Checkpoint:
    point = Checkpoint({"counts": [1, 2.5, None, "é", True]}, {"t": torch.randn(3, dtype=torch.float64)})
    point.put_frame("frame", Frame(np.zeros((3, 3, 3), np.uint8), 1))
    return point


def test_all_at_once_and_nothing_at_all() -> None:
    point = whole()
    found = again(point)
    assert {name: found.facts[name] for name in point.facts} == point.facts
    assert same(found.tensors["t"], point.tensors["t"])
    assert again(Checkpoint()).facts.keys() == {"version"}


def test_every_truncation_is_refused() -> None:
    data = whole().to_bytes()
    for cut in range(len(data)):
        with pytest.raises(RecallError, match=r"a checkpoint of \d+ bytes cannot be read"):
            Checkpoint.from_bytes(data[:cut])


@pytest.mark.parametrize(
    "data",
    [b"", b"no checkpoint at all", bytes(64), b"\xff" * 64, b"\x02" + bytes(7) + b"[]", b"\x02" + bytes(7) + b"{}"],
)
def test_other_data_is_refused(data: bytes) -> None:
    with pytest.raises(RecallError, match="cannot be read"):
        Checkpoint.from_bytes(data)


@pytest.mark.parametrize("facts", [{"version": 0}, {"version": 3}, {"version": None}])
def test_another_version_is_refused_by_number(facts: dict[str, Any]) -> None:
    data = Checkpoint(facts).to_bytes()
    with pytest.raises(RecallError, match="and this Onlooker reads up to 2"):
        Checkpoint.from_bytes(data)
