"""One picture of a stream and the moment it was taken."""

import operator
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import SourceError


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Hold one frame of a stream.

    image: uint8 [H, W, 3], RGB.  time_us: stream time in microseconds, from the container's presentation time
    stamp or the capture clock.  seq: the frame's number in its source, counted from 0 and never reused.  Raises
    SourceError for another image, and for a time or a number that is not whole; numpy's integers become int.
    """

    image: NDArray[np.uint8]
    time_us: int
    seq: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        image: object = self.image
        if not isinstance(image, np.ndarray):
            raise SourceError(
                f"a frame's image must be a uint8 array [H, W, 3], not {type(image).__name__}; "
                "Frame.from_array() accepts what numpy can make an array of"
            )
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise SourceError(
                f"a frame's image must be uint8 [H, W, 3] RGB with H, W >= 1, not {image.dtype} {list(image.shape)}; "
                "Frame.from_array() accepts grey, RGBA and float pictures"
            )
        object.__setattr__(self, "time_us", _whole("time", self.time_us, "whole microseconds"))
        object.__setattr__(self, "seq", _whole("number", self.seq, "a whole number"))

    @classmethod
    def from_array(cls, image: ArrayLike, time_us: int, seq: int = 0, source: str = "") -> "Frame":
        """Make a frame from grey [H, W], [H, W, 1], RGB or RGBA [H, W, 4] (alpha over black), uint8 or float in 0..1.

        image: an array, or what numpy can make one of.  Raises SourceError for any other shape or type.
        """
        picture = _array(image)
        if picture.ndim == 2:
            picture = picture[:, :, None]
        if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4) or 0 in picture.shape:
            raise SourceError(
                f"cannot read a picture of shape {list(picture.shape)}; give [H, W], or [H, W, 1, 3 or 4]"
            )
        if np.issubdtype(picture.dtype, np.floating):
            picture = (np.clip(np.nan_to_num(picture), 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
        elif picture.dtype != np.uint8:
            raise SourceError(f"cannot read a picture of type {picture.dtype}; give uint8, or float in 0..1")
        if picture.shape[2] == 1:
            picture = np.repeat(picture, 3, axis=2)
        elif picture.shape[2] == 4:
            wide = picture.astype(np.uint16)
            picture = (wide[:, :, :3] * wide[:, :, 3:] // 255).astype(np.uint8)
        return cls(np.ascontiguousarray(picture, dtype=np.uint8), time_us, seq, source)


def _array(image: ArrayLike) -> NDArray[np.generic]:
    try:
        return np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SourceError(
            f"cannot read a picture of type {type(image).__name__}: {error}; give an array [H, W], or [H, W, 1, 3 or 4]"
        ) from error


def _whole(what: str, value: SupportsIndex, wanted: str) -> int:
    """Give a whole number as int.  Raises SourceError for anything else, such as 1.5 or NaN."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise SourceError(f"a frame's {what} is {value!r}; give {wanted}") from error
