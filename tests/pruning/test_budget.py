import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.pruning.budget import Price, Quota
from onlooker.pruning.credit import SCALE, Account
from onlooker.pruning.stages import Cells, Memory


def spend(price: Price, frames: list[list[float]]) -> list[int]:
    memory: Memory = {}
    counts = []
    for number, scores in enumerate(frames):
        frame = Cells(torch.zeros(len(scores), 1), (1, len(scores)), number)
        count, memory = price.grant(torch.tensor(scores), frame, memory)
        counts.append(int(count))
    return counts


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0.01, 0.3), st.floats(0.3, 2))
@settings(deadline=None)
def test_a_token_costs_less_the_more_is_saved(saved: int, score: float, least: float, most: float) -> None:
    """Written out: the price after so much saving, and what is worth it."""
    cells, depth, refill = 16, 8, 4
    account = Account(refill * SCALE, depth=depth)
    frames = [[2.0] * cells] + [[0.0] * cells] * (saved - 1) + [[score] * cells]
    full = min(1.0, refill * saved / (depth * cells))
    price = most * (least / most) ** full
    wanted = cells if score >= price else 0
    if abs(score - price) > 1e-5:
        assert spend(Price(account, least, most), frames)[-1] == min(wanted, refill * saved, depth * cells)


def test_what_is_dear_after_a_burst_is_cheap_after_a_quiet_while() -> None:
    price = Price(Account(4 * SCALE, depth=8))
    some = [0.2] * 3 + [0.0] * 13
    assert spend(price, [[2.0] * 16, some, [0.0] * 16, some]) == [16, 0, 0, 0]
    assert spend(price, [[2.0] * 16, *([[0.0] * 16] * 20), some]) == [16, *([0] * 20), 3]


def test_greatest_news_is_paid_for_as_far_as_credit_goes() -> None:
    assert spend(Price(Account(4 * SCALE)), [[2.0] * 16] * 4) == [16, 4, 4, 4]


@pytest.mark.parametrize("spill", [False, True])
def test_what_stillness_costs_is_what_it_says(spill: bool) -> None:
    price = Price(Account(round(1.6 * SCALE), depth=2, spill=spill))
    counts = spend(price, [[2.0] * 16] + [[0.0] * 16] * 400)
    assert sum(counts[101:]) / 300 == pytest.approx(price.still(16), abs=0.01)
    assert price.still(16) == pytest.approx(1.6 if spill else 0.0, abs=1e-6)


@given(st.integers(1, 30), st.floats(0.01, 1), st.integers(1, 80))
@settings(deadline=None)
def test_quota_sums_exactly(cells: int, rate: float, frames: int) -> None:
    refill = round(rate * cells * SCALE)
    counts = []
    for number in range(frames):
        count, _ = Quota(refill).grant(torch.zeros(cells), Cells(torch.zeros(cells, 1), (1, cells), number), {})
        counts.append(int(count))
    assert sum(counts) == min(frames * refill // SCALE, frames * cells)
    assert max(counts) - min(counts) <= 1
