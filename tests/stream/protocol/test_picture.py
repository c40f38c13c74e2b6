import base64
import io
import random
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onlooker.stream.protocol.errors import EventError
from onlooker.stream.protocol.picture import Picture, read_data_url, read_picture

SIZES = [(1, 1), (3, 2), (16, 16), (17, 33), (640, 360), (1921, 7)]


def encoded(kind: str, width: int, height: int, **options: object) -> bytes:
    image = Image.effect_noise((width, height), 60).convert(str(options.pop("mode", "RGB")))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def outcome(data: bytes) -> Picture | str:
    """Give what is read, or the code of the refusal."""
    try:
        return read_picture(data)
    except EventError as error:
        return error.code


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("jpeg", {}),
        ("jpeg", {"progressive": True}),
        ("jpeg", {"mode": "L", "restart_marker_blocks": 1}),
        ("jpeg", {"exif": b"Exif\x00\x00" + b"\xff\xc0\x00\x11" * 40, "comment": b"\xff\xc0"}),
        ("jpeg", {"icc_profile": b"\xff\xc0" * 70_000}),
        ("png", {}),
        ("png", {"mode": "P"}),
        ("png", {"mode": "RGBA"}),
        ("webp", {}),
        ("webp", {"lossless": True}),
        ("webp", {"mode": "RGBA"}),
        ("webp", {"exif": b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00"}),
    ],
)
def test_size_and_format_are_those_of_the_picture(
    kind: str, options: dict[str, object], width: int, height: int
) -> None:
    assert read_picture(encoded(kind, width, height, **dict(options))) == Picture(kind, width, height)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_opencvs_pictures_are_read_too(suffix: str) -> None:
    ok, data = cv2.imencode(suffix, np.zeros((48, 64, 3), np.uint8))
    assert ok
    found = read_picture(data.tobytes())
    assert (found.width, found.height, found.pixels) == (64, 48, 3072)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"RIFF\0\0\0\0WEBPVP8X"]),
)
def test_any_bytes_are_read_or_refused(data: bytes, start: bytes) -> None:
    found = outcome(start + data)
    assert found == "bad_image" or (isinstance(found, Picture) and found.pixels > 0)


def test_damaged_pictures_are_read_or_refused_and_never_smaller_than_what_decodes() -> None:
    """A limit on pixels is worth nothing if a decoder makes more of a file than its header seemed to say."""
    draw = random.Random(5)
    whole = [encoded(kind, 24, 20) for kind in ("jpeg", "png", "webp")]
    whole += [encoded("jpeg", 24, 20, progressive=True), encoded("webp", 24, 20, lossless=True)]
    whole += [encoded("webp", 24, 20, mode="RGBA")]
    decoded = 0
    for _ in range(2000):
        data = bytearray(draw.choice(whole))
        for _ in range(draw.randrange(1, 4)):
            data[draw.randrange(min(len(data), 200))] = draw.randrange(256)
        told = outcome(bytes(data))
        if isinstance(told, str) or told.pixels > 1 << 14:
            continue  # a server refuses these before it decodes them
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is not None:
            decoded += 1
            assert image.shape[0] * image.shape[1] <= told.pixels
    assert decoded > 500


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_every_beginning_of_a_picture_is_read_or_refused(kind: str) -> None:
    data = encoded(kind, 8, 8)
    for end in range(min(len(data), 700)):
        assert outcome(data[:end]) in ("bad_image", Picture(kind, 8, 8))


@pytest.mark.parametrize("kind", ["gif", "bmp", "tiff"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(EventError, match="no JPEG, PNG or WebP"):
        read_picture(encoded(kind, 8, 8))


@pytest.mark.parametrize("kind", ["webp", "png"])
def test_an_animation_is_refused(kind: str) -> None:
    file = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    with pytest.raises(EventError, match="animation"):
        read_picture(file.getvalue())


@pytest.mark.parametrize("length", [b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x20\x00"])
def test_a_chunk_longer_than_the_file_is_refused_before_a_decoder_makes_room_for_it(length: bytes) -> None:
    data = bytearray(encoded("png", 8, 8))
    data[33:37] = length
    with pytest.raises(EventError, match="do not fit"):
        read_picture(bytes(data))


def test_no_pixels_are_refused() -> None:
    data = bytearray(encoded("png", 8, 8))
    data[16:20] = struct.pack(">I", 0)
    with pytest.raises(EventError, match="0 × 8 pixels"):
        read_picture(bytes(data))


def test_a_picture_that_claims_the_most_pixels_is_read_at_once() -> None:
    data = bytearray(encoded("png", 8, 8))
    data[16:24] = struct.pack(">II", 0xFFFFFFFF, 0xFFFFFFFF)
    assert read_picture(bytes(data)).pixels == 0xFFFFFFFF**2


def test_a_data_address_gives_its_bytes() -> None:
    data = encoded("jpeg", 8, 8)
    assert read_data_url("data:image/jpeg;base64," + base64.b64encode(data).decode(), len(data)) == data


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://169.254.169.254/latest", "bad_image"),
        ("file:///etc/passwd", "bad_image"),
        ("data:text/html;base64,AAAA", "bad_image"),
        ("data:image/jpeg;base64,A", "bad_image"),
        ("data:image/jpeg;base64,AA=A", "bad_image"),
        ("data:image/jpeg;base64,é", "bad_image"),
        ("data:image/png;base64," + "A" * 1000, "frame_too_big"),
        ("data:image/png;base64," + "AAAA" * 33 + "AAA=", "frame_too_big"),
    ],
)
def test_other_addresses_and_too_much_are_refused(url: str, code: str) -> None:
    with pytest.raises(EventError) as caught:
        read_data_url(url, 100)
    assert (caught.value.code, caught.value.param) == (code, "image_url")
