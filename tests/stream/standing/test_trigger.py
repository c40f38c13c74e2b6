from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.errors import SettingsError
from onlooker.stream.standing.trigger import Edge, Trigger, TriggerSettings

LOOKS = st.lists(st.tuples(st.integers(0, 8_000_000), st.none() | st.floats(0.0, 1.0)), max_size=60)
RULES = st.builds(
    lambda cooldown_us, fall, gap: TriggerSettings(cooldown_us, min(1.0, fall + gap), fall),
    st.integers(0, 30_000_000),
    st.floats(0.0, 0.8),
    st.floats(0.01, 0.2),
)


@dataclass(frozen=True)
class Step:
    time_us: int
    score: float | None
    edge: Edge | None
    after: Trigger


def run(rules: TriggerSettings, looks: list[tuple[int, float | None]]) -> list[Step]:
    trigger, now_us, steps = Trigger(rules), 0, []
    for passed_us, score in looks:
        now_us += passed_us
        trigger, edge = trigger.step(now_us, score)
        steps.append(Step(now_us, score, edge, trigger))
    return steps


@given(RULES, LOOKS)
def test_alerts_and_their_ends_take_turns(rules: TriggerSettings, looks: list[tuple[int, float | None]]) -> None:
    edges = [step.edge for step in run(rules, looks) if step.edge]
    assert edges == ["fired" if place % 2 == 0 else "cleared" for place in range(len(edges))]


@given(RULES, LOOKS)
def test_it_is_seen_false_between_two_alerts(rules: TriggerSettings, looks: list[tuple[int, float | None]]) -> None:
    steps = run(rules, looks)
    fired = [place for place, step in enumerate(steps) if step.edge == "fired"]
    for one, other in pairwise(fired):
        between = [step.score for step in steps[one + 1 : other] if step.score is not None]
        assert min(between) <= rules.fall


@given(RULES, LOOKS)
def test_alerts_keep_the_cool_down(rules: TriggerSettings, looks: list[tuple[int, float | None]]) -> None:
    times = [step.time_us for step in run(rules, looks) if step.edge == "fired"]
    assert all(later - earlier >= rules.cooldown_us for earlier, later in pairwise(times))


@given(RULES, LOOKS)
def test_what_is_true_is_told_as_soon_as_the_cool_down_allows(
    rules: TriggerSettings, looks: list[tuple[int, float | None]]
) -> None:
    """After each step: true and untold only within the cool-down; told only while true."""
    for step in run(rules, looks):
        after = step.after
        if after.holds and not after.told:
            assert after.fired_us is not None and step.time_us - after.fired_us < rules.cooldown_us
        assert after.holds or not after.told


@given(RULES, LOOKS)
def test_nothing_is_forgotten_by_looks_that_say_nothing(
    rules: TriggerSettings, looks: list[tuple[int, float | None]]
) -> None:
    """Scores between fall and rise change nothing, nor do looks without a score."""
    middle = (rules.rise + rules.fall) / 2
    unsure = [(passed, middle if score is None else score) for passed, score in looks]
    assert [step.edge for step in run(rules, looks)] == [step.edge for step in run(rules, unsure)]


def edges(rules: TriggerSettings, *looks: tuple[int, float | None]) -> list[Edge | None]:
    trigger, found = Trigger(rules), []
    for time_us, score in looks:
        trigger, edge = trigger.step(time_us, score)
        found.append(edge)
    return found


def test_it_fires_at_the_first_look_when_it_is_true_already() -> None:
    assert edges(TriggerSettings(), (0, 0.9), (1, 0.9)) == ["fired", None]


def test_what_comes_back_in_the_cool_down_is_told_when_that_is_over() -> None:
    looks = [(0, 0.9), (2, 0.1), (4, 0.9), (9, None), (10, None), (11, 0.1)]
    assert edges(TriggerSettings(cooldown_us=10), *looks) == ["fired", "cleared", None, None, "fired", "cleared"]


def test_what_came_and_went_in_the_cool_down_is_not_told() -> None:
    looks = [(0, 0.9), (2, 0.1), (4, 0.9), (6, 0.1), (20, None)]
    assert edges(TriggerSettings(cooldown_us=10), *looks) == ["fired", "cleared", None, None, None]


def test_a_score_in_between_leaves_it_as_it_was() -> None:
    rules = TriggerSettings(0, rise=0.6, fall=0.3)
    assert edges(rules, (0, 0.5), (1, 0.6), (2, 0.31), (3, 0.7), (4, 0.3), (5, 0.59)) == [
        None, "fired", None, None, "cleared", None
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [{"cooldown_us": -1}, {"cooldown_us": 86_400_000_001}, {"rise": 0.3}, {"rise": 1.1}, {"fall": -0.1}]
)
def test_rules_outside_their_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="give 0"):
        TriggerSettings(**wrong)  # type: ignore[arg-type]
