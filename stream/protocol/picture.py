"""What a picture's first bytes say: its format and its size, without decoding it.

JPEG: ITU-T T.81 annex B.  PNG: the PNG specification, 11.2.2.  WebP: RFC 9649, 2.5 to 2.7.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Literal

from .errors import EventError

Format = Literal["jpeg", "png", "webp"]
FORMATS: tuple[Format, ...] = ("jpeg", "png", "webp")

_MOST_SEGMENTS = 10_000
_DATA_URL = re.compile(r"data:image/(?:jpeg|jpg|png|webp);base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Picture:
    """Describe an encoded picture.  width, height: in pixels, as stored; a JPEG's EXIF may turn it by a quarter."""

    format: Format
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """How many pixels a decoder will make."""
        return self.width * self.height


def read_picture(data: bytes | memoryview) -> Picture:
    """Read format and size of an encoded picture.

    Raises EventError (bad_image) for other formats, for animations, and for a header that is damaged or says 0 pixels.
    """
    view = memoryview(data)
    start = bytes(view[:12])
    if start.startswith(b"\xff\xd8\xff"):
        found = Picture("jpeg", *_jpeg_size(view))
    elif start.startswith(b"\x89PNG\r\n\x1a\n"):
        found = Picture("png", *_png_size(view))
    elif start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        found = Picture("webp", *_webp_size(view))
    else:
        raise EventError(
            "bad_image", f"the picture begins with {start[:4].hex(' ') or 'nothing'}: no JPEG, PNG or WebP"
        )
    if found.pixels == 0:
        raise EventError("bad_image", f"the picture is {found.width} × {found.height} pixels")
    return found


def read_data_url(url: str, most_bytes: int) -> bytes:
    """Give the bytes of a picture in a data: address.

    Raises EventError: bad_image for any other address and for what is no base64, frame_too_big beyond most_bytes.
    """
    match = _DATA_URL.match(url)
    if match is None:
        raise EventError(
            "bad_image",
            "image_url is no picture in a data: address",
            param="image_url",
            remedy="give data:image/jpeg;base64,… (png and webp too); addresses are never fetched",
        )
    if (len(url) - match.end()) // 4 * 3 > most_bytes + 2:
        raise _too_many(most_bytes)
    try:
        data = base64.b64decode(url[match.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise EventError("bad_image", "image_url is no valid base64", param="image_url") from None
    if len(data) > most_bytes:
        raise _too_many(most_bytes)
    return data


def _too_many(most_bytes: int) -> EventError:
    return EventError("frame_too_big", f"the picture has more than {most_bytes} bytes", param="image_url")


def _damaged(what: str) -> EventError:
    return EventError("bad_image", f"the picture's header is damaged: {what}")


def _png_size(view: memoryview) -> tuple[int, int]:
    """Walk over all chunks: a decoder may reserve what a length says before it finds that the bytes are not there."""
    if len(view) < 33 or bytes(view[8:16]) != b"\x00\x00\x00\rIHDR":
        raise _damaged("a PNG must begin with IHDR")
    at, end = 33, len(view)
    for _ in range(_MOST_SEGMENTS):
        if at + 12 > end:
            break
        length, kind = int.from_bytes(view[at : at + 4], "big"), bytes(view[at + 4 : at + 8])
        at += 12 + length
        if at > end:
            break
        if kind == b"acTL":
            raise EventError("bad_image", "the picture is an animation", remedy="send a still picture")
        if kind == b"IEND":
            return int.from_bytes(view[16:20], "big"), int.from_bytes(view[20:24], "big")
    raise _damaged("a PNG's chunks do not fit its bytes, or are too many")


def _jpeg_size(view: memoryview) -> tuple[int, int]:
    at, end = 2, len(view)
    for _ in range(_MOST_SEGMENTS):
        if at >= end or view[at] != 0xFF:
            raise _damaged("a JPEG's segment does not begin with FF")
        while at < end and view[at] == 0xFF:  # any number of fill bytes
            at += 1
        if at >= end:
            break
        marker = view[at]
        at += 1
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # these have no length
            continue
        if marker in (0x00, 0xD8, 0xD9, 0xDA):
            raise _damaged(f"a JPEG has marker {marker:02x} before its size")
        if at + 2 > end:
            break
        length = int.from_bytes(view[at : at + 2], "big")
        if length < 2:
            raise _damaged("a JPEG's segment has no length")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if length < 8 or at + 7 > end:
                break
            return int.from_bytes(view[at + 5 : at + 7], "big"), int.from_bytes(view[at + 3 : at + 5], "big")
        at += length
    raise _damaged("a JPEG ends before its size")


def _webp_size(view: memoryview) -> tuple[int, int]:
    if len(view) < 30:
        raise _damaged("a WebP ends before its size")
    chunk = bytes(view[12:16])
    if chunk == b"VP8 ":
        if view[20] & 1 or bytes(view[23:26]) != b"\x9d\x01\x2a":
            raise _damaged("a WebP must begin with a key frame")
        return (
            int.from_bytes(view[26:28], "little") & 0x3FFF,
            int.from_bytes(view[28:30], "little") & 0x3FFF,
        )
    if chunk == b"VP8L":
        if view[20] != 0x2F:
            raise _damaged("a lossless WebP must begin with 2f")
        bits = int.from_bytes(view[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8X":
        if view[20] & 2:
            raise EventError("bad_image", "the picture is an animation", remedy="send a still picture")
        return int.from_bytes(view[24:27], "little") + 1, int.from_bytes(view[27:30], "little") + 1
    raise _damaged("a WebP begins with an unknown chunk")
