"""A change of the light is told from a change of the scene."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onlooker.stream.exposure import brightness_step, exposure_between


def cells(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(20, 200, (32, 32, 3), dtype=np.uint8)


def lit(picture: NDArray[np.uint8], gain: float, offset: float) -> NDArray[np.uint8]:
    return np.clip(picture * gain + offset + 0.5, 0, 255).astype(np.uint8)


@given(st.floats(0.85, 1.15), st.floats(-12.0, 12.0), st.integers(0, 99))
def test_gain_and_offset_are_taken_out(gain: float, offset: float, seed: int) -> None:
    before = cells(seed)
    now = lit(before, gain, offset)
    found = exposure_between(before, now)
    assert np.abs(found.applied(before).astype(int) - now).max() <= 1
    assert found.shift == pytest.approx(np.abs(before * (gain - 1) + offset).mean(), abs=0.5)


def test_what_changed_in_a_part_stays_changed() -> None:
    before = cells()
    now = lit(before, 1.06, 1.0)
    now[5:14, 5:14] = (250, 10, 250)
    left = np.abs(exposure_between(before, now).applied(before).astype(int) - now).max(axis=2)
    assert left[5:14, 5:14].min() > 20
    left[5:14, 5:14] = 0
    assert left.max() <= 2


@pytest.mark.parametrize("level", [0, 3, 130, 255])
def test_one_colour_all_over_has_no_wild_gain(level: int) -> None:
    before = np.full((32, 32, 3), level, np.uint8)
    now = np.full((32, 32, 3), min(255, level + 5), np.uint8)
    found = exposure_between(before, now)
    assert np.isfinite(found.gain).all() and (found.gain >= 0.7).all() and (found.gain <= 1.31).all()
    assert np.abs(found.applied(before).astype(int) - now).max() <= 1 or level == 255


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2)])
def test_the_smallest_pictures_are_fitted_too(size: tuple[int, int]) -> None:
    before = np.full((*size, 3), 90, np.uint8)
    assert exposure_between(before, before).shift == pytest.approx(0.0, abs=1e-4)


def test_the_brightness_step_is_that_of_most_cells() -> None:
    before = cells()
    assert brightness_step(before, before) == 0
    assert brightness_step(before, before + np.uint8(4)) == 4
    assert brightness_step(before + np.uint8(9), before) == -9
    part = before.copy()
    part[:12] = 0
    assert brightness_step(before, part) == 0
