import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.pruning.credit import SCALE, Account
from onlooker.pruning.stages import Cells, Memory


def spend(account: Account, demands: list[int], cells: int, shut: frozenset[int] = frozenset()) -> list[int]:
    memory: Memory = {}
    counts = []
    for number, demand in enumerate(demands):
        frame = Cells(torch.zeros(cells, 1), (1, cells), number, open=torch.tensor(number not in shut))
        count, memory = account.pay(torch.tensor(demand), frame, memory)
        counts.append(int(count))
    return counts


@given(
    st.integers(1, 12),
    st.floats(0.05, 1),
    st.integers(1, 4),
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
)
@settings(deadline=None)
def test_account_keeps_its_laws(cells: int, rate: float, depth: int, wishes: list[float]) -> None:
    refill = round(rate * cells * SCALE)
    floor = refill // SCALE // 2
    demands = [round(wish * cells) for wish in wishes]
    counts = spend(Account(refill, floor, depth), demands, cells)
    for end in range(1, len(counts) + 1):
        assert sum(counts[:end]) * SCALE <= cells * SCALE + end * refill
        for start in range(end):
            assert sum(counts[start:end]) * SCALE <= depth * cells * SCALE + (end - start) * refill
    assert all(floor <= count <= max(demand, floor) for count, demand in zip(counts, demands, strict=True))


def test_a_frame_that_is_not_let_in_costs_nothing() -> None:
    account = Account(2 * SCALE, depth=1)
    assert spend(account, [8, 8, 8, 8], 8) == [8, 2, 2, 2]
    assert spend(account, [8, 8, 8, 8], 8, frozenset({0, 2})) == [0, 8, 0, 4]


@pytest.mark.parametrize(("refresh_frames", "average"), [(0, 1.0), (4, 2.75)])
def test_what_stillness_costs(refresh_frames: int, average: float) -> None:
    account = Account(4 * SCALE, 1, 8, refresh_frames)
    counts = spend(account, [0] * 401, 8)
    assert sum(counts[1:]) / 400 == account.still(8) == average


@given(
    st.integers(2, 12),
    st.floats(0.05, 1),
    st.integers(1, 4),
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
)
@settings(deadline=None)
def test_what_spills_is_never_more_than_overflows(cells: int, rate: float, depth: int, wishes: list[float]) -> None:
    """With spilling the laws hold all the same, to a token, and no credit is lost while there is room to spend it."""
    refill = round(rate * cells * SCALE)
    demands = [round(wish * cells) for wish in wishes]
    counts = spend(Account(refill, 0, depth, spill=True), demands, cells)
    for end in range(1, len(counts) + 1):
        assert sum(counts[:end]) * SCALE <= cells * SCALE + end * refill
        assert sum(counts[:end]) * SCALE > cells * SCALE + (end - 1) * refill - (depth * cells + 1) * SCALE
        for start in range(end):
            assert sum(counts[start:end]) * SCALE <= (depth * cells + 1) * SCALE + (end - start) * refill


def test_the_account_tells_how_full_it_is() -> None:
    account = Account(2 * SCALE, depth=2)
    frame = Cells(torch.zeros(8, 1), (1, 8), 0)
    assert account.filled(frame, {}).item() == 0.5
    credit = {"credit": torch.tensor(6 * SCALE), "since": torch.tensor(0)}
    assert account.filled(frame, credit).item() == 0.5
    assert account.filled(frame, {**credit, "credit": torch.tensor(-9 * SCALE)}).item() == 0.0
