"""Affine grids: evenly spaced levels for every column of a matrix, laid by least squares.

x ~ offset + step * (code - (levels - 1) / 2).  The grid starts at the column's least and greatest value; then codes
and grid are fitted to each other in turn, which is Lloyd's algorithm (Lloyd, 1982) with the levels kept evenly spaced.
Of a large Gaussian column 4 levels reach 1.03 of Lloyd and Max's free levels after four turns; of the few dozen tokens
that a small group has, whose extremes are known, evenly spaced levels err half as much as theirs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import RecallError

OFFSET_MOST = float(torch.finfo(torch.float16).max)
"""Values beyond this are clamped before they are coded."""

GRID_BYTES = 3
"""Bytes of one column's grid: a float16 offset and a step in eighths of an octave."""

_TURNS = {4: 4, 16: 3, 256: 0}  # more move nothing: the finer the grid, the less there is to gain
_OCTAVES_DOWN, _PER_OCTAVE = 16, 8  # steps from 2^-16 to 2^16 in 255 numbers; number 0 is a column of one value


@dataclass(frozen=True, slots=True, eq=False)
class AffineGrid:
    """Hold the grids of all columns.  offset: float16 [columns].  step: uint8 [columns], logarithmic, 0 for none."""

    offset: Tensor
    step: Tensor

    def apply(self, centred: Tensor) -> Tensor:
        """Turn codes less (levels - 1) / 2, float32 [n, columns], into values; in place."""
        return centred.mul_(step_of(self.step)).add_(self.offset.float())

    def codes(self, matrix: Tensor, levels: int) -> Tensor:
        """Give the nearest level of every number: uint8 [n, columns]."""
        step = step_of(self.step)
        return _codes(matrix, self.offset.float(), torch.where(step > 0, step, 1.0), levels).to(torch.uint8)

    def write(self) -> bytes:
        """Lay the grids out as bytes."""
        offset = np.asarray(self.offset.cpu().numpy(), dtype="<f2")
        return offset.tobytes() + np.asarray(self.step.cpu().numpy(), dtype=np.uint8).tobytes()


def read_grid(data: bytes | memoryview, columns: int, device: torch.device | None) -> AffineGrid:
    """Read the grids of so many columns.  Raises RecallError for another number of bytes."""
    if len(data) != GRID_BYTES * columns:
        raise RecallError(f"grids of {columns} columns take {GRID_BYTES * columns} bytes, not {len(data)}; damaged")
    offset: NDArray[np.float16] = np.frombuffer(data, "<f2", columns).astype(np.float16)
    step: NDArray[np.uint8] = np.frombuffer(data, np.uint8, columns, 2 * columns).copy()
    return AffineGrid(torch.from_numpy(offset).to(device), torch.from_numpy(step).to(device))


def fit_grid(matrix: Tensor, levels: int) -> AffineGrid:
    """Lay a grid for every column of a matrix float32 [n, columns], n > 0, finite and within OFFSET_MOST."""
    low, high = matrix.amin(dim=0), matrix.amax(dim=0)
    offset, step = (low + high) / 2, (high - low) / (levels - 1 if levels > 16 else levels)
    mean = matrix.mean(dim=0, dtype=torch.float64).float()
    around = matrix - mean
    for _ in range(_TURNS[levels]):
        codes = _codes(matrix, offset, torch.where(step > 0, step, 1.0), levels) - (levels - 1) / 2
        centre = codes.mean(dim=0)
        codes -= centre
        spread, shared = codes.square().mean(dim=0), (codes * around).mean(dim=0)
        fits = (spread > 0) & (shared > 0)
        step = torch.where(fits, shared / spread.clamp_min(1e-12), step)
        offset = mean - step * centre
    offset = torch.where(step > 2.0**-_OCTAVES_DOWN, offset, mean)
    offset = offset.clamp(-OFFSET_MOST, OFFSET_MOST).to(torch.float16)
    if levels > 16:  # a fine grid reaches the extremes: beyond its last level there is nothing but error
        around = offset.float()
        step = torch.maximum(high - around, around - low) * 2 / (levels - 1)
    number = ((torch.log2(step) + _OCTAVES_DOWN) * _PER_OCTAVE).clamp(0, 255)
    number = number.ceil() if levels > 16 else number.round()
    return AffineGrid(offset, number.to(torch.uint8))


def step_of(number: Tensor) -> Tensor:
    """Give the steps that logarithmic numbers uint8 stand for."""
    return torch.where(number > 0, torch.exp2(number.float() / _PER_OCTAVE - _OCTAVES_DOWN), 0.0)


def _codes(matrix: Tensor, offset: Tensor, step: Tensor, levels: int) -> Tensor:
    return ((matrix - offset) / step).add_((levels - 1) / 2).round_().clamp_(0, levels - 1)
