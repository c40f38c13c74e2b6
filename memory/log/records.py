"""Records: the header in front of every payload, to the byte (docs/format.md)."""

import struct
from dataclasses import dataclass
from hashlib import blake2b

MARK = 0
"""Kind of the empty record that a log closed in good order ends with."""
MOST_IN_APPEND = 65_535
"""Most records in one append: their place in it takes 16 bits."""

_MAGIC = b"\xf5OLr"
# magic, format version, kind, log id, sequence, durable, payload bytes, place, left, payload digest | header digest
_FIELDS = struct.Struct("<4sHHQQQQHH16s")
_DIGEST_BYTES = 12
HEADER_BYTES = _FIELDS.size + _DIGEST_BYTES
_VERSION = 1


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """Hold what stands in front of a payload.

    sequence: counted from 1 per log; a mark has its predecessor's.  durable: the sequence up to which everything was
    on the disk when this was written, so that a bad record at or below it is damage and no torn write.  place, left:
    how many records of the same append stand before this one, and after it; without meaning in a compacted segment.
    """

    log_id: int
    kind: int
    sequence: int
    durable: int
    payload_bytes: int
    payload_digest: bytes
    place: int = 0
    left: int = 0

    @property
    def total_bytes(self) -> int:
        """Bytes of header and payload."""
        return HEADER_BYTES + self.payload_bytes

    def pack(self) -> bytes:
        """Give the header's bytes."""
        fields = _FIELDS.pack(
            _MAGIC,
            _VERSION,
            self.kind,
            self.log_id,
            self.sequence,
            self.durable,
            self.payload_bytes,
            self.place,
            self.left,
            self.payload_digest,
        )
        return fields + blake2b(fields, digest_size=_DIGEST_BYTES).digest()


@dataclass(frozen=True, slots=True)
class RecordInfo:
    """Say where a record is and how large; offset: of its header in the segment file, in bytes."""

    sequence: int
    kind: int
    payload_bytes: int
    segment: str
    offset: int


def payload_digest(payload: bytes | memoryview) -> bytes:
    """Give the digest of a payload, 16 bytes."""
    return blake2b(payload, digest_size=16).digest()


def parse_header(data: bytes, log_id: int, offset: int = 0) -> RecordHeader | None:
    """Read the header of one of a log's records; None where there is none or it is damaged."""
    end = offset + _FIELDS.size
    if len(data) < offset + HEADER_BYTES or not data.startswith(_MAGIC, offset):
        return None
    digest = data[end : end + _DIGEST_BYTES]
    if blake2b(data[offset:end], digest_size=_DIGEST_BYTES).digest() != digest:
        return None
    _, version, kind, owner, sequence, durable, size, place, left, payload = _FIELDS.unpack_from(data, offset)
    if version != _VERSION or owner != log_id:
        return None
    return RecordHeader(owner, kind, sequence, durable, size, payload, place, left)


def find_magic(data: bytes, start: int) -> int:
    """Give where the next header may begin in some bytes; -1 where none can."""
    return data.find(_MAGIC, start)
