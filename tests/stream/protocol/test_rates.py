from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.protocol.rates import TokenBucket


@given(
    st.floats(0.5, 100.0),
    st.integers(1, 50),
    st.lists(st.floats(0.0, 2.0), min_size=1, max_size=200),
)
def test_never_more_than_the_burst_and_the_rate_allow(rate: float, burst: int, steps: list[float]) -> None:
    bucket, now, taken = TokenBucket(rate, burst), 100.0, 0
    for step in steps:
        now += step
        taken += bucket.take(now)
        assert taken <= burst + rate * (now - 100.0) + 1e-6


def test_a_burst_then_the_rate() -> None:
    bucket = TokenBucket(2.0, 3)
    assert [bucket.take(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert bucket.wait_s(0.0) == 0.5
    assert [bucket.take(at) for at in (0.25, 0.5, 0.75, 1.0)] == [False, True, False, True]


def test_waiting_as_long_as_it_says_is_enough() -> None:
    bucket = TokenBucket(3.0, 1)
    assert bucket.take(5.0) and not bucket.take(5.1)
    assert bucket.take(5.1 + bucket.wait_s(5.1) + 1e-9)


def test_a_clock_that_goes_back_gives_nothing_for_free() -> None:
    bucket = TokenBucket(1.0, 1)
    assert bucket.take(100.0)
    assert not bucket.take(0.0)
    assert not bucket.take(100.5)
    assert bucket.take(101.0)


def test_a_rate_below_one_still_lets_one_through() -> None:
    bucket = TokenBucket(0.1, 0.1)
    assert bucket.take(0.0)
    assert not bucket.take(9.0)
    assert bucket.take(10.0)
