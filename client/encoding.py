"""Pictures made small for the way: JPEG by OpenCV or Pillow where one is there, else PNG by zlib."""

import io
import struct
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError

QUALITIES = (90, 70, 45)
"""Of JPEG; the next one is tried where a picture has more bytes than it may have."""

Encode = Callable[[NDArray[np.uint8], int], bytes]
"""(uint8 [H, W, 3] RGB, quality) -> the bytes of a file."""


class Encoder:
    """Encode pictures; what with is found at the first one.  encode: use this instead."""

    def __init__(self, encode: Encode | None = None) -> None:
        self._encode = encode

    def encode(self, image: NDArray[np.uint8], most_bytes: int) -> bytes:
        """Encode uint8 [H, W, 3] RGB in at most most_bytes.  Raises SourceError where that cannot be."""
        if self._encode is None:
            self._encode = find_encode()
        size = 0
        for quality in QUALITIES:
            data = self._encode(image, quality)
            size = len(data)
            if size <= most_bytes:
                return data
        raise SourceError(f"the picture has {size} bytes, over the limit of {most_bytes}; send a smaller one")


def find_encode() -> Encode:
    """Give the best way to encode that is installed."""
    for module, make in (("cv2", _with_opencv), ("PIL.Image", _with_pillow)):
        try:
            return make(import_module(module))
        except ImportError:
            continue
    return encode_png


def encode_png(image: NDArray[np.uint8], quality: int = 0) -> bytes:
    """Encode as PNG, quickly and not small (the PNG specification, 11.2, filter 0).  quality: makes no difference."""
    height, width = image.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each row begins with its filter's number
    rows[:, 1:] = image.reshape(height, 3 * width)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _with_opencv(cv2: Any) -> Encode:
    def encode(image: NDArray[np.uint8], quality: int) -> bytes:
        done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not done:
            raise SourceError(f"OpenCV cannot encode a picture of {list(image.shape)}")
        return bytes(data)

    return encode


def _with_pillow(pillow: Any) -> Encode:
    def encode(image: NDArray[np.uint8], quality: int) -> bytes:
        file = io.BytesIO()
        pillow.fromarray(image).save(file, "JPEG", quality=quality)
        return file.getvalue()

    return encode
