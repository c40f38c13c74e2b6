import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onlooker.memory.catalogue import BLOCK, GROUP
from onlooker.memory.consolidation import COARSE, FRESH, GIST, THIN
from onlooker.memory.forgotten import Forgotten
from onlooker.memory.timeline import Stretch, joined, timeline_of

Rows = NDArray[np.void]


def groups_of(*rows: tuple[int, int, int]) -> tuple[Rows, Rows]:
    """Make groups of one block each."""
    blocks, groups = np.zeros(len(rows), dtype=BLOCK), np.zeros(len(rows), dtype=GROUP)
    for number, (start_us, end_us, level) in enumerate(rows):
        for made in (blocks, groups):
            made[number]["id"], made[number]["start_us"], made[number]["end_us"] = number, start_us, end_us
        groups[number]["level"] = level
    return blocks, groups


def test_nothing_remembered_is_an_empty_timeline() -> None:
    assert timeline_of(*groups_of(), ()) == ()


def test_neighbours_of_one_kind_are_one_stretch() -> None:
    groups = groups_of((0, 10, GIST), (10, 20, GIST), (20, 30, THIN), (30, 40, COARSE), (40, 50, FRESH))
    assert timeline_of(*groups, ()) == (Stretch(0, 20, "gist"), Stretch(20, 50, "kept"))


def test_what_was_forgotten_stands_between_what_is_kept() -> None:
    laid = timeline_of(*groups_of((0, 10, FRESH), (30, 40, FRESH)), (Forgotten(10, 30, 4),))
    assert laid == (Stretch(0, 10, "kept"), Stretch(10, 30, "forgotten"), Stretch(30, 40, "kept"))


def test_a_gap_that_nothing_was_seen_in_stays_one() -> None:
    assert len(timeline_of(*groups_of((0, 10, FRESH), (30, 40, FRESH)), ())) == 2


@given(
    lengths=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50), st.sampled_from([FRESH, GIST])), max_size=60),
    most=st.integers(1, 12),
)
def test_there_are_never_more_than_asked_for_and_all_of_it_is_covered(
    lengths: list[tuple[int, int, int]], most: int
) -> None:
    rows, now = [], 0
    for length, gap, level in lengths:
        rows.append((now, now + length, level))
        now += length + gap
    laid = timeline_of(*groups_of(*rows), (), most)
    assert len(laid) <= most
    for start_us, end_us, _ in rows:
        assert any(one.start_us <= start_us and end_us <= one.end_us for one in laid)
    assert list(laid) == sorted(laid, key=lambda one: one.start_us)


@pytest.mark.parametrize(("gap", "count"), [(0, 1), (1, 2)])
def test_stretches_that_touch_are_joined(gap: int, count: int) -> None:
    assert len(joined([Stretch(0, 10, "kept"), Stretch(10 + gap, 20, "kept")])) == count


def test_a_gap_inside_of_a_group_is_seen() -> None:
    blocks, groups = groups_of((0, 10, FRESH), (500, 510, FRESH))
    groups = groups[:1]
    assert timeline_of(blocks, groups, ()) == (Stretch(0, 10, "kept"), Stretch(500, 510, "kept"))


def test_ten_thousand_gaps_are_no_more_work_than_they_are_worth() -> None:
    rows = [(n * 100, n * 100 + 50 + n % 40, FRESH) for n in range(10_000)]
    laid = timeline_of(*groups_of(*rows), (), 256)
    assert len(laid) == 256
    assert (laid[0].start_us, laid[-1].end_us) == (0, rows[-1][1])
