"""Differences: what a frame shows that the last kept frame does not, brightness and camera motion taken out."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from .camera_motion import Affine, Carried, carry, find_motion
from .exposure import Exposure, exposure_between
from .gate_settings import GateSettings
from .gate_state import GateState
from .thumbnails import Picture, median_of, view_of

MAD_TO_SIGMA = 1.4826

_LEAST_SHIFT = 0.75  # grey levels: less is no change of exposure
_MOVING_US = 2_000_000  # a camera in a hand never rests for so long
_LIGHT = "; brightness moved by {:.1f} levels"
_BETTER = 0.7  # an explanation must leave at most so many of the changed cells, or it explains nothing


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """Hold how a frame differs from the last kept one.

    change: uint8 [rows, columns], in grey levels, of the cells that can be compared and 0 elsewhere.  why: what was
    taken out, for a log.  affine: how the camera moved; None where it stands still, or that was not found.  calm:
    standard deviation of a cell's difference, where the camera moved.  fresh: share of the picture that its motion
    brought into sight.
    """

    change: Picture
    why: str = ""
    affine: Affine | None = None
    calm: float = 0.0
    fresh: float = 0.0

    def count(self, threshold: float) -> int:
        """Count the cells that changed by more than a threshold."""
        return int(np.count_nonzero(self.change > threshold))


def plain(before: Picture, now: Picture) -> Difference:
    """Compare two thumbnails uint8 [rows, columns, 3] as they are."""
    return Difference(np.asarray(cv2.absdiff(now, before).max(axis=2), dtype=np.uint8))


def explained(
    whole: Difference, state: GateState, cells: Picture, picture: Picture, threshold: float, settings: GateSettings
) -> Difference:
    """Give what is left of a difference once a change of exposure or the camera's motion explains the rest of it.

    whole: the plain one.  cells: the frame's thumbnail.  picture: the thinned frame.  Where nothing explains it, that
    is the plain one itself.
    """
    best = whole
    # What explained the last frame is asked first: it mostly explains this one too, and spares the other.
    for explain in (_moved, _lit) if _moving(state) else (_lit, _moved):
        left = explain(state, cells, picture, threshold, settings)
        if left is not None and left.count(threshold) <= _BETTER * best.count(threshold):
            best = left
        if best.count(threshold) < settings.least_cells:
            break
    return best


def _lit(
    state: GateState, cells: Picture, picture: Picture, threshold: float, settings: GateSettings
) -> Difference | None:
    """Compare with the kept frame as it would look under this light; None where light alone explains nothing."""
    exposed = _exposed(state.kept, cells, settings.most_exposure)
    if exposed is None:
        return None
    return Difference(plain(exposed.applied(state.kept), cells).change, _LIGHT.format(exposed.shift))


def _moved(
    state: GateState, cells: Picture, picture: Picture, threshold: float, settings: GateSettings
) -> Difference | None:
    """Compare with the kept frame as the camera would see it now; None where the camera stands still."""
    if settings.most_fresh == 0.0:
        return None
    view = view_of(picture)
    height, width = view.shape[:2]
    aspect = (state.shape[0] * width) / (state.shape[1] * height)
    motion = find_motion(state.view, view, aspect, state.affine, _moving(state))
    if motion is None:
        return None
    then = carry(state.view, motion.affine, (cells.shape[0], cells.shape[1]))
    if not then.known.any():
        return None
    change, rest = _beyond(then, cells)
    found = Difference(change, f"; the camera moved, {then.fresh:.0%} is new", motion.affine, rest, then.fresh)
    if found.count(threshold) < settings.least_cells:
        return found
    exposed = _exposed(then.cells[then.known][None], cells[then.known][None], settings.most_exposure)
    if exposed is None:
        return found
    cells_lit, low, high = (exposed.applied(part) for part in (then.cells, then.low, then.high))
    lit = replace(then, cells=cells_lit, low=low, high=high)
    change, rest = _beyond(lit, cells)
    return replace(found, change=change, calm=rest, why=found.why + _LIGHT.format(exposed.shift))


def _moving(state: GateState) -> bool:
    """Say whether the camera moved a moment before."""
    return state.moved_us is not None and state.last_us - state.moved_us <= _MOVING_US


def _beyond(then: Carried, cells: Picture) -> tuple[Picture, float]:
    """Give how far each known cell lies beyond its bounds, uint8 [rows, columns], and what noise there is."""
    # Edges are never met to the last fraction of a pixel, so a cell may show whatever lies between its bounds.
    change = np.maximum(cv2.subtract(cells, then.high), cv2.subtract(then.low, cells)).max(axis=2)
    rest = np.asarray(cv2.absdiff(cells, then.cells), dtype=np.uint8)[then.known]
    return np.where(then.known, change, np.uint8(0)), MAD_TO_SIGMA * median_of(rest)


def _exposed(before: Picture, now: Picture, most: float) -> Exposure | None:
    if most == 0.0:
        return None
    exposed = exposure_between(before, now)
    return exposed if _LEAST_SHIFT <= exposed.shift <= most else None
