from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.server.pacing import LEAST_FPS, Pacer


def test_the_advice_falls_to_the_models_pace_and_rises_again() -> None:
    pacer = Pacer(10.0)
    assert pacer.update(0.0, 0, 0) == 10.0
    taken = busy = 0
    for second in range(1, 6):  # ten come a second, two are taken in
        taken, busy = taken + 2, busy + 8
        advised = pacer.update(float(second), taken, busy)
    assert 2.0 < advised < 2.5
    for second in range(6, 40):
        taken += 2
        advised = pacer.update(float(second), taken, busy)
    assert advised == 10.0


def test_a_wish_caps_the_advice() -> None:
    pacer = Pacer(10.0)
    pacer.limit(2.0)
    assert pacer.target_fps == 2.0
    pacer.update(0.0, 0, 0)
    assert pacer.update(1.0, 2, 0) == 2.0
    pacer.limit(5.0)
    assert 2.0 < pacer.update(2.0, 4, 0) < 5.0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=40))
def test_the_advice_stays_within_its_limits(seconds: list[tuple[int, int]]) -> None:
    pacer = Pacer(8.0)
    taken = busy = 0
    for at, (more_taken, more_busy) in enumerate(seconds):
        taken, busy = taken + more_taken, busy + more_busy
        assert LEAST_FPS <= pacer.update(float(at), taken, busy) <= 8.0
