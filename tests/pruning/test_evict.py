import re
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from onlooker.errors import SettingsError
from onlooker.pruning.evict import Age, Buffer, Evict, Keeper, Residual, Span

STAGES: dict[str, Evict] = {
    "age": Age(),
    "residual": Residual(most=4, grow=2),
    "span": Span(),
    "narrow": Span(channels=3),
}
every_stage = pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES.keys())


def stream(seed: int, sizes: Sequence[int], dim: int = 6) -> list[Tensor]:
    made = torch.Generator().manual_seed(seed)
    return [torch.randn(size, dim, generator=made) for size in sizes]


def same(one: Buffer, other: Buffer) -> bool:
    left, right = one.to_dict(), other.to_dict()
    return left.keys() == right.keys() and all(
        torch.equal(value, right[name]) if isinstance(value, Tensor) else value == right[name]  # type: ignore[arg-type]
        for name, value in left.items()
    )


def shapes(buffer: Buffer) -> dict[str, object]:
    return {n: (v.shape, v.dtype) for n, v in buffer.to_dict().items() if isinstance(v, Tensor)}


@given(st.sampled_from(sorted(STAGES)), st.lists(st.integers(0, 7), max_size=8), st.integers(1, 9), st.integers(0, 99))
def test_a_memory_holds_as_much_as_it_may_and_never_more(name: str, sizes: list[int], cap: int, seed: int) -> None:
    keeper, buffer, held = Keeper(STAGES[name], cap), Buffer(), set[int]()
    for features in stream(seed, sizes):
        first = buffer.seen
        buffer, gone = keeper.push([features], buffer)
        ids = buffer.survivors.tolist()
        assert len(ids) == buffer.used == min(cap, buffer.seen)
        assert ids == sorted(set(ids)) and gone.tolist() == sorted(set(gone.tolist()))
        assert held | set(range(first, buffer.seen)) == set(ids) | set(gone.tolist())
        assert not set(ids) & set(gone.tolist())
        frames = [n for n, size in enumerate(sizes) for _ in range(size)]
        assert buffer.frame[: buffer.used].tolist() == [frames[one] for one in ids]
        assert (buffer.ids[buffer.used :] == -1).all() and (buffer.frame[buffer.used :] == -1).all()
        held = set(ids)


@given(st.sampled_from(sorted(STAGES)), st.lists(st.integers(0, 5), max_size=8), st.integers(0, 8), st.integers(0, 99))
def test_frames_one_by_one_or_all_at_once_leave_the_same(name: str, sizes: list[int], cut: int, seed: int) -> None:
    keeper, frames = Keeper(STAGES[name], 6), stream(seed, sizes)
    whole, gone = keeper.push(frames)
    part, before = keeper.push(frames[:cut])
    part, after = keeper.push(frames[cut:], part)
    assert same(whole, part)
    assert gone.tolist() == sorted(before.tolist() + after.tolist())


@every_stage
def test_the_past_alone_decides(stage: Evict) -> None:
    keeper, past = Keeper(stage, 9), stream(1, [4] * 6)
    before, _ = keeper.push(past)
    states = []
    for seed in (2, 3):
        buffer = Buffer()
        for number, features in enumerate([*past, *stream(seed, [4] * 3)]):
            buffer, _ = keeper.push([features], buffer)
            if number == len(past) - 1:
                states.append(buffer)
    assert same(states[0], before) and same(states[1], before)


