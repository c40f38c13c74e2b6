"""Pictures that are handed over, checked as far as that takes no time."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import SourceError
from ..stream.protocol.errors import EventError
from ..stream.protocol.picture import read_picture
from ..stream.protocol.server_events import SessionLimits


def checked_picture(frame: ArrayLike | bytes, limits: SessionLimits) -> NDArray[np.generic] | bytes:
    """Give a picture as the bytes of a JPEG, PNG or WebP, or as an array [H, W], [H, W, 1, 3 or 4], which is no copy.

    Raises SourceError for what is no picture, or has more pixels or bytes than the server takes.
    """
    if isinstance(frame, bytes | bytearray | memoryview):
        return _checked_file(bytes(frame), limits)
    array = np.asarray(frame)
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not fits or 0 in array.shape or not (array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)):
        raise SourceError(
            f"cannot read a picture of {array.dtype} {list(array.shape)}; "
            "give uint8, or float in 0..1, [H, W] or [H, W, 1, 3 or 4]"
        )
    _check_pixels(array.shape[0] * array.shape[1], limits)
    return array


def _checked_file(data: bytes, limits: SessionLimits) -> bytes:
    if len(data) > limits.max_frame_bytes:
        raise SourceError(
            f"the picture has {len(data)} bytes; the server takes {limits.max_frame_bytes}: send a smaller one"
        )
    try:
        _check_pixels(read_picture(data).pixels, limits)
    except EventError as error:
        raise SourceError(f"{error.message}; {error.remedy}") from None
    return data


def _check_pixels(pixels: int, limits: SessionLimits) -> None:
    if pixels > limits.max_pixels:
        raise SourceError(f"the picture has {pixels} pixels; the server takes {limits.max_pixels}: send a smaller one")
