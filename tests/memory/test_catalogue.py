"""Tables keep rows in order of their id and count their bytes; spans are met as the definition says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onlooker.memory.catalogue import BLOCK, Table, meets


def rows_of(ids: list[int]) -> NDArray[np.void]:
    rows = np.zeros(len(ids), dtype=BLOCK)
    rows["id"], rows["tokens"] = ids, [7 * one for one in ids]
    return rows


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.randoms(use_true_random=False)), max_size=30))
def test_a_table_is_a_sorted_list(steps: list[tuple[bool, int, object]]) -> None:
    table, model, newest = Table(BLOCK), list[int](), 0
    for adds, count, chance in steps:
        if adds:
            ids = [newest + 3 * n + 1 for n in range(count)]
            newest = ids[-1] if ids else newest
            table.append(rows_of(ids))
            model += ids
        else:
            places = sorted(chance.sample(range(len(model)), min(count, len(model))))  # type: ignore[attr-defined]
            table.remove(places)
            model = [one for place, one in enumerate(model) if place not in set(places)]
        assert len(table) == len(model)
        assert table.rows["id"].tolist() == model
        assert table.rows["tokens"].tolist() == [7 * one for one in model]
        assert [table.find(one) for one in model] == list(range(len(model)))
        assert table.find(newest + 1) is table.find(0) is table.find(-1) is None
        assert len(model) * BLOCK.itemsize <= table.nbytes <= (2 * len(model) + 34) * BLOCK.itemsize


def test_a_table_that_only_grows_has_a_quarter_in_reserve() -> None:
    table = Table(BLOCK)
    for one in range(2_000):
        table.append(rows_of([one]))
        assert table.nbytes <= (one + 1 + max((one + 1) // 4, 16)) * BLOCK.itemsize


def test_rows_can_be_written_through_the_view() -> None:
    table = Table(BLOCK)
    table.append(rows_of([1, 2]))
    table.rows["extent"][1] = 5
    assert table.rows["extent"].tolist() == [0, 5]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=12),
    st.none() | st.integers(-1, 30),
    st.none() | st.integers(-1, 30),
)
def test_spans_meet_as_the_definition_says(
    gaps: list[tuple[int, int]], since_us: int | None, until_us: int | None
) -> None:
    spans, start, end = list[tuple[int, int]](), 0, 0
    for gap, length in gaps:
        start += gap
        end = max(end, start + length)
        spans.append((start, end))
    rows = np.zeros(len(spans), dtype=BLOCK)
    rows["id"] = range(len(spans))
    rows["start_us"], rows["end_us"] = [a for a, _ in spans], [b for _, b in spans]
    expected = [
        place
        for place, (a, b) in enumerate(spans)
        if (until_us is None or a < until_us) and (since_us is None or max(b, a + 1) > since_us)
    ]
    assert rows["id"][meets(rows, since_us, until_us)].tolist() == expected