@pytest.mark.parametrize(
    ("stage", "frames"),
    [(Age(), 10_000), (Residual(most=2, grow=1), 2_000), (Span(), 2_000), (Span(channels=3), 1_000)],
)
def test_the_size_stays_the_same_over_thousands_of_frames(stage: Evict, frames: int) -> None:
    keeper = Keeper(stage, 5)
    buffer, _ = keeper.push([torch.zeros(0, 4)])
    first, size = shapes(buffer), buffer.nbytes
    made = torch.randn(97, 1, 4, generator=torch.Generator().manual_seed(0))
    for number in range(frames):
        buffer, _ = keeper.push([made[number % 97]], buffer)
        assert buffer.nbytes == size
    assert shapes(buffer) == first
    assert all(bool(tensor.isfinite().all()) for tensor in buffer.memory.values())
    assert buffer.seen == frames and buffer.used == 5
    if "basis" in buffer.memory:  # no rounding adds up
        assert torch.allclose(buffer.memory["basis"].T @ buffer.memory["basis"], torch.eye(2), atol=1e-5)


@every_stage
def test_a_state_that_was_written_down_goes_on_alike(stage: Evict) -> None:
    keeper, frames = Keeper(stage, 7), stream(5, [3] * 8)
    whole, _ = keeper.push(frames)
    part, _ = keeper.push(frames[:5])
    again = Buffer.from_dict(part.to(torch.device("cpu")).to_dict())
    assert same(again, part)
    assert same(keeper.push(frames[5:], again)[0], whole)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"used": -1}, "a buffer has no 'used' of -1"),
        ({"ids": 3}, "a buffer has no 'ids' of 3"),
        ({"more": 3}, "a buffer has no 'more'"),
        ({"used": 9}, "of which 9 are said to be in use"),
        ({"frame": torch.zeros(2)}, "slots have [2, 4] rows"),
    ],
)
def test_a_damaged_state_is_refused(change: dict[str, int | Tensor], words: str) -> None:
    buffer, _ = Keeper(Age(), 4).push(stream(0, [3]))
    with pytest.raises(SettingsError, match=re.escape(words)):
        Buffer.from_dict({**buffer.to_dict(), **change})
    left = buffer.to_dict()
    del left["seen"]
    with pytest.raises(SettingsError, match="needs seen too"):
        Buffer.from_dict(left)


def test_a_state_of_another_keeper_is_refused() -> None:
    buffer, _ = Keeper(Span(), 4).push(stream(0, [3]))
    for keeper, frames in ((Keeper(Span(), 5), stream(0, [3])), (Keeper(Span(), 4), stream(0, [3], 7))):
        with pytest.raises(SettingsError, match="does not fit a cap of"):
            keeper.push(frames, buffer)
    for wrong in (lambda: Keeper(Age(), 0), lambda: Residual(recency=2.0), lambda: Residual(most=0)):
        with pytest.raises(SettingsError):
            wrong()
    with pytest.raises(SettingsError, match="ridge above 0"):
        Span(ridge=0.0)


@every_stage
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3e38])
def test_bad_numbers_do_not_stay(stage: Evict, bad: float) -> None:
    keeper, frames = Keeper(stage, 6), stream(7, [4] * 6)
    frames[0][1, 2] = frames[3][0, 0] = bad
    buffer, _ = keeper.push(frames)
    assert buffer.used == 6
    assert all(bool(v.isfinite().all()) for v in buffer.to_dict().values() if isinstance(v, Tensor))


@every_stage
def test_equal_tokens_are_no_trouble(stage: Evict) -> None:
    for features in (torch.zeros(3, 4), torch.ones(3, 4)):
        buffer, _ = Keeper(stage, 5).push([features] * 4)
        assert buffer.survivors.tolist() == [7, 8, 9, 10, 11]  # of equals the newest stay


@given(st.lists(st.integers(0, 5), max_size=8), st.integers(1, 9))
def test_age_keeps_the_newest(sizes: list[int], cap: int) -> None:
    buffer, _ = Keeper(Age(), cap).push(stream(0, sizes))
    assert buffer.survivors.tolist() == list(range(sum(sizes)))[-cap:]
    assert buffer.digests.shape[1] == 0  # nothing of the tokens themselves is needed


