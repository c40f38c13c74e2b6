from itertools import pairwise

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


@given(
    steps=st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 2**53)), min_size=1, max_size=40),
)
def test_no_clock_moves_a_frame_far_from_its_arrival(steps: list[tuple[int, int]]) -> None:
    clock, now = ClientClock(), NOW
    for step, captured in steps:
        now += step
        assert abs(clock.place(captured, now) - now) <= TOLERANCE_US
