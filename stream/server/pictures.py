"""Pictures from a client, decoded off the event loop; their header has passed the protocol's limits before.

EXIF orientation is ignored: a picture is taken as it is stored, as cameras' streams are.
"""

import asyncio
import io
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..protocol.errors import EventError
from ..protocol.picture import read_picture

T = TypeVar("T")

MOST_SCANS = 64
"""Of one JPEG: every scan of a progressive one costs a pass over the whole picture."""

_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    Image.DecompressionBombError,
)


def decode(data: bytes, most_pixels: int) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG or WebP to uint8 [H, W, 3] RGB: grey is spread, alpha is laid over black.

    Raises EventError: frame_too_big for one with more than most_pixels, bad_image for what cannot be decoded whole.
    """
    head = read_picture(data)
    _check_pixels(head.width, head.height, most_pixels)
    if head.format == "jpeg" and data.count(b"\xff\xda") > MOST_SCANS:
        raise EventError("bad_image", f"the JPEG has more than {MOST_SCANS} scans", remedy="save it as a baseline JPEG")
    try:
        with Image.open(io.BytesIO(data), formats=(head.format.upper(),)) as opened:
            _check_pixels(opened.width, opened.height, most_pixels)  # the header that counts may be another one
            return _rgb(opened)
    except _DECODER_ERRORS as error:
        raise EventError("bad_image", f"the {head.format} cannot be decoded: {error}"[:200]) from None


class PictureDecoder:
    """Decode pictures in a few threads of its own."""

    def __init__(self, threads: int, most_pixels: int) -> None:
        self._most_pixels = most_pixels
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="onlooker-picture")

    def pixels(self, data: bytes | memoryview) -> NDArray[np.uint8]:
        """Decode one here and now, as decode() does."""
        return decode(bytes(data), self._most_pixels)

    async def run(self, work: Callable[[], T]) -> T:
        """Do some work in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """End the threads; what waits is given up."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def _check_pixels(width: int, height: int, most_pixels: int) -> None:
    if width * height > most_pixels:
        raise EventError(
            "frame_too_big", f"the picture is {width} × {height} pixels; the limit is {most_pixels} pixels"
        )


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip
        grey = np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        over = Image.new("RGBA", image.size, (0, 0, 0, 255))
        over.alpha_composite(image.convert("RGBA"))
        image = over
    return np.array(image.convert("RGB"))
