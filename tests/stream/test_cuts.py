"""Cuts stand out from what went before, and fades go one way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onlooker.stream.cuts import TRAIL, blend_of, content_change, histogram_change, is_flat, is_jump


def cells(seed: int, low: int = 20, high: int = 230) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(low, high, (32, 32, 3), dtype=np.uint8)


def test_content_counts_hue_only_where_there_is_colour() -> None:
    grey, warm = np.full((8, 8, 3), 128, np.uint8), np.full((8, 8, 3), (129, 128, 127), np.uint8)
    cold = np.full((8, 8, 3), (127, 128, 129), np.uint8)
    assert content_change(grey, grey) == 0.0
    assert content_change(warm, cold) < 2.0  # opposite hues of what is almost grey
    red, green = np.full((8, 8, 3), (200, 0, 0), np.uint8), np.full((8, 8, 3), (0, 200, 0), np.uint8)
    assert content_change(red, green) > 25.0


def test_hue_is_a_circle() -> None:
    one, other = np.full((8, 8, 3), (200, 0, 6), np.uint8), np.full((8, 8, 3), (200, 6, 0), np.uint8)
    assert content_change(one, other) < 5.0


@given(st.integers(0, 99), st.integers(0, 99))
def test_the_histogram_does_not_care_where_things_are(seed: int, order: int) -> None:
    picture = cells(seed)
    mixed = np.random.default_rng(order).permutation(picture.reshape(-1, 3)).reshape(picture.shape)
    assert histogram_change(picture, mixed) == 0.0
    assert histogram_change(np.full_like(picture, 100), np.full_like(picture, 107)) == 7.0


@pytest.mark.parametrize(
    ("content", "usual", "jump"),
    [(30.0, 1.0, True), (30.0, 9.0, True), (30.0, 11.0, False), (7.0, 0.1, False), (30.0, 29.0, False)],
)
def test_a_jump_stands_out_from_the_frames_before(content: float, usual: float, jump: bool) -> None:
    assert is_jump(content, np.full(TRAIL, usual, np.float32), 100) is jump


def test_only_what_was_seen_counts() -> None:
    trail = np.zeros(TRAIL, np.float32)
    trail[-2:] = 20.0
    assert is_jump(25.0, trail, 100)  # against fourteen that stood still
    assert not is_jump(25.0, trail, 2)
    assert is_jump(25.0, trail, 0) and not is_jump(1.0, trail, 0)


def test_every_step_of_a_blend_goes_the_same_way() -> None:
    old, new = cells(1), cells(2)
    steps = [np.round(old + (new.astype(float) - old) * share).astype(np.uint8) for share in (0.4, 0.5)]
    blend = blend_of(old, steps[0], steps[1], 0.5)
    assert blend.gentle(80_000) and blend.alike > 0.95 and blend.spread > 0.5
    assert blend.along == pytest.approx(np.abs(new.astype(float) - old).mean() / 10, rel=0.1)
    back = blend_of(old, steps[1], steps[0], 0.5)
    assert not back.gentle(80_000) and back.along < 0


def test_a_thing_that_appears_is_no_blend() -> None:
    old = cells(1)
    new = old.copy()
    new[4:12, 4:12] = 255
    assert not blend_of(old, old, new, 0.5).gentle(80_000)


def test_a_faint_thing_in_noise_is_no_blend() -> None:
    chance = np.random.default_rng(0)
    old = np.full((32, 32, 3), 120, np.uint8)
    new = np.clip(old + chance.normal(0, 1.0, old.shape), 0, 255).astype(np.uint8)
    new[4:7, 4:7] = 130
    assert not blend_of(old, old, new, 1.0).gentle(80_000)


def test_what_moves_all_over_is_no_blend() -> None:
    picture = cells(1)
    assert not blend_of(picture, np.roll(picture, 2, axis=1), np.roll(picture, 4, axis=1), 0.5).gentle(80_000)


def test_nothing_blends_into_nothing() -> None:
    assert blend_of(cells(1), cells(1), cells(1), 0.0).along == 0.0
    assert is_flat(np.full((32, 32, 3), (0, 100, 200), np.uint8)) and not is_flat(cells(1))
