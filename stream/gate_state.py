"""The keyframe gate's memory: what it knows of a stream, in a size that never changes."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .camera_motion import Affine
from .cuts import TRAIL
from .thumbnails import Picture


def still_camera() -> Affine:
    """Give the motion of a camera that stands still."""
    return np.eye(2, 3)


def _no_trail() -> NDArray[np.float32]:
    return np.zeros(TRAIL, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class GateState:
    """Hold all that a gate remembers; its size never changes.

    kept, last: uint8 [rows, columns, 3], thumbnails of the last kept frame and of the last frame.  view: uint8
    [h, w, 3], a larger one of the last kept frame, that camera motion is found on.  kept_us, last_us: times of the last
    keyframe and of the last frame.  shape: height and width of the last frame.  noise: standard deviation of a cell's
    difference between two frames of an unchanging scene.  seen: differences that it was learned from, counted up to
    100.  affine: float64 [2, 3], how the camera moved since the kept frame, as far as that was found.  trail: float32
    [16], content changes of the frames before, the newest last.  moved_us: when the camera was last found to move.
    fade_us: when the fade began that goes on.  flat_us: since when that shows one flat colour; `kept` and `view` are
    that colour then.  None for what never was, or is not.
    """

    kept: Picture
    last: Picture
    view: Picture
    kept_us: int
    last_us: int
    shape: tuple[int, int]
    noise: float = 0.0
    seen: int = 0
    affine: Affine = field(default_factory=still_camera)
    trail: NDArray[np.float32] = field(default_factory=_no_trail)
    moved_us: int | None = None
    fade_us: int | None = None
    flat_us: int | None = None