def plain_residual(frames: list[Tensor], cap: int, most: int, grow: int, recency: float) -> list[int]:
    """CausalMem from its description, a vector at a time, in float64."""
    basis: list[Tensor] = []
    usage: list[float] = []
    held: list[tuple[int, int, Tensor]] = []
    number = 0

    def left(x: Tensor) -> Tensor:
        for _ in range(2):
            for u in basis:
                x = x - (x @ u) * u
        return x

    def used(rows: Tensor, u: Tensor) -> float:
        return sum(abs(float(row @ u)) for row in rows) / len(rows)

    for now, features in enumerate(frames):
        rows = features.double()
        if now == 0:
            values, vectors = torch.linalg.eigh(rows.T @ rows)
            basis = [vectors[:, n] for n in values.argsort(descending=True)[: min(most, len(rows))].tolist()]
            usage = [used(rows, u) for u in basis]
        else:
            usage = [0.9 * s + 0.1 * used(rows, u) for s, u in zip(usage, basis, strict=True)]
            for row in sorted(rows, key=lambda row: -float(left(row).norm()))[:grow]:  # sorted before the loop
                rest = left(row)
                basis.append(rest / rest.norm())
                usage.append(used(rows, basis[-1]))
            stay = sorted(sorted(range(len(basis)), key=lambda n: -usage[n])[:most])
            basis, usage = [basis[n] for n in stay], [usage[n] for n in stay]
        for row in rows:
            held.append((number, now, row))
            number += 1
        if len(held) > cap:
            energy = [float(left(row).norm()) for _, _, row in held]
            low, high = min(energy), max(energy)
            score = [
                (1 - recency) * (e - low) / (high - low) + recency * (frame + 1) / (now + 1)
                for e, (_, frame, _) in zip(energy, held, strict=True)
            ]
            best = sorted(range(len(held)), key=lambda n: -score[n])[:cap]
            held = [held[n] for n in sorted(best)]
    return [one for one, _, _ in held]


@pytest.mark.parametrize("recency", [0.0, 0.2, 0.8])
@pytest.mark.parametrize("seed", range(8))
def test_residual_is_causalmem_written_plainly(seed: int, recency: float) -> None:
    frames = stream(seed, [3] * 10, 16)
    buffer, _ = Keeper(Residual(5, 2, recency), 11).push(frames)
    assert buffer.survivors.tolist() == plain_residual(frames, 11, 5, 2, recency)


def test_span_keeps_one_copy_of_the_room_where_a_free_basis_keeps_none() -> None:
    """Two walls are twice in every frame, things pass by once each; there is room for all but two of either."""
    made = torch.Generator().manual_seed(4)
    walls, things = torch.eye(64)[[0, 1, 0, 1]], torch.eye(64)[2:42]
    frames = [torch.cat((walls, things[n : n + 1])) + 0.01 * torch.randn(5, 64, generator=made) for n in range(40)]
    held = {}
    for name, stage in (("span", Span()), ("residual", Residual(most=2, grow=1, recency=0.0))):
        buffer, _ = Keeper(stage, 40).push(frames)
        kind = buffer.survivors % 5
        held[name] = [
            int((kind % 2 == 0).sum() - (kind == 4).sum()),
            int((kind % 2 == 1).sum()),
            int((kind == 4).sum()),
        ]
    assert min(held["span"][:2]) >= 1 and held["span"][2] >= 36
    assert held["residual"] == [0, 0, 40]


def test_span_needs_no_more_room_for_wide_tokens() -> None:
    frames = stream(2, [4] * 6, 40)
    buffer, _ = Keeper(Span(channels=8), 10).push(frames)
    assert buffer.digests.shape == (10, 8)
    assert torch.allclose(buffer.digests.norm(dim=1), torch.ones(10), atol=1e-5)
    assert set(buffer.memory["projection"].unique().tolist()) == {-1.0, 1.0}
    other, _ = Keeper(Span(channels=8, seed=1), 10).push(frames)
    assert not torch.equal(other.memory["projection"], buffer.memory["projection"])
