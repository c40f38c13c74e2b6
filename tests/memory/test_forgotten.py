"""What is forgotten is named: never less than went, in at most 64 stretches."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from onlooker.memory.forgotten import MOST_STRETCHES, Forgotten, Stretches

PIECES = st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 12), st.integers(1, 4)), max_size=150)


@given(PIECES)
def test_every_moment_that_went_is_named(pieces: list[tuple[int, int, int]]) -> None:
    stretches, gone = Stretches(), set[int]()
    for start, length, count in pieces:
        stretches.add(Forgotten(start, start + length, count))
        gone |= set(range(start, start + length + 1))
        found = stretches.all
        assert len(found) <= MOST_STRETCHES
        named = {moment for one in found for moment in range(one.start_us, one.end_us + 1)}
        assert gone <= named
        assert all(before.end_us < after.start_us for before, after in pairwise(found))
    assert sum(one.count for one in stretches.all) == sum(count for *_, count in pieces)


@given(PIECES.map(lambda pieces: pieces[:MOST_STRETCHES]))
def test_while_they_are_few_no_more_is_named_than_went(pieces: list[tuple[int, int, int]]) -> None:
    stretches, gone = Stretches(), set[int]()
    for start, length, _ in pieces:
        stretches.add(Forgotten(start, start + length, 1))
        gone |= {2 * moment for moment in range(start, start + length + 1)}
        gone |= {2 * moment + 1 for moment in range(start, start + length)}  # between two moments
    named = {half for one in stretches.all for half in range(2 * one.start_us, 2 * one.end_us + 1)}
    assert named == gone


def test_of_too_many_the_nearest_are_named_as_one() -> None:
    stretches = Stretches(Forgotten(n * 10, n * 10 + 1, 1) for n in range(MOST_STRETCHES))
    stretches.add(Forgotten(305, 306, 1))
    assert len(stretches.all) == MOST_STRETCHES
    assert Forgotten(300, 306, 2) in stretches.all  # 4 apart, where others are 9 apart


@given(PIECES)
def test_stretches_that_are_read_back_are_the_same(pieces: list[tuple[int, int, int]]) -> None:
    stretches = Stretches(Forgotten(start, start + length, count) for start, length, count in pieces)
    assert Stretches(stretches.all).all == stretches.all
