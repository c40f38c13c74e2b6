"""One frame with what a recipe kept of it: kept cells clear, the others dim."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from .lettering import Colour, Picture

KEPT_EDGE: Colour = (255, 200, 60)
MERGED_EDGE: Colour = (70, 225, 205)

PIXELS = 38_000
"""Area of a tile: 195 x 195 px, or 260 x 146 for a film."""

LEAST_CELL_PX = 10
MOST_ASPECT = 6.0
EDGED_CELL_PX = 5

_DROPPED, _AWAY, _KEPT, _STANDS = range(4)  # dropped, merged into another, kept, kept and standing for others


@dataclass(frozen=True, slots=True, eq=False)
class Survivors:
    """Say what became of the cells of one frame under one recipe.

    kept: bool [N].  owners: int64 [N], the kept cell that each is merged into, -1 for none; None where nothing merges.
    """

    kept: NDArray[np.bool_]
    owners: NDArray[np.int64] | None = None

    @property
    def count(self) -> int:
        """Cells that survive."""
        return int(self.kept.sum())


def tile_size(height: int, width: int, grid: tuple[int, int]) -> tuple[int, int]:
    """Choose (height, width) in px of all tiles, for frames of this size in pixels and this grid of cells.

    Keeps the frames' shape, but none more than 6 times as long as wide (what is longer is squeezed).  Grows, up to
    twice each side, until a cell has 10 px.
    """
    if min(height, width) < 1:
        raise SettingsError(f"frames of {height} x {width} pixels cannot be drawn")
    aspect = min(max(width / height, 1.0 / MOST_ASPECT), MOST_ASPECT)
    wide, tall = (PIXELS * aspect) ** 0.5, (PIXELS / aspect) ** 0.5
    grow = min(max(1.0, LEAST_CELL_PX * grid[0] / tall, LEAST_CELL_PX * grid[1] / wide), 2.0)
    return round(tall * grow), round(wide * grow)


def shrink(image: Picture, size: tuple[int, int]) -> Picture:
    """Bring a frame of any size to (height, width); what a model does with frames of other sizes too."""
    height, width = image.shape[:2]
    smaller = height >= size[0] and width >= size[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=way), dtype=np.uint8)


def draw_tile(picture: Picture, grid: tuple[int, int], survivors: Survivors) -> Picture:
    """Draw what is left of a frame that has the size of a tile.

    Dropped cells are grey and dark, those merged into others a little less; kept ones are as they were, within a thin
    edge; kept ones that stand for others are tinted.  A frame of which nothing is left is all but black.
    """
    kinds = _kinds(grid, survivors)
    height, width = picture.shape[:2]
    down, across = np.arange(height) * grid[0] // height, np.arange(width) * grid[1] // width
    shown = kinds[down[:, None], across]  # [height, width]
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    tint = np.asarray(MERGED_EDGE, np.float32)
    light = picture.astype(np.float32)
    drawn = grey * (0.32 if survivors.count else 0.16)
    for kind, look in (
        (_AWAY, grey * 0.32 + tint * 0.1),
        (_KEPT, light),
        (_STANDS, light * 0.82 + tint * 0.18),
    ):
        here = shown == kind
        drawn[here] = look[here]
    if min(height / grid[0], width / grid[1]) >= EDGED_CELL_PX:
        edge = _edges(shown)
        drawn[edge & (shown == _KEPT)] = KEPT_EDGE
        drawn[edge & (shown == _STANDS)] = MERGED_EDGE
    return np.asarray(drawn.round().clip(0, 255), dtype=np.uint8)


def _kinds(grid: tuple[int, int], survivors: Survivors) -> NDArray[np.uint8]:
    kinds = np.where(survivors.kept, _KEPT, _DROPPED).astype(np.uint8)
    if survivors.owners is not None:
        away = ~survivors.kept & (survivors.owners >= 0)
        kinds[away] = _AWAY
        kinds[survivors.owners[away]] = _STANDS
    return kinds.reshape(grid)


def _edges(shown: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the pixels that have a neighbour of another kind, or none: an outline of one px on either side."""
    around = np.pad(shown, 1, constant_values=255)
    edge = np.zeros(shown.shape, np.bool_)
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        edge |= around[dy : dy + shown.shape[0], dx : dx + shown.shape[1]] != shown
    return edge
