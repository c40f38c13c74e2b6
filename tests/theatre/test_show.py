from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.theatre.cast import SPRITES, plural
from onlooker.theatre.questions import (
    KINDS,
    WORDINGS,
    Question,
    clock_of,
    order_answer,
    seconds_of,
    things_of,
    wording,
)
from onlooker.theatre.show import ABSENT, COMMON, EVALUATION, SLOT_US, Show
from onlooker.theatre.stage import Stage

S = 1_000_000
SEEDS = (0, 1, 7)


def sprites_of(show: Show, slots: range) -> list[str]:
    return [actor.sprite for number in slots for scene in show.slot(number) for actor in scene.actors]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_makes_the_same_stream(seed: int) -> None:
    one, two = Show(seed, 64.0, 32), Show(seed, 64.0, 32)
    for first, second in zip(one.frames(1.0), two.frames(1.0), strict=True):
        assert (first.time_us, first.seq) == (second.time_us, second.seq)
        assert np.array_equal(first.image, second.image)
    assert one.questions() == two.questions()


@settings(max_examples=25)
@given(seed=st.integers(0, 5), moments=st.lists(st.integers(0, 600 * S - 1), min_size=2, max_size=6))
def test_any_moment_is_drawn_without_the_past(seed: int, moments: list[int]) -> None:
    show = Show(seed, 600.0, 32)
    together = [frame.image for frame in show.frames_at(iter(moments))]
    for time_us, image in zip(reversed(moments), reversed(together), strict=True):
        fresh = Show(seed, 600.0, 32)
        assert np.array_equal(Stage(32).draw(fresh.scene_at(time_us), time_us), image)


def test_streams_of_one_seed_but_another_namespace_differ() -> None:
    """Training draws from a namespace of its own: no stream seen there comes up in an evaluation."""
    ours, theirs = Show(7, 320.0), Show(7, 320.0, namespace=EVALUATION + 1)
    assert Show(7).namespace == EVALUATION
    assert ours.roles != theirs.roles
    assert ours.planted != theirs.planted
    same = [number for number in range(20) if ours.slot(number) == theirs.slot(number)]
    assert same == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slot_is_covered_without_gap_and_its_event_lasts_4_to_8_seconds(seed: int) -> None:
    show = Show(seed, 320.0)
    for number in range(20):
        before, event, after = show.slot(number)
        assert (before.start_us, after.end_us) == (number * SLOT_US, (number + 1) * SLOT_US)
        assert (before.end_us, after.start_us) == (event.start_us, event.end_us)
        assert 4 * S <= event.end_us - event.start_us <= 8 * S
        assert {before.kind, after.kind} <= {"busy", "empty"}


@pytest.mark.parametrize("seed", SEEDS)
def test_planted_sprites_appear_once_and_absent_ones_never(seed: int) -> None:
    show = Show(seed, 1600.0)
    common, absent, planted = show.roles
    assert sorted(common + absent + planted) == sorted(SPRITES)
    assert (len(common), len(absent)) == (COMMON, ABSENT)
    slots = range(100)
    shown = Counter(name for number in slots for name in {*sprites_of(show, range(number, number + 1))})
    assert not shown.keys() & set(absent)
    assert {shown[name] for name in planted} == {1}
    cast = [name for _, sprites in show.planted.values() for name in sprites]
    assert sorted(cast) == sorted(planted)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_questions_kinds_are_balanced(seed: int) -> None:
    kinds = Counter(question.kind for question in Show(seed, 1200.0).questions())
    assert kinds.keys() == set(KINDS) - {"present"}
    for group in (("place", "neighbour", "motion", "count", "text"), ("colour", "when")):
        counts = [kinds[kind] for kind in group]
        assert max(counts) - min(counts) <= 3
    assert kinds["order"] >= 5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("asked_us", [None, 300 * S])
