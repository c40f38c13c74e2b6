from itertools import pairwise

import numpy as np
import pytest

from onlooker.theatre.cast import SPRITES
from onlooker.theatre.stage import Actor, Backdrop, Camera, Scene, Stage
from onlooker.theatre.stress import ACT_US, STRAINS, StressShow

S = 1_000_000
SEEDS = (0, 1, 7)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_makes_the_same_stream_and_questions(seed: int) -> None:
    one, two = StressShow(seed, 32), StressShow(seed, 32)
    for first, second in zip(one.frames(0.2), two.frames(0.2), strict=True):
        assert np.array_equal(first.image, second.image)
    assert one.questions() == two.questions()
    assert one.questions() != StressShow(seed + 1, 32).questions()


@pytest.mark.parametrize("seed", SEEDS)
def test_acts_cover_the_stream_without_gap(seed: int) -> None:
    show = StressShow(seed)
    scenes = [scene for act in show.acts for scene in act.scenes]
    assert scenes[0].start_us == 0
    assert scenes[-1].end_us == show.end_us == len(STRAINS) * ACT_US
    assert all(before.end_us == after.start_us for before, after in pairwise(scenes))
    assert sorted(act.strain for act in show.acts) == sorted(STRAINS)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_asked_about_appears_in_one_act_alone_and_inside_its_span(seed: int) -> None:
    show = StressShow(seed)
    for number, act in enumerate(show.acts):
        others = {a.sprite for other in show.acts if other is not act for s in other.scenes for a in s.actors}
        for one in act.facts:
            assert one.sprite not in others
            assert number * ACT_US <= one.span_us[0] < one.span_us[1] <= (number + 1) * ACT_US
            middle = sum(one.span_us) // 2
            assert one.sprite in {actor.sprite for actor in show.scene_at(middle).actors}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_strain_is_asked_about_and_half_of_the_presence_questions_are_answered_no(seed: int) -> None:
    asked = StressShow(seed).questions()
    counts = {strain: sum(one.strain == strain for one in asked) for strain in STRAINS}
    assert min(counts.values()) >= 8
    presence = [one.question for one in asked if one.question.kind == "presence"]
    assert sum(question.answer == "no" for question in presence) * 2 == len(presence)
    named = {actor.sprite for act in StressShow(seed).acts for scene in act.scenes for actor in scene.actors}
    assert not named & set(StressShow(seed).absent)
    assert named <= set(SPRITES)


def test_some_strains_alone_make_a_shorter_stream() -> None:
    show = StressShow(3, 32, strains=("text", "bursts"))
    assert show.end_us == 2 * ACT_US
    assert {one.strain for one in show.questions()} == {"text", "bursts"}


def test_a_thing_fades_in_and_is_gone_outside_of_its_time() -> None:
    cloth = Backdrop("grey", "plain")
    actor = Actor("dog", (0.5, 0.5), (0.5, 0.5), 0.5, (10 * S, 30 * S), 10 * S)
    scene, stage = Scene(0, 40 * S, "solo", cloth, (actor,)), Stage(64)
    empty = stage.draw(Scene(0, 40 * S, "empty", cloth), 0).astype(int)
    shown = [int(np.abs(stage.draw(scene, t * S).astype(int) - empty).sum()) for t in (5, 12, 15, 20, 29, 30)]
    assert shown[0] == shown[5] == 0
    assert 0 < shown[1] < shown[2] < shown[3] == shown[4]


def test_a_camera_moves_all_of_the_picture_and_no_further_than_it_says() -> None:
    camera = Camera(0.06, 0.015, 5)
    offsets = np.array([camera.offset(n * 100_000) for n in range(600)])
    assert np.abs(offsets).max() <= 0.075 + 1e-9
    assert np.abs(offsets).max() > 0.05
    scene = Scene(0, 60 * S, "empty", Backdrop("red", "checks"), camera=camera)
    stage = Stage(64)
    pictures = [stage.draw(scene, n * 500_000) for n in range(20)]
    assert all(not np.array_equal(a, b) for a, b in pairwise(pictures))
