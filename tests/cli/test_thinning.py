from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.cli.thinning import BINS, EvenSample, ShareOverTime


def sampled(count: int, length: int, step: int = 0) -> EvenSample[int]:
    sample = EvenSample[int](count, step)
    for number in range(length):
        sample.add(number, number)
    return sample


@given(st.integers(1, 60), st.integers(1, 3000))
def test_a_sample_is_spread_evenly_over_whatever_came(count: int, length: int) -> None:
    items = sampled(count, length).items()
    assert len(items) == min(count, length)
    assert items == sorted(set(items)) and items[0] == 0
    if count > 1 and length > count:
        gaps = [late - early for early, late in pairwise(items)]
        assert max(gaps) <= 2 * min(gaps)
        assert length - 1 - items[-1] < max(gaps)


def test_room_does_not_grow_with_the_stream() -> None:
    sample, most = EvenSample[int](24), 0
    for number in range(100_000):
        sample.add(number, number)
        most = max(most, len(sample._held))
    assert most <= 97
    assert len(sample.items()) == 24
    assert [number for number in range(2 * sample.step) if sample.wants(number)] == [0, sample.step]


def test_a_step_is_kept_to_while_there_is_room_and_doubled_then() -> None:
    assert sampled(10, 28, step=3).items() == list(range(0, 28, 3))
    many = sampled(10, 100, step=3)
    assert many.step == 12 and many.items() == list(range(0, 100, 12))


@given(st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 16)), min_size=1, max_size=80), st.integers(0, 10**9))
def test_shares_of_one_keyframe_each_are_as_they_came(counts: list[tuple[int, int]], start_us: int) -> None:
    by_time = dict(counts)
    over_time = ShareOverTime(start_us)
    for time_us in sorted(by_time):
        over_time.add(start_us + time_us, by_time[time_us], 16)
    found = list(over_time)
    assert len(found) <= BINS
    bins: dict[int, list[int]] = {}
    for time_us, kept in by_time.items():
        bins.setdefault(start_us + time_us // over_time.bin_us * over_time.bin_us, []).append(kept)
    assert dict(found) == {begin: pytest.approx(sum(kept) / (16 * len(kept))) for begin, kept in bins.items()}


def test_bins_grow_no_more_than_they_must() -> None:
    over_time = ShareOverTime()
    over_time.add(100_000 * BINS - 1, 1, 2)
    assert over_time.bin_us == 100_000
    over_time.add(100_000 * BINS, 1, 2)
    assert over_time.bin_us == 200_000
