"""The camera's motion is found, told from things that move, and taken out."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from onlooker.stream.camera_motion import carry, find_motion

Picture = NDArray[np.uint8]
STILL = np.eye(2, 3)


def textured(seed: int = 0, side: int = 160) -> Picture:
    rough = np.random.default_rng(seed).integers(30, 220, (side // 5, side // 5, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(rough, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def moved(picture: Picture, affine: NDArray[np.float64]) -> Picture:
    """Move a picture of 160 and cut the middle out, 96 x 96: what comes in at the border was there all along."""
    shifted = affine.copy()
    shifted[:, 2] += np.array([32.0, 32.0]) - affine[:, :2] @ [32.0, 32.0]
    return np.ascontiguousarray(cv2.warpAffine(picture, shifted, (160, 160))[32:128, 32:128], dtype=np.uint8)


@pytest.mark.parametrize("shift", [(0.5, 0.0), (-3.3, 2.1), (7.0, -9.0)])
@pytest.mark.parametrize(("turn", "zoom"), [(0.0, 1.0), (0.02, 1.0), (-0.03, 1.03)])
def test_a_similarity_is_found_to_a_fraction_of_a_pixel(shift: tuple[float, float], turn: float, zoom: float) -> None:
    c, s = zoom * np.cos(turn), zoom * np.sin(turn)
    true = np.array([[c, -s, shift[0]], [s, c, shift[1]]])
    guess = np.array([[1.0, 0.0, 0.7 * shift[0]], [0.0, 1.0, 0.7 * shift[1]]])  # where it was a frame before
    motion = find_motion(moved(textured(), STILL), moved(textured(), true), 1.0, guess, False)
    assert motion is not None and motion.agreed > 0.8
    corners = np.array([[5.0, 5.0], [90.0, 5.0], [5.0, 90.0], [90.0, 90.0]])
    wrong = corners @ (motion.affine - true)[:, :2].T + (motion.affine - true)[:, 2]
    assert np.abs(wrong).max() < 0.3


def test_a_turn_is_one_in_the_frame_and_not_in_the_squeezed_view() -> None:
    wide = np.asarray(cv2.resize(textured(1, 320), (320, 160), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    c, s = np.cos(0.04), np.sin(0.04)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0]])
    turn[:, 2] = np.array([160.0, 80.0]) - turn[:, :2] @ [160.0, 80.0]
    views = []
    for affine in (STILL, turn):
        seen = cv2.warpAffine(wide, affine, (320, 160), borderMode=cv2.BORDER_REFLECT)
        views.append(np.asarray(cv2.resize(seen, (96, 96), interpolation=cv2.INTER_AREA), dtype=np.uint8))
    motion = find_motion(views[0], views[1], (160 / 96) / (320 / 96), STILL, False)
    assert motion is not None
    assert motion.affine[0, 1] == pytest.approx(-0.04 * 0.5, abs=0.004)  # x is squeezed more than y
    assert motion.affine[1, 0] == pytest.approx(0.04 / 0.5, abs=0.012)


def test_a_camera_that_stands_still_does_not_move_for_noise() -> None:
    chance = np.random.default_rng(0)
    picture = moved(textured(), STILL)
    for _ in range(20):
        noisy = np.clip(picture + chance.normal(0, 2.0, picture.shape), 0, 255).astype(np.uint8)
        assert find_motion(picture, noisy, 1.0, STILL, False) is None


def test_a_thing_that_moves_before_a_wall_is_no_camera() -> None:
    wall = np.full((96, 96, 3), 120, np.uint8)
    before, after = wall.copy(), wall.copy()
    before[20:60, 20:60] = textured(3)[:40, :40]
    after[20:60, 25:65] = textured(3)[:40, :40]
    assert find_motion(before, after, 1.0, STILL, False) is None


def test_a_thing_that_moves_before_a_texture_is_no_camera() -> None:
    before, after = moved(textured(), STILL), moved(textured(), STILL)
    before[10:60, 10:60] = textured(3)[:50, :50]
    after[10:60, 14:64] = textured(3)[:50, :50]
    assert find_motion(before, after, 1.0, STILL, False) is None


@pytest.mark.parametrize("pair", [(textured(1), textured(2)), (textured(1), textured(1)[::-1])])
def test_another_scene_is_no_motion(pair: tuple[Picture, Picture]) -> None:
    assert find_motion(*(np.ascontiguousarray(one[:96, :96]) for one in pair), 1.0, STILL, False) is None


@pytest.mark.parametrize("side", [1, 8, 47])
def test_views_too_small_to_tell_have_none(side: int) -> None:
    picture = np.ascontiguousarray(textured()[:side, :side])
    assert find_motion(picture, picture[::-1].copy(), 1.0, STILL, False) is None


def test_what_comes_into_sight_is_counted_and_not_compared() -> None:
    true = np.array([[1.0, 0.0, -12.0], [0.0, 1.0, 0.0]])
    before, after = moved(textured(), STILL), moved(textured(), true)
    then = carry(before, true, (32, 32))
    assert then.fresh == pytest.approx(12 / 96, abs=0.01)
    assert then.known[:, :27].all() and not then.known[:, 28:].any()
    now = cv2.resize(after, (32, 32), interpolation=cv2.INTER_AREA)
    assert cv2.absdiff(np.asarray(now, np.uint8), then.cells)[then.known].max() <= 2
    assert (then.low <= then.cells).all() and (then.cells <= then.high).all()
