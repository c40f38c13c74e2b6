"""What a video file's outermost structure says about itself, read from a few bytes."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

ContainerKind = Literal["mp4", "matroska", "avi", "other"]

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot")
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


@dataclass(frozen=True, slots=True)
class Container:
    """Say what kind of container a file is and whether all of it is there.

    whole: False if the file is shorter than its own headers say; None if they do not say.
    has_index: False for an mp4 whose index (the moov box) is missing, so that nobody can decode it.
    """

    kind: ContainerKind
    whole: bool | None
    has_index: bool = True


def inspect(path: Path) -> Container:
    """Read the outermost headers of a file: mp4/mov boxes, Matroska/WebM elements, AVI chunks.

    Reads a few bytes per outer box, whatever the file's length. Raises OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        if head[4:8] in _BOXES:
            return _inspect_mp4(file, size)
        if head[:4] == _EBML:
            return _inspect_matroska(file, size)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return _inspect_avi(file, size)
    return Container("other", None)


def _inspect_mp4(file: BinaryIO, size: int) -> Container:
    """Walk the top-level boxes (ISO/IEC 14496-12, 4.2): a 32-bit size and a type, 1 = 64-bit size, 0 = to the end."""
    offset, has_index = 0, False
    while offset + 8 <= size:
        file.seek(offset)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:], "big")
        if length == 0:
            length = size - offset
        if length < 8:
            return Container("mp4", False, has_index)
        if header[4:8] == b"moov":
            has_index = offset + length <= size
        offset += length
    return Container("mp4", offset == size, has_index)


def _inspect_matroska(file: BinaryIO, size: int) -> Container:
    """Read the EBML header's and the Segment's sizes (RFC 8794, RFC 9559); a live writer leaves the latter unknown."""
    file.seek(4)
    header_bytes = _read_size(file)
    if header_bytes is None:
        return Container("matroska", None)
    file.seek(header_bytes, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return Container("matroska", None)
    segment_bytes = _read_size(file)
    if segment_bytes is None:
        return Container("matroska", None)
    return Container("matroska", file.tell() + segment_bytes <= size)


def _read_size(file: BinaryIO) -> int | None:
    """Read a variable-length size: the leading zeros of its first byte tell its length; all ones is unknown."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> extra)]) + file.read(extra), "big")
    return None if value == (1 << (7 * (extra + 1))) - 1 else value


def _inspect_avi(file: BinaryIO, size: int) -> Container:
    """Walk the RIFF chunks; a long (OpenDML) file has several; a size of 0 is one that its writer never filled in."""
    offset = 0
    while offset + 8 <= size:
        file.seek(offset)
        header = file.read(8)
        if header[:4] != b"RIFF":
            break
        length = int.from_bytes(header[4:], "little")
        if length == 0:
            return Container("avi", None)
        offset += 8 + length + length % 2
    return Container("avi", offset <= size + 1)
