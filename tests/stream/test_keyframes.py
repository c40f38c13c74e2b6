import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onlooker.errors import SettingsError
from onlooker.frame import Frame
from onlooker.stream.keyframes import GateDecision, GateSettings, GateState, KeyframeGate

STEP_US = 125_000
WARM_UP = 12


def scene(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Make a smooth picture with texture, within 30..220 so that noise is not clipped away."""
    chance = np.random.default_rng(seed)
    rough = chance.integers(30, 220, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(rough, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def noisy(image: NDArray[np.uint8], sigma: float, chance: np.random.Generator) -> NDArray[np.uint8]:
    return np.clip(image + chance.normal(0.0, sigma, image.shape), 0, 255).astype(np.uint8)


def run(gate: KeyframeGate, images: list[NDArray[np.uint8]], start: int = 0) -> list[GateDecision]:
    return [gate.decide(Frame(image, (start + index) * STEP_US)) for index, image in enumerate(images)]


def actions(decisions: list[GateDecision]) -> list[str]:
    return [decision.action for decision in decisions]


sizes = st.sampled_from([(320, 240), (160, 120), (100, 75), (64, 48), (33, 31)])


@settings(max_examples=15)
@given(size=sizes, sigma=st.floats(0.0, 12.0), seed=st.integers(0, 1000))
def test_a_still_scene_with_noise_gives_heartbeats_alone(size: tuple[int, int], sigma: float, seed: int) -> None:
    chance = np.random.default_rng(seed)
    gate = KeyframeGate()
    still = scene(*size, seed=seed)
    run(gate, [noisy(still, sigma, chance) for _ in range(WARM_UP)])  # the noise is being learned
    kept_us = gate.state.kept_us if gate.state else 0
    for index in range(WARM_UP, WARM_UP + 100):
        decision = gate.decide(Frame(noisy(still, sigma, chance), index * STEP_US))
        due = index * STEP_US - kept_us >= 10_000_000
        assert decision.action == ("heartbeat" if due else "skip")
        kept_us = index * STEP_US if due else kept_us


@settings(max_examples=20)
@given(
    size=st.sampled_from([(320, 240), (224, 224), (112, 112), (256, 144)]),
    place=st.tuples(st.floats(0.0, 0.9), st.floats(0.0, 0.8)),
    sigma=st.floats(0.0, 6.0),
    hue=st.sampled_from([(230, 40, 40), (40, 200, 60), (250, 250, 250), (10, 10, 10)]),
    seed=st.integers(0, 1000),
)
def test_a_sprite_of_a_twelfth_of_the_width_triggers_at_once(
    size: tuple[int, int], place: tuple[float, float], sigma: float, hue: tuple[int, int, int], seed: int
) -> None:
    chance = np.random.default_rng(seed)
    width, height = size
    still = np.full((height, width, 3), 120, np.uint8)
    gate = KeyframeGate()
    before = actions(run(gate, [noisy(still, sigma, chance) for _ in range(30)]))
    side = round(width * 0.08)
    left, top = round(place[0] * (width - side)), round(place[1] * (height - side))
    with_sprite = still.copy()
    cv2.circle(with_sprite, (left + side // 2, top + side // 2), side // 2, hue, -1)
    after = actions(run(gate, [noisy(with_sprite, sigma, chance) for _ in range(10)], start=30))
    gone = actions(run(gate, [noisy(still, sigma, chance)], start=40))
    assert before[WARM_UP:] == ["skip"] * (30 - WARM_UP)
    assert after == ["keep"] + ["skip"] * 9
    assert gone == ["keep"]


def test_a_change_of_hue_at_equal_brightness_triggers() -> None:
    still = np.full((240, 320, 3), 128, np.uint8)
    red, green = still.copy(), still.copy()
    red[100:130, 100:130] = (200, 97, 97)
    green[100:130, 100:130] = (73, 155, 120)
    luma = cv2.cvtColor(np.stack([red[110, 110], green[110, 110]])[None], cv2.COLOR_RGB2GRAY)[0]
    assert abs(int(luma[0]) - int(luma[1])) <= 3
    gate = KeyframeGate()
    assert actions(run(gate, [red] * 20 + [green] * 3)) == ["cut"] + ["skip"] * 19 + ["keep", "skip", "skip"]


def test_a_cut_is_told_from_a_change() -> None:
    gate = KeyframeGate()
    first, second = scene(320, 240, 1), 255 - scene(320, 240, 1)
    decisions = run(gate, [first] * 20 + [second] * 20)
    assert actions(decisions) == ["cut"] + ["skip"] * 19 + ["cut"] + ["skip"] * 19
    assert decisions[20].changed > 0.5
    assert "%" in decisions[20].reason
    assert decisions[20].kept and not decisions[21].kept


def test_slow_change_adds_up_against_the_last_kept_frame() -> None:
    images = [np.full((120, 160, 3), 60 + step // 4, np.uint8) for step in range(200)]  # a quarter level a frame
    kept = [index for index, decision in enumerate(run(KeyframeGate(), images)) if decision.action == "keep"]
    assert 4 <= len(kept) <= 12


def test_noise_does_not_keep_every_frame_though_it_exceeds_the_least_change() -> None:
    chance = np.random.default_rng(3)
    still = scene(64, 48)
    loud = run(KeyframeGate(), [noisy(still, 14.0, chance) for _ in range(70)])
    assert actions(loud)[WARM_UP:] == ["skip"] * (70 - WARM_UP)
    chance = np.random.default_rng(3)
    deaf = GateSettings(noise_factor=0.0)
    fixed = run(KeyframeGate(deaf), [noisy(still, 14.0, chance) for _ in range(70)])
    assert actions(fixed).count("skip") < 5  # the running estimate is what makes the difference


def test_lasting_motion_is_not_mistaken_for_noise() -> None:
    texture = np.asarray(cv2.resize(scene(64, 48, 5), (640, 240), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    # The halves move against each other, which no camera does.
    halves = [(np.roll(texture, -6 * n, axis=1), np.roll(texture, 6 * n, axis=1)) for n in range(150)]
    crowd = [np.ascontiguousarray(np.concatenate([a[:120, :320], b[120:, :320]])) for a, b in halves]
    assert actions(run(KeyframeGate(), crowd)).count("skip") < 75


@settings(max_examples=20)
@given(split=st.integers(0, 60), seed=st.integers(0, 100))
def test_carrying_the_state_over_changes_nothing(split: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    images = [scene(96, 64, seed=int(chance.integers(0, 4)) if chance.random() < 0.2 else 0) for _ in range(60)]
    whole = run(KeyframeGate(), images)
    first = KeyframeGate()
    head = run(first, images[:split])
    tail = run(KeyframeGate(first.settings, first.state), images[split:], start=split)
    assert head + tail == whole


def test_a_decision_depends_on_the_past_alone() -> None:
    chance = np.random.default_rng(0)
    images = [noisy(scene(96, 64, seed=index // 15), 4.0, chance) for index in range(60)]
    whole = run(KeyframeGate(), images)
    for end in (1, 14, 16, 40):
        assert run(KeyframeGate(), images[:end]) == whole[:end]


def arrays(state: GateState) -> dict[str, NDArray[np.generic]]:
    held = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: value for name, value in held.items() if isinstance(value, np.ndarray)}


def test_the_state_never_grows_and_is_never_changed_in_place() -> None:
    chance = np.random.default_rng(0)
    gate = KeyframeGate()
    sizes = set()
    for index in range(300):
        before = arrays(gate.state) if gate.state else {}
        copies = {name: array.copy() for name, array in before.items()}
        image = scene(200, 150, seed=index // 40)
        if index % 3 == 0:
            image = np.roll(image, index % 7, axis=1)
        gate.decide(Frame(noisy(image, 5.0, chance), index * STEP_US))
        assert all(np.array_equal(before[name], copies[name]) for name in before)
        assert gate.state is not None
        sizes.add(tuple((name, array.nbytes) for name, array in arrays(gate.state).items()))
        assert gate.state.seen <= 100
    cells, view = 32 * 32 * 3, 96 * 96 * 3
    assert sizes == {(("kept", cells), ("last", cells), ("view", view), ("affine", 48), ("trail", 64))}


def test_the_thumbnail_is_not_the_callers_memory() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    gate = KeyframeGate()
    gate.decide(Frame(image, 0))
    image[:] = 255
    assert gate.decide(Frame(np.zeros((8, 8, 3), np.uint8), STEP_US)).action == "skip"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 500), (500, 1), (3, 2), (31, 33), (4000, 3)])
def test_odd_sizes_are_compared_too(width: int, height: int) -> None:
    dark, light = np.full((height, width, 3), 20, np.uint8), np.full((height, width, 3), 230, np.uint8)
    assert actions(run(KeyframeGate(), [dark, dark, light, light])) == ["cut", "skip", "cut", "skip"]


def test_a_change_of_size_starts_a_new_scene() -> None:
    gate = KeyframeGate()
    decisions = run(gate, [scene(320, 240), scene(320, 240), scene(240, 320), scene(240, 320)])
    assert actions(decisions) == ["cut", "skip", "cut", "skip"]
    assert "240x320" in decisions[2].reason


def test_views_with_negative_strides_are_read() -> None:
    image = scene(320, 240)
    gate = KeyframeGate()
    assert actions(run(gate, [image[:, ::-1], np.ascontiguousarray(image[:, ::-1])])) == ["cut", "skip"]


@pytest.mark.parametrize(
    "options",
    [
        {"grid": 2},
        {"grid": 999},
        {"least_cells": 0},
        {"cut_fraction": 0.0},
        {"heartbeat_us": 0},
        {"least_change": -1.0},
        {"most_fresh": 0.9},
        {"most_exposure": -1.0},
        {"most_fade_us": -1},
    ],
)
def test_bad_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        GateSettings(**options)  # type: ignore[arg-type]
