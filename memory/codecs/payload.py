"""The payload of a group: a header that says how to read it, what all rows share, and one run of bytes per row."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import RecallError
from ..block import KVLayout
from .codec import Data, Rows

VERSION = 1
_MAGIC = b"OKV"
_FORMAT = struct.Struct("<3sB8sBxHHHIII8s")
HEADER_BYTES = _FORMAT.size
"""Bytes before what the rows share."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Say what wrote a payload: it is read by just that.

    codec: its name, up to 8 ASCII letters.  tables: the first 8 bytes of its tables' hash, zeros where it needs none.
    """

    codec: str
    layers: int
    kv_heads: int
    head_dim: int
    tables: bytes = bytes(8)

    @classmethod
    def of(cls, codec: str, layout: KVLayout, tables: bytes = bytes(8)) -> "Stamp":
        """Make the stamp of a codec for a layout."""
        return cls(codec, layout.layers, layout.kv_heads, layout.head_dim, tables[:8])


@dataclass(frozen=True, slots=True, eq=False)
class Payload:
    """Hold the parts of a payload.

    form: which of its ways the codec took, a small number of its own.  shared: what all rows need.  rows: uint8 [n,
    bytes of a row], a view of the data it was read from.
    """

    stamp: Stamp
    form: int
    shared: bytes | memoryview
    rows: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)

    def write(self) -> bytes:
        """Lay the parts end to end."""
        stamp, (count, width) = self.stamp, self.rows.shape
        head = _FORMAT.pack(
            _MAGIC,
            VERSION,
            stamp.codec.encode("ascii"),
            self.form,
            stamp.layers,
            stamp.kv_heads,
            stamp.head_dim,
            count,
            width,
            len(self.shared),
            stamp.tables,
        )
        return b"".join((head, self.shared, np.ascontiguousarray(self.rows).data))

    def check(self, width: int, shared: int) -> None:
        """Raise RecallError unless rows have `width` bytes and what they share has `shared`."""
        if self.rows.shape[1] != width or len(self.shared) != shared:
            raise RecallError(
                f"a group has rows of {self.rows.shape[1]} bytes and {len(self.shared)} for all of them, where "
                f"{self.stamp.codec} writes {width} and {shared}; it is damaged"
            )

    def pick(self, rows: Rows | None) -> NDArray[np.uint8]:
        """Copy the bytes of some rows, uint8 [m, bytes of a row].  Raises RecallError for rows that are not there."""
        if rows is None:
            return self.rows.copy()
        if isinstance(rows, slice):
            return self.rows[rows].copy()
        wanted = np.asarray(rows, dtype=np.int64).reshape(-1)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise RecallError(
                f"rows {int(wanted.min())} to {int(wanted.max())} of a group of {len(self)} tokens were asked for; "
                f"give numbers from 0 to {len(self) - 1}"
            )
        return np.asarray(self.rows[wanted], dtype=np.uint8)


def read_payload(data: Data, expected: Stamp) -> Payload:
    """Take a payload apart without copying it.

    Raises RecallError for bytes that are no payload, of another version, codec, layout or tables, or cut short.
    """
    view = memoryview(data).cast("B")
    if len(view) < HEADER_BYTES:
        raise RecallError(f"a payload of {len(view)} bytes is shorter than its header of {HEADER_BYTES}; it is damaged")
    magic, version, codec, form, layers, kv_heads, head_dim, count, width, shared, tables = _FORMAT.unpack_from(view)
    if magic != _MAGIC:
        raise RecallError(f"bytes that start with {bytes(view[:3])!r} are no coded keys and values; they are damaged")
    if version != VERSION:
        raise RecallError(f"keys and values are coded in version {version}, this reads {VERSION}; update Onlooker")
    found = Stamp(codec.rstrip(b"\0").decode("ascii", "replace"), layers, kv_heads, head_dim, tables)
    if found != expected:
        raise RecallError(
            f"keys and values were coded by {_told(found)}, not by {_told(expected)}; read them with what wrote them"
        )
    if len(view) != HEADER_BYTES + shared + count * width:
        raise RecallError(
            f"a payload says {count} tokens of {width} bytes and {HEADER_BYTES + shared} before them, but has "
            f"{len(view)} bytes; it is damaged"
        )
    start = HEADER_BYTES + shared
    rows = np.frombuffer(view[start:], dtype=np.uint8).reshape(count, width)
    return Payload(found, form, view[HEADER_BYTES:start], rows)


def select_rows(data: Data, rows: Sequence[int], expected: Stamp) -> bytes:
    """Write a payload of some of another's rows, byte for byte.  Raises RecallError as read_payload and pick do."""
    payload = read_payload(data, expected)
    return Payload(payload.stamp, payload.form, payload.shared, payload.pick(rows)).write()


def _told(stamp: Stamp) -> str:
    shape = f"{stamp.codec} ({stamp.layers} layers x {stamp.kv_heads} heads x {stamp.head_dim}"
    return shape + (f", tables {stamp.tables.hex()})" if any(stamp.tables) else ")")
