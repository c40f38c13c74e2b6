"""Segments: the header that each file of records begins with, and the file's name (docs/format.md)."""

import re
import struct
from dataclasses import dataclass
from hashlib import blake2b

from ...errors import StorageError

FORMAT_VERSION = 1
"""The version of the format that is written, and the only one that is read."""
SUFFIX = ".seg"
TEMPORARY = ".tmp"

_MAGIC = b"\x89OLSEG\r\n"
# magic, format version, what it is, generation, log id, first, last, count, lost | header digest
_FIELDS = struct.Struct("<8sHHIQQQQQ")
_DIGEST_BYTES = 16
SEGMENT_HEADER_BYTES = _FIELDS.size + _DIGEST_BYTES
_NAME = re.compile(r"([0-9a-f]{16})-([0-9]+)\.seg")

WRITTEN, COMPACTED, EXPORTED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """Hold what a file of records begins with.

    role: WRITTEN, a stretch of the log as it was appended; COMPACTED, what was left of sequences first to last;
    EXPORTED, a portable file.  For the last two: count, the records it was written with; lost, the records of its
    range that were unreadable at that time.
    """

    log_id: int
    first: int
    generation: int = 0
    role: int = WRITTEN
    last: int = 0
    count: int = 0
    lost: int = 0

    @property
    def name(self) -> str:
        """The file's name."""
        return segment_name(self.first, self.generation)

    def pack(self) -> bytes:
        """Give the header's bytes."""
        fields = _FIELDS.pack(
            _MAGIC,
            FORMAT_VERSION,
            self.role,
            self.generation,
            self.log_id,
            self.first,
            self.last,
            self.count,
            self.lost,
        )
        return fields + blake2b(fields, digest_size=_DIGEST_BYTES).digest()


def segment_name(first: int, generation: int) -> str:
    """Give the name of the file whose records begin at a sequence."""
    return f"{first:016x}-{generation}{SUFFIX}"


def parse_name(name: str) -> tuple[int, int] | None:
    """Read (first sequence, generation) out of a file's name; None for another file's."""
    match = _NAME.fullmatch(name)
    return (int(match[1], 16), int(match[2])) if match else None


def parse_segment_header(data: bytes, name: str) -> SegmentHeader | None:
    """Read the header that a file begins with; None where it is damaged.  Raises StorageError for unknown versions."""
    fields, digest = data[: _FIELDS.size], data[_FIELDS.size : SEGMENT_HEADER_BYTES]
    if len(data) < SEGMENT_HEADER_BYTES or blake2b(fields, digest_size=_DIGEST_BYTES).digest() != digest:
        return None
    magic, version, role, generation, log_id, first, last, count, lost = _FIELDS.unpack(fields)
    if magic != _MAGIC:
        return None
    if version != FORMAT_VERSION or role not in (WRITTEN, COMPACTED, EXPORTED):
        raise StorageError(
            f"{name} has format version {version} (role {role}); this Onlooker knows version {FORMAT_VERSION}: "
            "use the one that wrote it"
        )
    return SegmentHeader(log_id, first, generation, role, last, count, lost)
