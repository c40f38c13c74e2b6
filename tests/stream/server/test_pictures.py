import asyncio
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onlooker.stream.protocol.errors import EventError
from onlooker.stream.server.pictures import MOST_SCANS, PictureDecoder, decode

MOST = 1 << 20
RED = np.full((6, 10, 3), (250, 10, 20), np.uint8)


def coded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of few bytes whose header claims any size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 16))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0" + bytes(300)}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}),
    ],
)
def test_every_format_gives_its_pixels(kind: str, options: dict[str, object]) -> None:
    picture = decode(coded(Image.fromarray(RED), kind, **options), MOST)
    assert picture.shape == (6, 10, 3) and picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - RED).max() <= 12


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: coded(Image.new("L", (4, 4), 77), "PNG"), (77, 77, 77)),
        (lambda: coded(Image.new("L", (8, 8), 77), "JPEG"), (77, 77, 77)),
        (lambda: coded(Image.new("RGBA", (4, 4), (200, 100, 50, 0)), "PNG"), (0, 0, 0)),
        (lambda: coded(Image.new("RGBA", (4, 4), (200, 100, 50, 255)), "WEBP", lossless=True), (200, 100, 50)),
        (lambda: coded(Image.new("LA", (4, 4), (90, 255)), "PNG"), (90, 90, 90)),
        (lambda: coded(Image.new("I;16", (4, 4), 77 << 8), "PNG"), (77, 77, 77)),
        (lambda: coded(Image.new("1", (4, 4), 1), "PNG"), (255, 255, 255)),
        (lambda: coded(Image.fromarray(RED).quantize(4), "PNG"), (250, 10, 20)),
    ],
)
def test_grey_alpha_deep_and_palette_pictures_become_rgb(make: Callable[[], bytes], expected: tuple[int, ...]) -> None:
    picture = decode(make(), MOST)
    assert picture.shape[2] == 3
    assert np.abs(picture[0, 0].astype(int) - expected).max() <= 3


def test_exif_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert decode(coded(Image.fromarray(RED), "JPEG", exif=exif), MOST).shape == (6, 10, 3)


@pytest.mark.parametrize("size", [(65_500, 65_500), (2_000_000_000, 1), (1025, 1024)])
def test_a_pixel_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    bomb = png_claiming(*size)
    assert len(bomb) < 400
    with pytest.raises(EventError, match=rf"{size[0]} × {size[1]} pixels; the limit is {MOST}") as caught:
        decode(bomb, MOST)
    assert caught.value.code == "frame_too_big"


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    data = coded(Image.fromarray(RED), "JPEG", progressive=True)
    scan = data[data.index(b"\xff\xda") : -2]
    with pytest.raises(EventError, match="scans"):
        decode(data[:-2] + scan * MOST_SCANS + data[-2:], MOST)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a" + bytes(30), b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"BM" + bytes(60)]
)
def test_what_is_no_picture_of_the_three_kinds_is_refused(data: bytes) -> None:
    with pytest.raises(EventError):
        decode(data, MOST)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_that_is_cut_is_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    data = coded(Image.fromarray(noise), kind)
    with pytest.raises(EventError):
        decode(data[: len(data) * 2 // 3], MOST)


@given(st.data())
def test_damage_gives_pixels_or_an_event_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP"]))
    whole = bytearray(coded(Image.fromarray(RED), kind))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = decode(bytes(whole), MOST)
    except EventError:
        return
    assert picture.ndim == 3 and picture.size <= 3 * MOST


def test_decoding_happens_off_the_event_loop() -> None:
    async def run() -> tuple[int, ...]:
        decoder = PictureDecoder(1, MOST)
        try:
            return (await decoder.run(lambda: decoder.pixels(coded(Image.fromarray(RED), "PNG")))).shape
        finally:
            decoder.close()

    assert asyncio.run(run()) == (6, 10, 3)
