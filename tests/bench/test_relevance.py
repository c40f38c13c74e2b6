from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.bench.relevance import MOST_MISSED, Likeness, area, choose_threshold, fit, lay_out, likeness_of
from onlooker.theatre.questions import KINDS
from onlooker.theatre.show import Show

SCORES = st.lists(st.floats(-1.0, 1.0, width=16), min_size=1, max_size=60)


def test_a_gap_is_cut_in_its_middle() -> None:
    assert choose_threshold(Likeness((0.8, 0.9), (0.1, 0.4))) == pytest.approx(0.6)


def test_a_memory_missed_weighs_more_than_a_false_one() -> None:
    # half of what was shown looks like what never was: a threshold that parts the rest would miss half
    shown = tuple(np.linspace(0.2, 0.9, 100).tolist())
    absent = tuple(np.linspace(0.1, 0.55, 100).tolist())
    found = choose_threshold(Likeness(shown, absent))
    assert (np.array(shown) <= found).mean() <= MOST_MISSED
    assert (np.array(absent) > found).mean() < 0.85


@given(SCORES, SCORES)
def test_few_are_missed_whatever_the_scores(shown: list[float], absent: list[float]) -> None:
    found = choose_threshold(Likeness(tuple(shown), tuple(absent)))
    sure = np.array(shown) <= found - 1e-3  # the threshold is rounded
    assert sure.mean() <= MOST_MISSED


@given(SCORES, SCORES)
def test_area_is_the_share_of_pairs_in_order(shown: list[float], absent: list[float]) -> None:
    pairs = [(x > y) + 0.5 * (x == y) for x in shown for y in absent]
    assert area(np.array(shown), np.array(absent)) == pytest.approx(np.mean(pairs))


def test_errors_are_counted_on_streams_that_chose_nothing() -> None:
    picking = Likeness((0.8, 0.9) * 5, (0.1, 0.4) * 5)
    found = fit(picking, Likeness((0.5, 0.9) * 5, (0.1, 0.7, 0.2, 0.3) * 3), picking)
    assert found is not None
    first, second, _ = found.spreads
    assert (first.missed, first.let_through, first.auc) == (0.0, 0.0, 1.0)
    assert (second.counts, second.missed, second.let_through) == ((10, 12), 0.5, 0.25)
    assert len(lay_out(found)) == 4
    assert fit(picking, Likeness(), picking) is None and len(lay_out(None)) == 1
    few = Likeness((0.8,) * 9, (0.1,) * 50)  # a threshold between whatever these few happened to be
    assert fit(few, picking, picking) is None and fit(picking, few, picking) is None
    reworded = fit(picking, picking, few)
    assert reworded is not None and len(reworded.spreads) == 2


def test_absent_questions_name_what_never_appears() -> None:
    show = Show(3, 64.0)
    asked, other = show.absent_questions(), show.absent_questions(held_out=True)
    assert {question.kind for question in asked} == set(KINDS) - {"present", "order"}
    assert len(asked) == 8 * len(show.roles[1])
    for number, question in enumerate(asked):
        assert show.roles[1][number // 8] in question.text and question.spans_us == ()
        assert question.accepts("no" if question.kind == "presence" else "not seen")
    assert {question.text for question in asked}.isdisjoint(question.text for question in other)


def test_measured_is_what_a_session_judges_by(moment: Any, questions: Any, backbone: Any) -> None:
    from onlooker.stream.reading import Reader

    shown = [question for question in questions if question.spans_us]
    found = likeness_of(moment, questions, [])
    assert len(found.shown) == len(shown) and found.absent == ()
    reader = Reader(moment.ingest, backbone.card.retrieval_heads)
    assert reader.read(shown[0].text).likeness == found.shown[0]
    before = moment.ingest.settings
    likeness_of(moment, shown[:1], [replace(shown[0], spans_us=())])
    assert moment.ingest.settings is before
