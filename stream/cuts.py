"""Cuts and fades: whether one scene took another's place, at once or little by little."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .thumbnails import Picture

TRAIL = 16
"""Scores of frames before this one that a jump is measured against."""

_MAD_TO_SIGMA = 1.4826
_JUMP = 3.0  # times the usual change
_OUTLIER = 6.0  # standard deviations beyond it
_LEAST_CONTENT = 8.0
_LEAST_HISTOGRAM = 4.0
_NOISE = 2.5  # standard deviations
_EIGHTH = 0.125
_LEAST_SIZE = 0.5
_LEAST_SPREAD = 0.5
_MOST_STEP = 14.0  # grey levels from frame to frame
_MOST_FAST_STEP = 30.0  # and where frames come so fast that nothing is lost if this one was a cut after all
_FAST_US = 200_000
_LEAST_ALIKE = 0.7
_FLAT_LEVELS = 5.0


def content_change(before: Picture, now: Picture) -> float:
    """Give the mean difference of two pictures in hue, saturation and value, in levels of 0..255.

    After PySceneDetect's ContentDetector, but hue counts as far as there is colour: that of a grey is noise.
    """
    first, second = (cv2.cvtColor(cells, cv2.COLOR_RGB2HSV).astype(np.int16) for cells in (before, now))
    turn = np.abs(first[..., 0] - second[..., 0])
    turn = np.minimum(turn, 180 - turn) * np.minimum(first[..., 1], second[..., 1]) / 90.0
    rest = np.abs(first[..., 1:] - second[..., 1:]).sum(axis=2)
    return float((turn + rest).mean()) / 3.0


def histogram_change(before: Picture, now: Picture) -> float:
    """Give the distance of two pictures' histograms, in grey levels: how far levels would have to be moved.

    The earth mover's distance of each channel, which is the mean difference of sorted values; mean of the channels.
    What moves inside a picture changes no histogram.
    """
    first, second = (np.sort(cells.reshape(-1, 3), axis=0).astype(np.int16) for cells in (before, now))
    return float(np.abs(first - second).mean())


def is_jump(content: float, trail: NDArray[np.float32], seen: int) -> bool:
    """Say whether a frame's content change stands out from the changes of the frames before it.

    trail: float32 [n], the newest last, of which as many count as were seen.  The adaptive ratio of PySceneDetect,
    made causal: against the median and the median deviation of what went before, not the mean of both sides.
    """
    if content < _LEAST_CONTENT:
        return False
    held = trail[max(0, len(trail) - seen) :]
    if not len(held):
        return True
    usual = float(np.median(held))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(held - usual)))
    return content >= max(_JUMP * usual, usual + _OUTLIER * spread)


def is_new_scene(kept: Picture, now: Picture) -> bool:
    """Say whether the levels themselves are others, not only their places."""
    return histogram_change(kept, now) >= _LEAST_HISTOGRAM


@dataclass(frozen=True, slots=True)
class Blend:
    """Say how a picture goes over into another one.

    spread: share of the cells that take part, in the last step and since the kept frame.  step: mean change since
    the last frame, in grey levels.  alike: cosine of that change and of the one since the kept frame.  along: how far
    the last step went that way, in grey levels of the mean cell.
    """

    spread: float
    step: float
    alike: float
    along: float

    def gentle(self, gap_us: int) -> bool:
        """Say whether no frame differs much from the one before, gap_us ago, yet all of the picture goes one way."""
        most = _MOST_FAST_STEP if gap_us <= _FAST_US else _MOST_STEP
        return self.spread >= _LEAST_SPREAD and self.step <= most and self.alike >= _LEAST_ALIKE


def blend_of(kept: Picture, last: Picture, now: Picture, noise: float) -> Blend:
    """Measure whether a picture fades from the kept one into another: each step goes on where the ones before led.

    noise: standard deviation of a cell's difference, which is taken for no change.
    In a fade or a dissolve every frame is (1 - a) * old + a * new, so both changes are multiples of new - old.
    """
    whole = now.astype(np.float32) - kept
    step = now.astype(np.float32) - last
    total = float(np.abs(whole).sum())
    across = float((whole * step).sum())
    lengths = float(np.sqrt((whole * whole).sum() * (step * step).sum()))
    return Blend(
        spread=min(_spread(whole, _NOISE * noise), _spread(step, 0.0)),
        step=float(np.abs(step).mean()),
        alike=across / lengths if lengths > 0.0 else 0.0,
        along=float((np.sign(whole) * step).sum()) / whole.size if total > 0.0 else 0.0,
    )


def _spread(change: NDArray[np.float32], noise: float) -> float:
    """Give the share of the cells that changed by an eighth of what those do that change most, or more.

    noise: what is taken off every cell's change.  Not the very largest one counts, as one cell may be anything.
    """
    size = np.abs(change).max(axis=2).reshape(-1) - noise
    place = max(0, size.size - 3)
    most = float(np.partition(size, place)[place])
    return float((size >= max(most * _EIGHTH, _LEAST_SIZE)).mean())


def is_flat(cells: Picture) -> bool:
    """Say whether a picture shows nothing: one colour all over, as between fading out and fading in."""
    return float(cells.reshape(-1, 3).std(axis=0).max()) < _FLAT_LEVELS
