import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.live.frame_clock import DRIFT, TOLERANCE_US, FrameClock

steps = st.lists(st.tuples(st.integers(0, 3_000_000), st.none() | st.integers(-(10**12), 10**12)), max_size=80)


@given(steps, st.booleans(), st.sets(st.integers(0, 80)))
def test_times_increase_and_none_is_later_than_its_arrival(
    script: list[tuple[int, int | None]], stamped: bool, restarts: set[int]
) -> None:
    """Whatever stamps come; a frame that arrives in the same microsecond as the last is moved behind it."""
    clock, now_us, times = FrameClock(stamped), 0, []
    for number, (step_us, stamp_us) in enumerate(script):
        if number in restarts:
            clock.restart(stamped)
        now_us += step_us
        times.append(clock.place(now_us, stamp_us))
        assert times[-1] <= max(now_us, times[-2] + 1 if number else 0)
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


@given(st.lists(st.integers(0, 300_000), min_size=30, max_size=120))
def test_spacing_is_the_camera_s_however_late_frames_come(delays_us: list[int]) -> None:
    clock = FrameClock(True)
    arrivals = list(itertools.accumulate((40_000 * n + late for n, late in enumerate(delays_us)), max))
    times = [clock.place(arrived, 7_000_000 + 40_000 * n) for n, arrived in enumerate(arrivals)]
    best = min(range(len(arrivals)), key=lambda n: arrivals[n] - 40_000 * n)
    after = [later - earlier for earlier, later in itertools.pairwise(times[best:])]
    assert all(abs(step - 40_000) <= 1 + DRIFT * arrivals[-1] for step in after)
    assert clock.repaired == 0


def test_a_feed_without_sound_stamps_goes_by_arrival() -> None:
    clock = FrameClock(False)
    assert [clock.place(now, stamp) for now, stamp in ((10, 0), (500, 40_000), (900, None))] == [10, 500, 900]


@pytest.mark.parametrize("odd", [None, 0, 10**11])
def test_a_stamp_that_jumps_is_replaced_by_the_arrival(odd: int | None) -> None:
    clock = FrameClock(True)
    for number in range(1, 4):
        clock.place(number * 100_000 + 50_000, number * 100_000)
    assert clock.place(450_000 + 7, odd) == 450_007
    assert clock.repaired == 1
    assert clock.place(550_000, 10**12) == 550_000  # whatever comes next, the map is made anew
    assert clock.place(660_000, 10**12 + 100_000) == 650_055  # 10 ms late, less what the clocks may drift


def test_stamps_that_go_wrong_again_and_again_are_no_longer_trusted() -> None:
    """MJPEG stamped 25 a second that comes 5 a second."""
    clock = FrameClock(True)
    times = [clock.place(200_000 * n, 40_000 * n) for n in range(200)]
    assert clock.repaired == 4
    assert times[100:] == [200_000 * n for n in range(100, 200)]
    assert all(200_000 * n - time_us <= TOLERANCE_US for n, time_us in enumerate(times))


def test_a_new_connection_keeps_time_going_on() -> None:
    clock = FrameClock(True, after_us=99)
    assert clock.place(0, 5_000_000) == 100
    clock.restart(True)
    assert clock.place(9_000_000, 17) == 9_000_000
    assert clock.repaired == 0
