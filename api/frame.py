"""One picture of a stream and the moment it was taken."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import SourceError


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Hold one frame of a stream.

    image: uint8 [H, W, 3], RGB.  time_us: stream time in microseconds, from the container's presentation time
    stamp or the capture clock.  seq: the frame's number in its source, counted from 0 and never reused.
    """

    image: NDArray[np.uint8]
    time_us: int
    seq: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        image = self.image
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise SourceError(
                f"a frame's image must be uint8 [H, W, 3] RGB with H, W >= 1, not {image.dtype} {list(image.shape)}; "
                "Frame.from_array() accepts grey, RGBA and float pictures"
            )

    @classmethod
    def from_array(cls, image: NDArray[np.generic], time_us: int, seq: int = 0, source: str = "") -> "Frame":
        """Make a frame from grey [H, W], [H, W, 1], RGB or RGBA [H, W, 4] (alpha over black), uint8 or float in 0..1.

        Raises SourceError for any other shape or type.
        """
        if image.ndim == 2:
            image = image[:, :, None]
        if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
            raise SourceError(f"cannot read a picture of shape {list(image.shape)}; give [H, W], or [H, W, 1, 3 or 4]")
        if np.issubdtype(image.dtype, np.floating):
            image = (np.clip(np.nan_to_num(image), 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
        elif image.dtype != np.uint8:
            raise SourceError(f"cannot read a picture of type {image.dtype}; give uint8, or float in 0..1")
        if image.shape[2] == 1:
            image = np.repeat(image, 3, axis=2)
        elif image.shape[2] == 4:
            wide = image.astype(np.uint16)
            image = (wide[:, :, :3] * wide[:, :, 3:] // 255).astype(np.uint8)
        return cls(np.ascontiguousarray(image, dtype=np.uint8), int(time_us), seq, source)
