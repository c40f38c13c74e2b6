"""Camera motion: how the whole picture moved between two views, and what a picture shows besides."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .thumbnails import Picture

_TILE = 16  # one corner is followed in each tile of so many pixels
_LEAST_SIDE = 48
_LEAST_CORNER = 1e-4  # smaller eigenvalue of a 3 x 3 gradient matrix, as OpenCV scales it: below is noise or an edge
_LEAST_TILES = 0.5  # share of the tiles that must have a corner: a few things before a plain wall tell nothing
_LEAST_SHARE = 0.65  # of the followed corners that must move as one
_SECTORS = 4  # along each side; they must lie in so many of the 16, so that no single thing passes for the camera
_LEAST_SECTORS = 11
_WRONG_PX = 0.35
_STILL_PX = 0.1
_MOST_STILL = 0.2  # of the corners that should have moved: something stands still behind what moves
_MOST_LEVELS = 24.0  # mean difference around a corner that was found again
_LEAST_MOVE_PX = 0.25  # less is what noise does to a camera that stands still
_LEAST_MOVING_PX = 0.04
_MOST_MOVE = 0.4
_MOST_TURN = 0.15  # of the picture's axes, as a share: rotation and zoom together
_RING = np.ones((3, 3), np.uint8)

Affine = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Say how the picture moved.

    affine: float64 [2, 3], from a place (x, y) in the earlier view to the same thing's place in the later one, in
    pixels of the view.  agreed: share of the followed corners that moved so.
    """

    affine: Affine
    agreed: float


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """Hold an earlier view as the camera would see it now, in cells.

    cells: uint8 [rows, columns, 3].  low, high: bounds of what a cell may show if the motion is wrong by a pixel of
    the view.  known: bool [rows, columns], cells that the earlier view has all of.  fresh: share of the picture that
    it has not.
    """

    cells: Picture
    low: Picture
    high: Picture
    known: NDArray[np.bool_]
    fresh: float


