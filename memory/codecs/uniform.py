"""Uniform codecs: the same number of bits for every number, on a grid of its column's own.

KIVI (arXiv 2402.02750) codes keys per channel because a few channels are large throughout; before RoPE, and of visual
tokens, that holds of values too (VidKV, arXiv 2503.16257).  A column's offset takes its constant part away, such as the
key bias of Qwen2, which therefore costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..block import KVLayout
from .affine import GRID_BYTES, OFFSET_MOST, AffineGrid, fit_grid, read_grid
from .codec import Data, Rows
from .columns import columns_of, finite, from_matrix, to_matrix
from .digits import bytes_of, pack, unpack
from .payload import Payload, Stamp, read_payload, select_rows
from .plain import half_type, plain_matrix, plain_rows

_CODED, _PLAIN = 0, 1
_COLUMNS_AT_ONCE = 4096  # keeps the temporaries of a large model small


@dataclass(frozen=True, slots=True)
class UniformCodec:
    """Code every number with 8, 4 or 2 bits (256, 16 or 4 levels) and every column with 24 more per group.

    NaN is coded as 0 and what is beyond +-65504 as that, in its own column; others do not feel it.  A group so small
    that 16 bits a number take no more room is stored so, rounded like `raw16`.
    """

    name: str
    layout: KVLayout
    levels: int

    @property
    def stamp(self) -> Stamp:
        """What its payloads are known by."""
        return Stamp.of(self.name, self.layout)

    def encode(self, keys: Tensor, values: Tensor) -> bytes:
        """Fit the grids of a group and code its keys and values [layers, kv_heads, n, head_dim]."""
        matrix = to_matrix(keys, values, self.layout)
        count, columns = matrix.shape
        half = half_type(self.layout.dtype)
        if count * columns * half.itemsize <= GRID_BYTES * columns + count * bytes_of(columns, self.levels):
            return Payload(self.stamp, _PLAIN, b"", plain_rows(matrix, half)).write()
        offsets, steps, packed = [], [], []
        for start in range(0, columns, _COLUMNS_AT_ONCE):
            part = finite(matrix[:, start : start + _COLUMNS_AT_ONCE], OFFSET_MOST)
            grid = fit_grid(part, self.levels)
            offsets.append(grid.offset)
            steps.append(grid.step)
            packed.append(pack(grid.codes(part, self.levels), self.levels))
        whole = AffineGrid(torch.cat(offsets), torch.cat(steps))
        rows = np.asarray(torch.cat(packed, dim=1).cpu().numpy(), dtype=np.uint8)
        return Payload(self.stamp, _CODED, whole.write(), rows).write()

    def decode(self, data: Data, rows: Rows | None = None, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Read rows back."""
        payload = read_payload(data, self.stamp)
        columns, half = columns_of(self.layout), half_type(self.layout.dtype)
        if payload.form == _PLAIN:
            payload.check(columns * half.itemsize, 0)
            return from_matrix(plain_matrix(payload.pick(rows), half, device), self.layout)
        payload.check(bytes_of(columns, self.levels), GRID_BYTES * columns)
        grid = read_grid(payload.shared, columns, device)
        points = torch.arange(self.levels, dtype=torch.float32) - (self.levels - 1) / 2
        centred = unpack(torch.from_numpy(payload.pick(rows)).to(device), self.levels, columns, points)
        return from_matrix(grid.apply(centred), self.layout)

    def select(self, data: Data, rows: Sequence[int]) -> bytes:
        """Keep some rows."""
        return select_rows(data, rows, self.stamp)

    def tokens(self, data: Data) -> int:
        """Count the rows."""
        return len(read_payload(data, self.stamp))
