import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.protocol.errors import EventError
from onlooker.stream.protocol.frame_header import HEADER_BYTES, FrameHeader, read_header

headers = st.builds(
    FrameHeader,
    sequence=st.integers(0, 2**32 - 1),
    captured_unix_us=st.integers(0, 2**53 - 1),
    keyframe_hint=st.booleans(),
    discontinuity=st.booleans(),
)


@given(headers)
def test_what_is_packed_is_read_again(header: FrameHeader) -> None:
    data = header.pack()
    assert len(data) == HEADER_BYTES
    assert read_header(data + b"x") == header


def test_the_layout_is_that_of_the_document() -> None:
    data = FrameHeader(0x01020304, 0x0011223344556677 & (2**53 - 1), keyframe_hint=True, discontinuity=True).pack()
    assert data.hex(" ") == "01 01 00 00 04 03 02 01 77 66 55 44 33 22 11 00 03 00 00 00 00 00 00 00"


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        packed, refusal = read_header(data).pack(), ""
    except EventError as error:
        packed, refusal = data[:HEADER_BYTES], error.code
    assert packed == data[:HEADER_BYTES]
    assert refusal in ("", "bad_frame")


@pytest.mark.parametrize(
    ("at", "value", "param"),
    [(0, 0, "version"), (0, 2, "version"), (1, 2, "kind"), (2, 1, "source"), (15, 0x80, "captured_unix_us"),
     (15, 1, "captured_unix_us"), (16, 4, "flags"), (19, 1, "flags"), (20, 1, "reserved"), (23, 1, "reserved")],
)  # fmt: skip
def test_a_byte_that_may_not_be_is_refused(at: int, value: int, param: str) -> None:
    data = bytearray(FrameHeader(7, 1_795_000_000_000_000).pack() + b"x")
    data[at] = value
    with pytest.raises(EventError) as caught:
        read_header(data)
    assert (caught.value.code, caught.value.param) == ("bad_frame", param)


def test_a_header_without_a_picture_is_no_frame() -> None:
    with pytest.raises(EventError, match="24 bytes"):
        read_header(FrameHeader(0, 0).pack())


@pytest.mark.parametrize(
    "header", [FrameHeader(-1, 0), FrameHeader(2**32, 0), FrameHeader(0, -1), FrameHeader(0, 2**53)]
)
def test_numbers_that_do_not_fit_are_not_packed(header: FrameHeader) -> None:
    with pytest.raises(EventError):
        header.pack()


def test_fields_lie_where_struct_puts_them() -> None:
    data = FrameHeader(9, 12, discontinuity=True).pack()
    assert struct.unpack("<BBHIqII", data) == (1, 1, 0, 9, 12, 2, 0)
