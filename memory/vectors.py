"""Vectors as a memory keeps them for its indexes: few bits a number, by row and column."""

import struct

import numpy as np
from numpy.typing import NDArray

from ..errors import RecallError

_HEADER = struct.Struct("<BBHI")  # version, bits, dim, rows
_VERSION = 1
_FP16_LIMIT = 65504.0


def encode_vectors(vectors: NDArray[np.floating], bits: int) -> bytes:
    """Code vectors [n, dim]: the columns' mean (fp16), and what is left in whole steps of each row's own scale (fp16).

    bits: 8 or 4 a number.  The mean takes a model's constant key bias away, which would eat the steps.  What is not
    finite becomes 0.  Raises ValueError for other bits or shapes.
    """
    if bits not in (4, 8) or vectors.ndim != 2 or vectors.shape[1] > 65_535:
        raise ValueError(f"cannot code {list(vectors.shape)} at {bits} bits")
    rows = np.nan_to_num(np.asarray(vectors, dtype=np.float32), posinf=0.0, neginf=0.0)
    count, dim = rows.shape
    mean = rows.mean(axis=0) if count else np.zeros(dim, dtype=np.float32)
    mean16 = np.clip(mean, -_FP16_LIMIT, _FP16_LIMIT).astype("<f2")
    centred = rows - mean16.astype(np.float32)
    most = (1 << (bits - 1)) - 1
    peak = np.abs(centred).max(axis=1, initial=0.0)
    scale16 = np.clip(peak / most, 0.0, _FP16_LIMIT).astype("<f2")
    scale = scale16.astype(np.float32)
    steps = centred / np.where(scale > 0, scale, 1.0)[:, None]
    codes = np.clip(np.rint(steps), -most, most).astype(np.int8)
    return b"".join(
        (_HEADER.pack(_VERSION, bits, dim, count), mean16.tobytes(), scale16.tobytes(), _pack(codes, bits).tobytes())
    )


def decode_vectors(data: bytes | memoryview) -> NDArray[np.float32]:
    """Give the vectors [n, dim] that encode_vectors coded.  Raises RecallError for bytes that it did not write."""
    bits, dim, mean, scale, codes = _parts(data)
    steps = _unpack(codes, bits, dim)
    vectors: NDArray[np.float32] = steps.astype(np.float32) * scale.astype(np.float32)[:, None]
    vectors += mean.astype(np.float32)
    return vectors


def select_vectors(data: bytes | memoryview, rows: NDArray[np.int64]) -> bytes:
    """Keep only these rows; what is kept stays what it was, to the bit.  Raises RecallError as decode_vectors does."""
    bits, dim, mean, scale, codes = _parts(data)
    return b"".join(
        (
            _HEADER.pack(_VERSION, bits, dim, len(rows)),
            mean.tobytes(),
            scale[rows].tobytes(),
            np.ascontiguousarray(codes[rows]).tobytes(),
        )
    )


def _parts(
    data: bytes | memoryview,
) -> tuple[int, int, NDArray[np.float16], NDArray[np.float16], NDArray[np.uint8]]:
    """Cut coded vectors into bits, dim, means [dim], scales [n] and codes [n, bytes a row]."""
    if len(data) < _HEADER.size:
        raise RecallError(f"{len(data)} bytes are no coded vectors; the memory is damaged, or of a later version")
    version, bits, dim, count = _HEADER.unpack_from(data)
    width = _width(bits, dim)
    if version != _VERSION or bits not in (4, 8) or len(data) != _HEADER.size + 2 * dim + count * (2 + width):
        raise RecallError(
            f"{len(data)} bytes are no vectors coded in version {_VERSION} (version {version}, {count} of {dim} at "
            f"{bits} bits); the memory is damaged, or of a later version"
        )
    mean = np.frombuffer(data, "<f2", dim, _HEADER.size)
    scale = np.frombuffer(data, "<f2", count, _HEADER.size + 2 * dim)
    codes = np.frombuffer(data, np.uint8, count * width, _HEADER.size + 2 * (dim + count))
    return bits, dim, mean, scale, codes.reshape(count, width)


def _width(bits: int, dim: int) -> int:
    return (dim * bits + 7) // 8


def _pack(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    if bits == 8:
        return codes.view(np.uint8)
    raised = (codes + 8).astype(np.uint8)  # 1..15
    if raised.shape[1] % 2:
        raised = np.pad(raised, ((0, 0), (0, 1)))
    return np.asarray(raised[:, 0::2] | raised[:, 1::2] << 4, dtype=np.uint8)


def _unpack(codes: NDArray[np.uint8], bits: int, dim: int) -> NDArray[np.int8]:
    if bits == 8:
        return codes.view(np.int8)
    pairs = np.stack((codes & 15, codes >> 4), axis=2).reshape(len(codes), 2 * codes.shape[1])[:, :dim]
    return pairs.astype(np.int8) - np.int8(8)
