"""The header of a frame: 24 bytes, little-endian, before the picture in a binary message."""

import struct
from dataclasses import dataclass

from .errors import EventError
from .shape import MOST_EXACT

HEADER_BYTES = 24
VERSION = 1
IMAGE = 1
KEYFRAME_HINT = 1
DISCONTINUITY = 2

_LAYOUT = struct.Struct("<BBHIqII")
_FLAGS = KEYFRAME_HINT | DISCONTINUITY


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """Describe a frame on the wire.

    sequence: the client's number for it, which wraps round at 2^32.  captured_unix_us: when it was taken, in
    microseconds since 1970.  keyframe_hint: the client thinks that it shows something new.  discontinuity: frames are
    missing before it.
    """

    sequence: int
    captured_unix_us: int
    keyframe_hint: bool = False
    discontinuity: bool = False

    def pack(self) -> bytes:
        """Give the 24 bytes.  Raises EventError for a number outside its range."""
        if not 0 <= self.sequence <= 0xFFFFFFFF:
            raise EventError("bad_frame", f"the frame's number is {self.sequence}", remedy="count from 0, modulo 2^32")
        if not 0 <= self.captured_unix_us <= MOST_EXACT:
            raise _bad_time(self.captured_unix_us)
        flags = KEYFRAME_HINT * self.keyframe_hint | DISCONTINUITY * self.discontinuity
        return _LAYOUT.pack(VERSION, IMAGE, 0, self.sequence, self.captured_unix_us, flags, 0)


def read_header(data: bytes | bytearray | memoryview) -> FrameHeader:
    """Read the header of a binary message.  Raises EventError for any byte that is not as it must be."""
    if len(data) <= HEADER_BYTES:
        raise EventError("bad_frame", f"the frame has {len(data)} bytes, and its header alone {HEADER_BYTES}")
    version, kind, source, sequence, captured_unix_us, flags, reserved = _LAYOUT.unpack_from(data)
    if version != VERSION:
        raise EventError("bad_frame", f"the frame's version is {version}", param="version", remedy=f"send {VERSION}")
    if kind != IMAGE:
        raise EventError("bad_frame", f"the frame's kind is {kind}", param="kind", remedy=f"send {IMAGE}, a picture")
    if source != 0:
        raise EventError("bad_frame", f"the frame's source is {source}", param="source", remedy="send 0")
    if flags & ~_FLAGS:
        raise EventError(
            "bad_frame", f"the frame's flags are {flags:#x}", param="flags", remedy=f"use bits {_FLAGS:#x}"
        )
    if reserved != 0:
        raise EventError("bad_frame", f"the reserved bytes are {reserved:#x}", param="reserved", remedy="send 0")
    if not 0 <= captured_unix_us <= MOST_EXACT:
        raise _bad_time(captured_unix_us)
    return FrameHeader(sequence, captured_unix_us, bool(flags & KEYFRAME_HINT), bool(flags & DISCONTINUITY))


def _bad_time(captured_unix_us: int) -> EventError:
    return EventError(
        "bad_frame",
        f"the frame's capture time is {captured_unix_us} us",
        param="captured_unix_us",
        remedy="give microseconds since 1970",
    )
