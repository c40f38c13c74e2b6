import io
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onlooker.client.encoding import Encoder, encode_png, find_encode
from onlooker.errors import SourceError
from onlooker.stream.protocol.picture import read_picture

GENERATOR = np.random.default_rng(3)
SHAPES = [(1, 1), (1, 7), (5, 3), (48, 64)]


def smooth(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Draw what a JPEG keeps nearly as it is, with unlike channels."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 4 % 256, columns * 3 % 256, (rows + columns) * 2 % 256], axis=2).astype(np.uint8)


def decoded(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_a_png_is_the_picture(height: int, width: int) -> None:
    image = GENERATOR.integers(0, 256, (height, width, 3), dtype=np.uint8)
    data = encode_png(image)
    assert (decoded(data) == image).all()
    found = read_picture(data)
    assert (found.format, found.width, found.height) == ("png", width, height)


@pytest.mark.parametrize("missing", [(), ("cv2",), ("cv2", "PIL", "PIL.Image")])
def test_the_picture_is_the_same_whatever_is_installed(
    monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    encode = find_encode()
    monkeypatch.undo()
    data = encode(smooth(48, 64), 90)
    assert read_picture(data).format == ("png" if "PIL" in missing else "jpeg")
    assert np.abs(decoded(data).astype(int) - smooth(48, 64)).mean() < 6  # red and blue swapped would be far off


def test_a_picture_that_is_too_large_is_made_poorer_and_at_last_refused() -> None:
    noise = GENERATOR.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    sizes = [len(find_encode()(noise, quality)) for quality in (90, 70, 45)]
    assert len(Encoder().encode(noise, sizes[0])) == sizes[0]
    assert len(Encoder().encode(noise, sizes[0] - 1)) == sizes[1]
    assert len(Encoder().encode(noise, sizes[1] - 1)) == sizes[2]
    with pytest.raises(SourceError, match=f"{sizes[2]} bytes, over the limit of {sizes[2] - 1}"):
        Encoder().encode(noise, sizes[2] - 1)
