"""Scalar codes of a shard's vectors: one byte or half a byte a channel, and each vector's own scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

Bits = Literal[8, 4]

_MIDDLE = 127.5  # the code that stands for 0


@dataclass(frozen=True, slots=True, eq=False)
class ShardCodes:
    """Hold the codes of n vectors of dim channels; a channel is scale * step * (code - 127.5), with 8-bit codes.

    codes: uint8 [n, dim] at 8 bits; [n, (dim + 1) // 2] at 4 bits, where a byte's low half is a channel of the first
    half of them and its high half one of the second.  scale: float16 [n].  step: float32 [dim].
    """

    bits: Bits
    codes: NDArray[np.uint8]
    scale: NDArray[np.float16]
    step: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def nbytes(self) -> int:
        """True bytes of codes, scales and steps."""
        return self.codes.nbytes + self.scale.nbytes + self.step.nbytes

    def kept(self, rows: NDArray[np.bool_]) -> "ShardCodes":
        """Copy the codes of the chosen rows as they are."""
        return ShardCodes(self.bits, self.codes[rows], self.scale[rows], self.step)

    def coarser(self) -> "ShardCodes":
        """Halve the codes: the upper four bits of each, which stand for the middle of the 16 values they leave open."""
        if self.bits == 4:
            return self
        upper, half = self.codes >> np.uint8(4), (len(self.step) + 1) // 2
        packed: NDArray[np.uint8] = upper[:, :half].copy()
        packed[:, : len(self.step) - half] |= upper[:, half:] << np.uint8(4)
        return ShardCodes(4, packed, self.scale, self.step)

    def decoded(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Turn the codes of the chosen rows back into vectors: float32 [r, dim]."""
        codes = self.codes[rows].astype(np.float32)
        if self.bits == 4:
            packed, dim = self.codes[rows], len(self.step)
            upper = (packed >> np.uint8(4))[:, : dim - (dim + 1) // 2]
            codes = np.concatenate((packed & np.uint8(15), upper), axis=1).astype(np.float32) * 16 + np.float32(7.5)
        decoded: NDArray[np.float32] = (codes - np.float32(_MIDDLE)) * self.step
        decoded *= self.scale[rows].astype(np.float32)[:, None]
        return decoded

    def dots(self, rows: Sequence[slice], queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Multiply the rows in the slices with queries [m, dim]: float32 [r, m], as if decoded."""
        codes = np.concatenate([self.codes[part] for part in rows])
        scaled = np.ascontiguousarray((queries * self.step).T)  # [dim, m]
        out = np.empty((len(codes), len(queries)), dtype=np.float32)
        dim = len(self.step)
        half, step = (dim + 1) // 2, max(1, (1 << 17) // dim)  # so many decoded rows stay in the core's cache
        for start in range(0, len(codes), step):
            part, into = codes[start : start + step], out[start : start + step]
            if self.bits == 8:
                multiply(part, scaled, into)
            else:
                multiply(part & np.uint8(15), scaled[:half], into)
                upper = np.empty_like(into)
                multiply(part[:, : dim - half] >> np.uint8(4), scaled[half:], upper)
                into += upper
                into *= 16
                into += np.float32(7.5) * scaled.sum(axis=0)
        out -= np.float32(_MIDDLE) * scaled.sum(axis=0)
        out *= np.concatenate([self.scale[part] for part in rows]).astype(np.float32)[:, None]
        return out


def multiply(codes: NDArray[np.uint8], by: NDArray[np.float32], into: NDArray[np.float32]) -> None:
    """Multiply codes [r, k] by a matrix [k, m] into [r, m].

    By torch and not by numpy, whose threads would fight torch's own for the cores.
    """
    torch.mm(torch.from_numpy(codes).float(), torch.from_numpy(by), out=torch.from_numpy(into))


def encode(vectors: NDArray[np.float32]) -> ShardCodes:
    """Code vectors [n, dim], n of 1 or more, in 8 bits a channel.

    Steps are in proportion to the channels' root mean squares, and each vector's scale to the farthest of its channels:
    few vectors lie far out, and they shall not take precision from the others.
    """
    spread = np.sqrt(np.mean(np.square(vectors), axis=0))
    spread = np.where(spread > 0, spread, np.float32(1.0)).astype(np.float32)
    relative = vectors / spread
    scale = np.abs(relative).max(axis=1).astype(np.float16)
    inverse = np.float32(_MIDDLE) / np.maximum(scale.astype(np.float32), np.float32(1e-7))
    codes = np.clip(np.rint(relative * inverse[:, None] + np.float32(_MIDDLE)), 0, 255).astype(np.uint8)
    return ShardCodes(8, codes, scale, np.asarray(spread / _MIDDLE, dtype=np.float32))
