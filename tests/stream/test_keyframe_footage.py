"""What the keyframe gate makes of footage: hands that shake, cameras that pan, light that changes, edited video."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from onlooker.frame import Frame
from onlooker.stream.keyframes import GateDecision, GateSettings, KeyframeGate
from onlooker.theatre.show import Show

Picture = NDArray[np.uint8]

STEP_US = 80_000
BARE = GateSettings(most_exposure=0.0, most_fresh=0.0, most_fade_us=0)


def place(seed: int = 0, width: int = 900, height: int = 360) -> Picture:
    """Draw a place with texture at several scales, larger than what a camera sees of it."""
    chance = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cell, weight in ((80, 0.45), (30, 0.35), (12, 0.2)):
        rough = chance.integers(20, 235, (height // cell + 1, width // cell + 1, 3)).astype(np.float32)
        total += weight * cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(total, 0, 255).astype(np.uint8)


def seen(picture: Picture, x: float, y: float, turn: float = 0.0) -> Picture:
    """Look at 320 x 240 of it, from (x, y) on."""
    c, s = np.cos(turn), np.sin(turn)
    affine = np.array([[c, -s, x], [s, c, y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, affine, (320, 240), flags=flags), dtype=np.uint8)


def hand(count: int, seed: int = 0) -> list[tuple[float, float, float]]:
    """Shake like a hand: slow sway and tremble, within 3 % of the picture."""
    t, chance = np.arange(count) * STEP_US / 1e6, np.random.default_rng(seed)
    waves = [np.sin(2 * np.pi * f * t + chance.uniform(0, 6)) for f in (0.4, 1.1, 3.1, 0.3, 0.9, 2.7, 0.35)]
    x, y = 5 * waves[0] + 3 * waves[1] + waves[2], 4 * waves[3] + 2 * waves[4] + waves[5]
    return [(float(a), float(b), float(c)) for a, b, c in zip(60 + x, 60 + y, 0.008 * waves[6], strict=True)]


def run(images: list[Picture], settings: GateSettings | None = None) -> list[GateDecision]:
    gate = KeyframeGate(settings or GateSettings(heartbeat_us=1 << 60))
    return [gate.decide(Frame(image, number * STEP_US)) for number, image in enumerate(images)]


def kept(decisions: list[GateDecision]) -> list[int]:
    return [number for number, decision in enumerate(decisions) if decision.kept]


def test_a_hand_that_shakes_costs_no_keyframes() -> None:
    chance, room = np.random.default_rng(1), place()
    images = [seen(room, *pose) for pose in hand(150)]
    images = [np.clip(image + chance.normal(0, 2, image.shape), 0, 255).astype(np.uint8) for image in images]
    assert len(kept(run(images))) <= 2
    assert len(kept(run(images, BARE))) > 40


@pytest.mark.parametrize("side", [26, 44])
def test_what_appears_before_a_shaking_camera_is_found_at_once(side: int) -> None:
    room, poses = place(), hand(120)
    with_thing = room.copy()
    cv2.circle(with_thing, (210, 190), side // 2, (250, 240, 20), -1)
    found = kept(run([seen(with_thing if n >= 60 else room, *pose) for n, pose in enumerate(poses)]))
    assert 60 in found and len(found) <= 4


def test_a_thing_that_moves_before_a_shaking_camera_is_found() -> None:
    images = []
    for n, pose in enumerate(hand(100)):
        room = place()
        if n >= 50:
            cv2.circle(room, (100 + 4 * (n - 50), 180), 20, (250, 240, 20), -1)
        images.append(seen(room, *pose))
    found = kept(run(images))
    assert len([n for n in found if n < 50]) <= 2 and len([n for n in found if n >= 50]) >= 8


def test_a_pan_keeps_what_comes_into_sight_and_no_more() -> None:
    room = place()
    images = [seen(room, 3.0 * n, 60.0) for n in range(180)]  # 1.7 pictures' widths
    found = kept(run(images))
    gaps = [3.0 * (b - a) / 320 for a, b in pairwise([*found, 180])]
    assert max(gaps) <= 0.16  # never more than a seventh of the picture that no keyframe has
    assert len(found) <= 22
    assert len(kept(run(images, BARE))) > 40


@pytest.mark.parametrize(("seed", "sigma"), [(1, 0.0), (2, 0.0), (3, 4.0)])
def test_fixed_cameras_are_judged_as_without_compensation(seed: int, sigma: float) -> None:
    chance = np.random.default_rng(seed)
    frames = list(Show(seed, 48.0, 192).frames(8.0))
    for frame in frames:
        frame.image[:] = np.clip(frame.image + chance.normal(0, sigma, frame.image.shape), 0, 255).astype(np.uint8)
    mended, bare = KeyframeGate(), KeyframeGate(BARE)
    both = [(mended.decide(frame), bare.decide(frame)) for frame in frames]
    found, wanted = kept([one for one, _ in both]), kept([other for _, other in both])
    late = [(one, other) for one, other in zip(found, wanted, strict=True) if one != other]
    # Between pictures that are much alike a cut may be a fade's first step: that shows a frame later, and only there.
    assert all(one == other + 1 and "fade" in both[one][0].reason for one, other in late)
    assert len(found) > 50 and len(late) <= 1
    calm = [n for n in range(len(both)) if n not in {m for pair in late for m in pair}]
    assert [both[n][0].changed for n in calm] == [both[n][1].changed for n in calm]
    assert [both[n][0].action for n in calm] == [both[n][1].action for n in calm]


def test_auto_exposure_costs_no_keyframes_and_hides_nothing() -> None:
    room = seen(place(), 60, 60)
    with_thing = room.copy()
    cv2.circle(with_thing, (150, 100), 14, (250, 240, 20), -1)
    gains = 1.0 + 0.05 * np.sin(np.arange(200) / 20.0)
    images = [np.clip(room * gain + 0.5, 0, 255).astype(np.uint8) for gain in gains]
    assert kept(run(images)) == [0]
    assert len(kept(run(images, BARE))) > 4
    images[100:] = [np.clip(with_thing * gain + 0.5, 0, 255).astype(np.uint8) for gain in gains[100:]]
    found = kept(run(images))
    assert 100 in found and len(found) <= 3


def test_flicker_costs_no_keyframes() -> None:
    room = seen(place(), 60, 60)
    images = [np.clip(room * (1.0 + 0.03 * np.sin(2.1 * n)) + 0.5, 0, 255).astype(np.uint8) for n in range(120)]
    assert kept(run(images)) == [0]


@pytest.mark.parametrize("left", [0.2, 0.5, 0.8])
def test_a_light_that_is_switched_off_or_on_is_found(left: float) -> None:
    room = seen(place(), 60, 60)
    dark = (room * left).astype(np.uint8)
    found = kept(run([room] * 40 + [dark] * 40 + [room] * 40))
    assert len(found) == 3 and 0 <= found[1] - 40 <= 1 and 0 <= found[2] - 80 <= 1


def test_cuts_are_told() -> None:
    rooms = [seen(place(seed), 60, 60) for seed in range(4)]
    decisions = run([rooms[n // 20] for n in range(80)])
    assert [(n, decisions[n].action) for n in kept(decisions)] == [(n, "cut") for n in (0, 20, 40, 60)]


@pytest.mark.parametrize("frames", [6, 12, 30])
def test_a_dissolve_is_kept_once_at_its_end(frames: int) -> None:
    one, other = seen(place(1), 60, 60).astype(float), seen(place(2), 60, 60).astype(float)
    shares = np.clip((np.arange(100) - 30) / frames, 0, 1)
    decisions = run([(one + share * (other - one) + 0.5).astype(np.uint8) for share in shares])
    assert kept(decisions)[0] == 0 and len(kept(decisions)) == 2
    end = kept(decisions)[1]
    assert 30 + 0.9 * frames <= end <= 30 + frames + 2 and decisions[end].action == "cut"
    assert "fade" in decisions[end].reason


@pytest.mark.parametrize("frames", [8, 15])
def test_a_fade_through_black_is_kept_once_at_its_end(frames: int) -> None:
    one, other = seen(place(1), 60, 60), seen(place(2), 60, 60)
    steps = np.arange(frames + 1) / frames
    out, back = [(one * (1 - s)).astype(np.uint8) for s in steps], [(other * s).astype(np.uint8) for s in steps]
    decisions = run([one] * 30 + out + back + [other] * 30)
    assert len(kept(decisions)) == 2
    assert 30 + 2 * frames <= kept(decisions)[1] <= 30 + 2 * frames + 4
    assert decisions[kept(decisions)[1]].action == "cut"


def test_a_fade_to_black_that_stays_is_kept() -> None:
    room = seen(place(1), 60, 60)
    images = [room] * 30 + [(room * (1 - n / 12)).astype(np.uint8) for n in range(13)] + [np.zeros_like(room)] * 60
    found = kept(run(images))
    assert len(found) == 2 and 42 <= found[1] <= 52


def test_a_fade_without_end_is_kept_on_the_way() -> None:
    one, other = seen(place(1), 60, 60).astype(float), seen(place(2), 60, 60).astype(float)
    images = [(one + n / 200 * (other - one) + 0.5).astype(np.uint8) for n in range(200)]  # 16 s
    found = kept(run(images))
    assert len(found) >= 3 and max(b - a for a, b in pairwise(found)) * STEP_US <= 6_000_000


def test_a_cut_between_pictures_that_are_much_alike_is_not_lost() -> None:
    one, other = seen(place(1), 60, 60).astype(float), seen(place(2), 60, 60).astype(float)
    near = one + 0.3 * (other - one)
    decisions = run([one.astype(np.uint8)] * 30 + [near.astype(np.uint8)] * 30)
    assert len(kept(decisions)) == 2 and kept(decisions)[1] <= 31


@pytest.mark.parametrize("split", [5, 33, 41, 55])
def test_the_state_goes_on_in_the_middle_of_everything(split: int) -> None:
    room, other = place(1), seen(place(2), 60, 60).astype(float)
    poses = hand(80)
    images = [seen(room, *pose) for pose in poses]
    images[30:50] = [(images[30] + n / 19 * (other - images[30])).astype(np.uint8) for n in range(20)]
    whole = run(images)
    first = KeyframeGate(GateSettings(heartbeat_us=1 << 60))
    head = [first.decide(Frame(image, n * STEP_US)) for n, image in enumerate(images[:split])]
    again = KeyframeGate(first.settings, first.state)
    tail = [again.decide(Frame(image, (n + split) * STEP_US)) for n, image in enumerate(images[split:])]
    assert head + tail == whole
