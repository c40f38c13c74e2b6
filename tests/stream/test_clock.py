import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.clock import StampClock


def place(stamps_s: list[float | None], fps: float = 10.0) -> tuple[list[int], int]:
    clock = StampClock(fps)
    return [clock.place(stamp) for stamp in stamps_s], clock.repaired


stamps = st.one_of(st.none(), st.floats(-100.0, 100_000.0), st.sampled_from([0.0, 1.0, math.nan, math.inf, -9.2e15]))


@given(st.lists(stamps, max_size=60))
def test_times_always_increase_from_zero_or_later(stamps_s: list[float | None]) -> None:
    times_us, _ = place(stamps_s)
    assert all(time_us >= 0 for time_us in times_us)
    assert all(later > earlier for earlier, later in itertools.pairwise(times_us))


@given(st.lists(st.integers(1, 10_000_000), min_size=1, max_size=60))
def test_sound_stamps_are_taken_as_they_are(steps_us: list[int]) -> None:
    expected = np.cumsum([0, *steps_us]).tolist()
    assert place([time_us / 1e6 for time_us in expected]) == (expected, 0)


@pytest.mark.parametrize(
    ("stamps_s", "expected_ms", "repaired"),
    [
        ([0.0, 0.04, None, 0.12], [0, 40, 80, 120], 1),  # missing: the last good step
        ([None, None, None], [0, 100, 200], 3),  # never any: the nominal rate
        ([0.0, 0.0, 0.0], [0, 100, 200], 2),
        ([-3.0, -2.9, -2.5, 0.5], [0, 100, 500, 3500], 1),  # negative: counted from the first
        ([0.0, 0.04, 0.12, 0.08, 0.16], [0, 40, 120, 121, 160], 1),  # out of order
        ([50.0, 50.1, 0.0, 0.2, 0.3], [50_000, 50_100, 50_200, 50_400, 50_500], 1),  # started again
        ([50.0, 50.1, 9.0, 50.3, 50.4], [50_000, 50_100, 50_200, 50_300, 50_400], 1),  # one stamp was nonsense
        ([0.0, 0.5, -9.2e15, 1.5], [0, 500, 1000, 1500], 1),  # FFmpeg's mark for no stamp
    ],
)
def test_each_repair(stamps_s: list[float | None], expected_ms: list[int], repaired: int) -> None:
    assert place(stamps_s) == ([time_ms * 1000 for time_ms in expected_ms], repaired)


@given(st.lists(stamps, min_size=2, max_size=40), st.data())
def test_a_repair_depends_on_the_past_alone(stamps_s: list[float | None], data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(stamps_s)))
    assert place(stamps_s[:end])[0] == place(stamps_s)[0][:end]
