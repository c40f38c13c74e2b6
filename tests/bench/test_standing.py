from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.bench.standing import (
    FORMS,
    StandingPlan,
    Tally,
    appearances,
    count,
    report_text,
    run_standing,
    things_of,
)
from onlooker.errors import SettingsError
from onlooker.theatre.show import Show

SECOND = 1_000_000


def test_alerts_are_counted_against_what_was_there() -> None:
    spans = [(10, 20), (30, 40)]
    alerts = [(9, 1.0), (10, 2.0), (19, 3.0), (20, 4.0), (35, 5.0)]
    assert count(spans, alerts, planted=True) == Tally(5, 3, 1, (2, 2), (0, 0), (0, 5), (2.0, 5.0))
    assert count(spans, [], planted=False) == Tally(common=(0, 2))
    assert count([], [(1, 1.0)], planted=False).precision == 0.0 and Tally().precision is None


@given(st.lists(st.integers(0, 100)), st.lists(st.integers(0, 100)))
def test_counts_add_up(first: list[int], second: list[int]) -> None:
    spans = [(10, 20), (30, 60), (60, 70)]
    parts = [count(spans, [(time, 0.0) for time in sorted(times)], planted=True) for times in (first, second)]
    both = parts[0] + parts[1]
    for tally in (*parts, both):
        assert tally.repeats + tally.planted[0] == tally.right <= tally.alerts
        assert len(tally.delays_us) == len(tally.compute_ms) == tally.planted[0]
    assert both.alerts == len(first) + len(second) and both.planted[1] == 6


def test_appearances_are_when_a_thing_is_on_the_stage() -> None:
    show = Show(11, 200.0)
    for thing in (show.roles[0][0], show.roles[0][1], next(iter(show.planted.values()))[1][0]):
        spans = appearances(show, thing)
        assert spans
        for time_us in range(0, show.end_us, SECOND // 2):
            there = thing in {actor.sprite for actor in show.scene_at(time_us).actors}
            assert there == any(start <= time_us < end for start, end in spans)
        assert all(one[1] < other[0] for one, other in pairwise(spans))
    assert appearances(show, show.roles[1][0]) == []


def test_conditions_are_things_that_come_once_that_come_and_go_and_that_never_come() -> None:
    show = Show(11, 200.0)
    things = things_of(show, StandingPlan(planted=4, common=2, absent=3))
    assert len(things) == len(set(things)) == 9
    assert [len(appearances(show, thing)) for thing in things[:4]] == [1] * 4
    assert [len(appearances(show, thing)) for thing in things[6:]] == [0] * 3


def test_the_bench_runs_from_end_to_end(backbone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights, whose answers mean nothing: every way, wording and cost is there, and adds up."""
    monkeypatch.setattr("onlooker.bench.standing.RUNS", 1)
    plan = StandingPlan(streams=2, minutes=0.3, fps=1.0, planted=1, common=1, absent=1, cost_s=16.0)
    report = run_standing(backbone, plan)
    [way] = report.ways  # its card has no glance
    assert way.work.asked == 3 * way.work.checks > 0 and way.work.glanced == 0 and way.stream_s == 36.0
    assert [form.name for form in report.forms] == list(FORMS)
    assert [cost.conditions for cost in report.costs] == [0, 1, 4, 16]
    assert all(cost.asked == cost.checks * cost.conditions and cost.frames_per_s > 0 for cost in report.costs)
    text = report_text(report)
    assert (
        text.count("\n| ") + text.count("\n\n| ") >= 1 and "every condition asked" in text and "`is there a x?`" in text
    )
    assert report.to_dict()["plan"] == {
        "seed": 0, "streams": 2, "minutes": 0.3, "fps": 1.0, "planted": 1, "common": 1, "absent": 1, "cost_s": 16.0
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [{"streams": 0}, {"seed": -1}, {"minutes": 0.1}, {"fps": 0.0}, {"cost_s": 1.0}])
def test_plans_outside_their_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="not StandingPlan"):
        StandingPlan(**wrong)  # type: ignore[arg-type]
