"""Thumbnails: the small pictures that the keyframe gate compares in place of frames."""

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

VIEW = 96
"""Most pixels along a side of the picture that camera motion is found on."""

_POINTS = 12


def thin(image: Picture, grid: int) -> Picture:
    """Take at most 12 x 12 points a cell of a picture; averaging all of 8K would cost 100 times as much."""
    height, width = image.shape[:2]
    size = (min(_POINTS * grid, width), min(_POINTS * grid, height))
    picture: Picture = np.ascontiguousarray(image)
    if size != (width, height):
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    return picture


def cells_of(picture: Picture, grid: int) -> Picture:
    """Average a picture over at most grid x grid cells; a picture smaller than that keeps its own size.

    The answer never shares memory with the picture.
    """
    height, width = picture.shape[:2]
    size = (min(grid, width), min(grid, height))
    if size == (width, height):
        return picture.copy()
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def view_of(picture: Picture) -> Picture:
    """Shrink a thinned picture to at most VIEW x VIEW, halving it as often as that goes: 2 x 2 is the fast way.

    The answer never shares memory with the picture.
    """
    small = picture
    while min(small.shape[:2]) >= 2 * VIEW and not (small.shape[0] % 2 or small.shape[1] % 2):
        size = (small.shape[1] // 2, small.shape[0] // 2)
        small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    height, width = small.shape[:2]
    size = (min(VIEW, width), min(VIEW, height))
    if size != (width, height):
        return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return small.copy() if small is picture else small


def median_of(levels: Picture) -> float:
    """Return the median of whole grey levels to a fraction of one: each level stands for half a level either side."""
    counts = np.bincount(levels.reshape(-1), minlength=256)
    below = np.cumsum(counts)
    half = levels.size / 2.0
    level = int(np.searchsorted(below, half))
    low = max(0.0, level - 0.5)
    inside = (half - float(below[level] - counts[level])) / float(counts[level])
    return low + inside * (level + 0.5 - low)
