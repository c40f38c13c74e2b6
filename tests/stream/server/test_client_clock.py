import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.server.client_clock import TOLERANCE_US, ClientClock

NOW = 1_795_000_000_000_000
S = 1_000_000


def test_a_right_clock_is_left_alone() -> None:
    clock = ClientClock()
    assert [clock.place(NOW + n * S - 200_000, NOW + n * S) for n in range(3)] == [
        NOW + n * S - 200_000 for n in range(3)
    ]


def test_a_wrong_clock_is_shifted_and_its_spacing_kept() -> None:
    clock = ClientClock()
    wrong = 1_000 * S  # a robot whose clock began when it was switched on
    placed = [clock.place(wrong + n * 33_333, NOW + n * 33_333 + (n % 3) * 40_000) for n in range(50)]
    assert placed[0] == NOW
    assert {after - before for before, after in pairwise(placed)} == {33_333}


def test_a_clock_that_is_set_right_is_taken_as_it_is_again() -> None:
    clock = ClientClock()
    clock.place(NOW - 3_600 * S, NOW)
    assert clock.place(NOW + 2 * S, NOW + 2 * S) == NOW + 2 * S
    assert clock.offset_us == 0


def test_a_clock_at_the_border_is_not_taken_now_so_now_so() -> None:
    clock = ClientClock()
    placed = [clock.place(NOW + n * S - TOLERANCE_US - (n % 2) * 400_000 + 200_000, NOW + n * S) for n in range(20)]
    assert placed == sorted(set(placed))


def test_arrivals_are_told_by_a_clock_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ClientClock()
    began = time.time_ns()
    assert abs(clock.place(began // 1000) - began // 1000) < S
    monkeypatch.setattr(time, "time_ns", lambda: began - 3_600_000_000_000)  # an hour back
    later = began // 1000 + 100_000
    assert clock.place(later) == later


@given(
    steps=st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 2**53)), min_size=1, max_size=40),
)
def test_no_clock_moves_a_frame_far_from_its_arrival(steps: list[tuple[int, int]]) -> None:
    clock, now = ClientClock(), NOW
    for step, captured in steps:
        now += step
        assert abs(clock.place(captured, now) - now) <= 2 * TOLERANCE_US