def find_motion(before: Picture, now: Picture, aspect: float, guess: Affine, moving: bool) -> Motion | None:
    """Find the translation, rotation and zoom between two views uint8 [h, w, 3]; None where no camera moved.

    aspect: height over width of a view's pixel in the frame.  guess: where to begin looking.  moving: the camera moved
    a moment ago, so that what is less than a camera's that stands still may be its motion too.
    Corners, one a tile, are followed by pyramidal Lucas-Kanade (Bouguet 2000), and a similarity is fitted to them by
    RANSAC (Fischler and Bolles 1981; OpenCV's draws are the same every time).  It counts as the camera's only where
    most corners, from most parts of the picture, agree: one thing that moves before a plain wall is no camera motion.
    """
    height, width = before.shape[:2]
    if min(height, width) < _LEAST_SIDE:
        return None
    first, second = (cv2.cvtColor(view, cv2.COLOR_RGB2GRAY) for view in (before, now))
    # A changed exposure is no motion, and Lucas-Kanade takes differences of brightness for it.
    shift = cv2.mean(first)[0] - cv2.mean(second)[0]
    second = cv2.addWeighted(second, 1.0, second, 0.0, shift)
    points = _corners(np.asarray(first, dtype=np.uint8))
    least = _LEAST_TILES * (height // _TILE) * (width // _TILE)
    if len(points) < least:
        return None
    start = points @ guess[:, :2].T + guess[:, 2]
    found, status, error = cv2.calcOpticalFlowPyrLK(
        first,
        second,
        points.reshape(-1, 1, 2),
        start.reshape(-1, 1, 2).astype(np.float32),  # written over
        winSize=(9, 9),
        maxLevel=2,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 8, 0.03),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    moved = found[:, 0]
    good = (status[:, 0] == 1) & (error[:, 0] <= _MOST_LEVELS)
    if np.count_nonzero(good) < max(least, _LEAST_SHARE * len(points)):
        return None
    # In the frame's own proportions, or a rotation would be none.
    stretch = np.array([1.0, aspect], np.float32)
    fitted, inside = cv2.estimateAffinePartial2D(
        points[good] * stretch,
        moved[good] * stretch,
        method=cv2.RANSAC,
        ransacReprojThreshold=_WRONG_PX,
        maxIters=100,
        refineIters=3,
    )
    if fitted is None:
        return None
    agreed = inside[:, 0] == 1
    share = float(agreed.mean())
    if share < _LEAST_SHARE or _sectors(points[good][agreed], height, width) < _LEAST_SECTORS:
        return None
    affine = np.asarray(fitted, dtype=np.float64)
    affine[:, :2] *= np.array([[1.0, aspect], [1.0 / aspect, 1.0]])
    affine[1, 2] /= aspect
    if not _plausible(affine, height, width, _LEAST_MOVING_PX if moving else _LEAST_MOVE_PX):
        return None
    if _background_stands(affine, points[good], moved[good]):
        return None
    return Motion(affine, share)


def carry(view: Picture, affine: Affine, size: tuple[int, int]) -> Carried:
    """Show a view as the camera would see it after moving.  size: (rows, columns) of cells."""
    height, width = view.shape[:2]
    shape, matrix = (width, height), affine.astype(np.float32)
    moved = cv2.warpAffine(view, matrix, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    full = np.full((height, width), 255, np.uint8)
    covered = cv2.warpAffine(full, matrix, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    rows, columns = size
    cells, low, high, known = (
        np.asarray(cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        for picture in (moved, cv2.erode(moved, _RING), cv2.dilate(moved, _RING), covered)
    )
    return Carried(cells, low, high, known >= 250, 1.0 - float(covered.mean()) / 255.0)


def _corners(grey: Picture) -> NDArray[np.float32]:
    """Find the best corner of every tile, float32 [n, 2] of (x, y); the border, where things leave, is left out."""
    strength = cv2.cornerMinEigenVal(grey, 3)
    rows, columns = (side // _TILE for side in grey.shape)
    top, left = (grey.shape[0] - rows * _TILE) // 2, (grey.shape[1] - columns * _TILE) // 2
    strength[[0, 1, -2, -1]] = 0.0
    strength[:, [0, 1, -2, -1]] = 0.0
    inner = strength[top : top + rows * _TILE, left : left + columns * _TILE]
    tiles = inner.reshape(rows, _TILE, columns, _TILE).swapaxes(1, 2).reshape(rows * columns, -1)
    best = tiles.argmax(axis=1)
    strong = tiles[np.arange(len(tiles)), best] >= _LEAST_CORNER
    number = np.arange(rows * columns)
    y = top + number // columns * _TILE + best // _TILE
    x = left + number % columns * _TILE + best % _TILE
    places: NDArray[np.float32] = np.stack([x, y], axis=1)[strong].astype(np.float32)
    return places


def _sectors(points: NDArray[np.float32], height: int, width: int) -> int:
    """Count the sectors of the picture that hold points."""
    column = np.minimum(points[:, 0] * _SECTORS / width, _SECTORS - 1).astype(np.int64)
    row = np.minimum(points[:, 1] * _SECTORS / height, _SECTORS - 1).astype(np.int64)
    return len(np.unique(row * _SECTORS + column))


def _background_stands(affine: Affine, points: NDArray[np.float32], moved: NDArray[np.float32]) -> bool:
    """Say whether too many corners stayed where they were, though a moving camera would have moved them."""
    led, went = points @ affine[:, :2].T + affine[:, 2] - points, moved - points
    due = np.hypot(led[:, 0], led[:, 1]) >= _LEAST_MOVE_PX
    stayed = due & (np.hypot(went[:, 0], went[:, 1]) <= _STILL_PX)
    return int(np.count_nonzero(stayed)) > _MOST_STILL * int(np.count_nonzero(due))


def _plausible(affine: Affine, height: int, width: int, least_px: float) -> bool:
    """Say whether a camera may have moved so between two frames, and by more than noise."""
    if not np.isfinite(affine).all() or np.abs(affine[:, :2] - np.eye(2)).max() > _MOST_TURN:
        return False
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    moves = corners @ affine[:, :2].T + affine[:, 2] - corners
    return bool(
        np.hypot(moves[:, 0], moves[:, 1]).mean() >= least_px
        and (np.abs(moves) / [width, height]).mean(axis=0).max() <= _MOST_MOVE
    )
