from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onlooker import Frame, SourceError


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 6), np.uint8),
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((4, 6, 3), np.float32),
        np.zeros((0, 6, 3), np.uint8),
        np.zeros((1, 4, 6, 3), np.uint8),
    ],
)
def test_only_rgb_bytes_are_a_frame(image: np.ndarray) -> None:
    with pytest.raises(SourceError, match=r"uint8 \[H, W, 3\].*from_array"):
        Frame(image, 0)


@pytest.mark.parametrize("image", [[[[0, 0, 0]]], None, "picture.png"])
def test_a_frame_holds_an_array(image: Any) -> None:
    with pytest.raises(SourceError, match=r"uint8 array \[H, W, 3\], not .*from_array"):
        Frame(image, 0)


@pytest.mark.parametrize("value", [1.5, 2.0, float("nan"), np.float64(3), "x", None])
def test_times_and_numbers_are_whole(value: Any) -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    for make in (Frame, Frame.from_array):
        with pytest.raises(SourceError, match=r"time is .*; give whole microseconds"):
            make(image, value)
        with pytest.raises(SourceError, match=r"number is .*; give a whole number"):
            make(image, 0, value)


def test_numpy_integers_become_int() -> None:
    time_us: Any = np.int32(2**31 - 1)
    seq: Any = np.uint8(255)
    frame = Frame(np.zeros((4, 6, 3), np.uint8), time_us, seq)
    assert (type(frame.time_us), type(frame.seq)) == (int, int)
    assert (frame.time_us + 1, frame.seq + 1) == (2**31, 256)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)))
def test_grey_becomes_three_equal_channels(grey: np.ndarray) -> None:
    for picture in (grey, grey[:, :, None]):
        image = Frame.from_array(picture, 5).image
        assert all(np.array_equal(image[:, :, channel], grey) for channel in range(3))


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))),
    st.integers(0, 255),
)
def test_alpha_is_laid_over_black(colours: np.ndarray, alpha: int) -> None:
    plane = np.full((*colours.shape[:2], 1), alpha, np.uint8)
    image = Frame.from_array(np.concatenate([colours, plane], axis=2), 0).image
    assert np.array_equal(image, colours.astype(int) * alpha // 255)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))))
def test_floats_in_0_to_1_give_back_their_bytes(colours: np.ndarray) -> None:
    for dtype in (np.float32, np.float64):
        assert np.array_equal(Frame.from_array(colours.astype(dtype) / 255, 0).image, colours)


def test_floats_outside_are_clipped_and_nan_is_black() -> None:
    picture = np.array([[-1.0, 2.0, np.nan, np.inf]], np.float32)
    assert Frame.from_array(picture, 0).image[0, :, 0].tolist() == [0, 255, 0, 255]


def test_rgb_bytes_are_taken_as_they_are() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    frame = Frame.from_array(image, 1_500_000, seq=7, source="talk.mp4")
    assert np.array_equal(frame.image, image)
    assert (frame.time_us, frame.seq, frame.source) == (1_500_000, 7, "talk.mp4")


def test_a_view_becomes_contiguous() -> None:
    image = np.zeros((4, 6, 3), np.uint8)[:, ::-1]
    assert Frame.from_array(image, 0).image.flags["C_CONTIGUOUS"]


def test_what_numpy_makes_an_array_of_is_a_picture() -> None:
    assert Frame.from_array([[0.0, 1.0]], 0).image[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("image", [[[1, 2], [3]], [[1, 2], [3, 4]], None, "picture.png", object(), {1: 2}])
def test_what_is_no_picture_is_refused(image: Any) -> None:
    with pytest.raises(SourceError, match="cannot read a picture"):
        Frame.from_array(image, 0)


@pytest.mark.parametrize("shape", [(4,), (4, 6, 2), (4, 6, 5), (0, 6), (2, 4, 6, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SourceError, match="shape"):
        Frame.from_array(np.zeros(shape, np.uint8), 0)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.bool_, np.complex64])
def test_other_types_are_refused(dtype: type[np.generic]) -> None:
    with pytest.raises(SourceError, match=r"float in 0\.\.1"):
        Frame.from_array(np.zeros((4, 6, 3), dtype), 0)
