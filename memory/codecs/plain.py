"""Plain codecs: the numbers themselves, whole or rounded to 16 bits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..block import KVLayout
from .codec import Data, Rows
from .columns import columns_of, from_matrix, to_matrix
from .payload import Payload, Stamp, read_payload, select_rows

_HALF_MOST = torch.finfo(torch.float16).max


@dataclass(frozen=True, slots=True)
class PlainCodec:
    """Keep every number in one number type, row by row.

    `raw`: the model's own type, exact to the bit.  `raw16`: 16 bits a number; of a bfloat16 or float16 model the same
    as raw, of a float32 model rounded to float16 (values beyond 65504 are clamped).
    """

    name: str
    layout: KVLayout
    dtype: torch.dtype

    @property
    def stamp(self) -> Stamp:
        """What its payloads are known by."""
        return Stamp.of(self.name, self.layout)

    def encode(self, keys: Tensor, values: Tensor) -> bytes:
        """Write the rows of keys and values [layers, kv_heads, n, head_dim]."""
        rows = plain_rows(to_matrix(keys, values, self.layout), self.dtype)
        return Payload(self.stamp, self.dtype.itemsize, b"", rows).write()

    def decode(self, data: Data, rows: Rows | None = None, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Read rows back."""
        payload = read_payload(data, self.stamp)
        payload.check(columns_of(self.layout) * self.dtype.itemsize, 0)
        return from_matrix(plain_matrix(payload.pick(rows), self.dtype, device), self.layout)

    def select(self, data: Data, rows: Sequence[int]) -> bytes:
        """Keep some rows."""
        return select_rows(data, rows, self.stamp)

    def tokens(self, data: Data) -> int:
        """Count the rows."""
        return len(read_payload(data, self.stamp))


def half_type(dtype: torch.dtype) -> torch.dtype:
    """Give the 16-bit number type that stands in for a model's own."""
    return dtype if dtype.itemsize == 2 else torch.float16


def plain_rows(matrix: Tensor, dtype: torch.dtype) -> NDArray[np.uint8]:
    """Write a matrix [n, columns] as bytes uint8 [n, columns x itemsize] in a number type."""
    if dtype == torch.float16 and matrix.dtype != dtype:
        matrix = matrix.clamp(-_HALF_MOST, _HALF_MOST)
    held = matrix.to(dtype).cpu().contiguous()
    width = held.shape[1] * dtype.itemsize
    return np.asarray(held.view(torch.uint8).numpy(), dtype=np.uint8).reshape(len(held), width)


def plain_matrix(rows: NDArray[np.uint8], dtype: torch.dtype, device: torch.device | None) -> Tensor:
    """Read a matrix [n, columns] back from bytes uint8 [n, columns x itemsize] of a number type."""
    if not len(rows):
        return torch.empty((0, rows.shape[1] // dtype.itemsize), dtype=dtype, device=device)
    return torch.from_numpy(rows).view(dtype).to(device)