def test_presence_is_answered_yes_as_often_as_no(seed: int, asked_us: int | None) -> None:
    show = Show(seed, 600.0)
    answers = Counter(question.answer for question in show.questions(asked_us) if question.kind == "presence")
    assert answers["yes"] == answers["no"] > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_questions_are_about_what_is_over_when_they_are_asked(seed: int) -> None:
    show = Show(seed, 600.0)
    for question in show.questions(200 * S):
        assert question.asked_us == 200 * S
        assert all(0 <= start < end <= 200 * S for start, end in question.spans_us)
        assert (question.answer == "no") == (not question.spans_us)


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_what_the_stage_shows(seed: int) -> None:
    show = Show(seed, 600.0)
    for question in show.questions():
        scenes = [show.scene_at(start) for start, _ in question.spans_us]
        assert [(scene.start_us, scene.end_us) for scene in scenes] == list(question.spans_us)
        for scene in scenes:
            named = {name for name in SPRITES if name in question.text.replace("?", " ").replace(",", " ").split()}
            named |= {name for name in SPRITES if plural(name) in question.text.replace("?", " ").split()}
            assert named & {actor.sprite for actor in scene.actors}
        if question.kind == "colour":
            assert question.answer == scenes[0].backdrop.colour
        elif question.kind == "count":
            assert question.answer == str(len(scenes[0].actors))
        elif question.kind == "text":
            assert scenes[0].sign is not None and question.answer == scenes[0].sign.word
        elif question.kind == "neighbour":
            assert question.answer.removeprefix("the ") in {actor.sprite for actor in scenes[0].actors}


@pytest.mark.parametrize("held_out", [False, True])
def test_the_last_wording_of_each_kind_is_held_out(held_out: bool) -> None:
    rng = np.random.default_rng(0)
    for kind, known in WORDINGS.items():
        drawn = {wording(rng, kind, "dog", "fox", held_out=held_out) for _ in range(200)}  # type: ignore[arg-type]
        last = known[-1].format(x="dog", y="fox", xs="dogs")
        assert (drawn == {last}) if held_out else (last not in drawn and len(drawn) == len(known) - 1)


def test_a_present_question_names_what_is_there_then() -> None:
    show = Show(3, 320.0)
    for second in range(0, 320, 7):
        question = show.present_question(second * S)
        scene = show.scene_at(second * S)
        assert question.answer == things_of(scene)
        for actor in scene.actors:
            assert actor.sprite in question.answer or plural(actor.sprite) in question.answer
        if not scene.actors:
            assert question.answer == "nothing"


@pytest.mark.parametrize(
    ("answer", "reply", "right"),
    [
        ("the crown", "The crown.", True),
        ("the crown", " the crown ", True),
        ("the crown", "the crowns", False),
        ("the crown", "", False),
    ],
)
def test_a_reply_is_right_when_the_words_are(answer: str, reply: str, right: bool) -> None:
    assert Question("?", answer, "neighbour", ((0, S),), 2 * S).accepts(reply) is right


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("at 3:25", True),
        ("3:25", True),
        ("at 3:31", True),
        ("at 3:24", True),  # a second of grace: a stamp is rounded down
        ("at 3:23", False),
        ("at 3:32", False),
        ("at 0:03:25", True),
        ("at noon", False),
        ("not seen", False),
    ],
)
def test_a_time_is_right_anywhere_in_the_span(reply: str, right: bool) -> None:
    question = Question("?", "at 3:25", "when", ((205_500_000, 211_900_000),), 600 * S)
    assert question.accepts(reply) is right


@given(st.integers(0, 400 * 3600))
def test_a_clock_is_read_as_it_is_written(seconds: int) -> None:
    assert seconds_of(clock_of(seconds * S + 999_999)) == seconds


@pytest.mark.parametrize("text", ["", "3", "3:x", "1:2:3:4", "-1:20"])
def test_what_is_no_clock_has_no_seconds(text: str) -> None:
    assert seconds_of(text) is None


@pytest.mark.parametrize(("name", "many"), [("dog", "dogs"), ("fox", "foxes"), ("bus", "buses"), ("couch", "couches")])
def test_plurals(name: str, many: str) -> None:
    assert plural(name) == many


def test_no_sprite_s_name_is_another_one_s_plural() -> None:
    assert len({*SPRITES, *map(plural, SPRITES)}) == 2 * len(SPRITES)


def test_order_is_answered_in_the_question_s_own_terms() -> None:
    assert order_answer("which came first, the dog or the fox?", "dog", "fox", True) == "the dog"
    assert order_answer("which came first, the dog or the fox?", "dog", "fox", False) == "the fox"
    assert order_answer("was the dog before or after the fox?", "dog", "fox", True) == "before"
    assert order_answer("was the dog before or after the fox?", "dog", "fox", False) == "after"


def test_frames_keep_their_rate_within_a_range() -> None:
    show = Show(2, 32.0, 16)
    assert [frame.time_us for frame in show.frames(8.0, 1_000_000, 2_000_000)] == list(range(S, 2 * S, 125_000))
    assert len(list(show.frames(8.0))) == 256
    assert [frame.time_us for frame in show.frames(3.0, end_us=S)] == [0, 333_333, 666_667]


def test_a_show_shorter_than_a_slot_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 s"):
        Show(1, 15.0)
