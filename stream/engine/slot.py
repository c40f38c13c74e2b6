"""A slot for one frame: the newest one waits here for the model, in an array of the session's own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...frame import Frame


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """Hold a frame that waits.

    arrived: when it came, by time.monotonic().  lent: its array goes back to the pool.  after_gap: the stream was away
    before it.
    """

    frame: Frame
    arrived: float
    lent: bool
    after_gap: bool = False


class FramePool:
    """Lend arrays for copies of frames, so that a loop of many frames a second makes no new ones.

    Not safe for use by several threads at once.
    """

    MOST = 3  # one waits, one is in work, one is being written

    def __init__(self) -> None:
        self._free: list[NDArray[np.uint8]] = []

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that nobody has."""
        return sum(array.nbytes for array in self._free)

    def lend(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Give an array of a shape; what it holds is left over."""
        for place, array in enumerate(self._free):
            if array.shape == shape:
                return self._free.pop(place)
        return np.empty(shape, dtype=np.uint8)

    def give_back(self, array: NDArray[np.uint8]) -> None:
        """Take an array back; those of another shape are let go, since the stream's size has changed."""
        self._free = [other for other in self._free if other.shape == array.shape][: self.MOST - 1]
        self._free.append(array)


def write(image: NDArray[np.uint8], into: NDArray[np.uint8]) -> None:
    """Copy a picture into an array of its shape.

    numpy would give the interpreter's lock away meanwhile, and then wait up to 5 ms for the model's thread to give it
    back; a plain copy of 6 MB takes less than one.
    """
    if image.flags.c_contiguous and into.flags.c_contiguous:
        into.data.cast("B")[:] = image.data.cast("B")
    else:
        into[...] = image
