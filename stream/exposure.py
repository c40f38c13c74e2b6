"""Exposure: a change of brightness of the whole picture, told from changes of what it shows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .thumbnails import Picture

_LEAST_SPREAD = 12.0  # standard deviation in grey levels that a gain can be told from an offset by
_MOST_GAIN = 1.3
_LEAST_NEAR = 3.0
_CLIPPED = 250
_ROUNDS = 2
_DARK = np.float32(8.0)  # grey levels added, so that ratios of dark cells are no noise


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """Hold what became of brightness: now = gain * before + offset in each channel.

    gain, offset: float32 [3].  shift: mean change of a cell that it stands for, in grey levels.
    """

    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    shift: float

    def applied(self, cells: Picture) -> Picture:
        """Show an earlier picture as it would look now."""
        moved = np.clip(cells * self.gain + (self.offset + np.float32(0.5)), 0.0, 255.0)
        return moved.astype(np.uint8)


def exposure_between(before: Picture, now: Picture) -> Exposure:
    """Fit gain and offset of each channel to two pictures uint8 [rows, columns, 3] of one scene.

    At first a gain alone, the median of all ratios, then least squares over the cells that it fits well; a line where
    those are dark and bright enough to tell an offset from a gain.  So what changed in less than half of the picture,
    and what is too bright to be told, does not count.
    """
    x, y = (np.ascontiguousarray(cells.reshape(-1, 3).T, dtype=np.float32) for cells in (before, now))  # [3, n]
    half, clear = x.shape[1] // 2, (x < _CLIPPED) & (y < _CLIPPED)
    gain = np.partition((y + _DARK) / (x + _DARK), half, axis=1)[:, half, None]
    offset = _DARK * (gain - 1.0)
    for _ in range(_ROUNDS):
        wrong = np.abs(y - gain * x - offset)
        near = np.maximum(2.5 * np.partition(wrong, half, axis=1)[:, half, None], _LEAST_NEAR)
        weight = ((wrong <= near) & clear).astype(np.float32)
        count = np.maximum(weight.sum(axis=1, keepdims=True), 1.0)
        x_mean = np.einsum("cn,cn->c", weight, x)[:, None] / count
        y_mean = np.einsum("cn,cn->c", weight, y)[:, None] / count
        off = weight * (x - x_mean)
        spread = np.einsum("cn,cn->c", off, x - x_mean)[:, None] / count
        slope = np.einsum("cn,cn->c", off, y - y_mean)[:, None] / count / np.maximum(spread, 1.0)
        gain = np.clip(np.where(spread >= _LEAST_SPREAD**2, slope, gain), 1.0 / _MOST_GAIN, _MOST_GAIN)
        offset = y_mean - gain * x_mean
    shift = float(np.abs(x * (gain - 1.0) + offset).mean())
    return Exposure(gain[:, 0].astype(np.float32), offset[:, 0].astype(np.float32), shift)


def brightness_step(before: Picture, now: Picture) -> int:
    """Give the median signed change of all values: 0 unless more than half of the picture changed alike."""
    counts = np.bincount((now.astype(np.int16) - before + 255).reshape(-1), minlength=511)
    return int(np.searchsorted(np.cumsum(counts), now.size / 2.0)) - 255
