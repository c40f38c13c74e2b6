"""The colours of a frame's cells, as a plane beside their features."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIDE = 4
"""Colours along a side of a cell."""


def cell_pixels(images: Sequence[NDArray[np.uint8]], grid: tuple[int, int]) -> Tensor:
    """Average the colours of T frames uint8 [H, W, 3], of any sizes, over 4 x 4 parts of each cell.

    grid: (h, w) cells of a frame.  Gives float32 [T * h * w, 48] within 0..1, in steps of 1/255: the parts of a cell
    row by row, each as red, green, blue.
    """
    height, width = grid
    colours = np.empty((len(images), height * SIDE, width * SIDE, 3), dtype=np.uint8)
    for number, image in enumerate(images):
        colours[number] = _averaged(image, height * SIDE, width * SIDE)
    cells = torch.from_numpy(colours).view(len(images), height, SIDE, width, SIDE, 3).permute(0, 1, 3, 2, 4, 5)
    return cells.reshape(-1, SIDE * SIDE * 3).float() / 255


def _averaged(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Bring a picture to a size by area averages."""
    if (image.shape[0] < height) == (image.shape[1] < width):
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    # OpenCV averages over areas only where no side grows while the other shrinks, so here each goes alone.
    wide = cv2.resize(image.astype(np.float32), (width, image.shape[0]), interpolation=cv2.INTER_AREA)
    return np.rint(cv2.resize(wide, (width, height), interpolation=cv2.INTER_AREA)).astype(np.uint8)
