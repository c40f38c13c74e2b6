import random

from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.live.backoff import Backoff


@given(st.integers(0, 2**32), st.integers(1, 2000))
def test_delays_grow_to_half_a_minute_and_never_end(seed: int, count: int) -> None:
    backoff = Backoff(chance=random.Random(seed))
    delays = [backoff.delay_s() for _ in range(count)]
    for number, delay in enumerate(delays):
        upper = min(30.0, 2.0 ** min(number + 1, 5))
        assert upper / 2 <= delay <= upper
    assert all(1.0 <= delay <= 30.0 for delay in delays)


@given(st.integers(0, 2**32), st.floats(0, 59.9), st.floats(60, 1e9))
def test_only_a_healthy_minute_makes_it_begin_anew(seed: int, short_s: float, long_s: float) -> None:
    backoff = Backoff(chance=random.Random(seed))
    for _ in range(8):
        backoff.delay_s()
    backoff.held(short_s)
    assert backoff.delay_s() >= 15.0
    backoff.held(long_s)
    assert backoff.delay_s() <= 2.0


@given(st.integers(0, 2**32))
def test_wrong_passwords_are_tried_once_a_minute_and_teach_nothing(seed: int) -> None:
    backoff = Backoff(chance=random.Random(seed))
    assert all(60.0 <= backoff.delay_s(slow=True) <= 90.0 for _ in range(20))
    assert backoff.delay_s() <= 2.0


def test_cameras_that_went_together_do_not_come_back_together() -> None:
    assert len({Backoff(chance=random.Random(seed)).delay_s() for seed in range(50)}) == 50
