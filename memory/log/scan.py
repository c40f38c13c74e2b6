"""Scanning: walk the records of a segment file, over bad places, and tell damage from a write that was cut off."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .files import Files, read_whole
from .records import HEADER_BYTES, MARK, RecordHeader, find_magic, parse_header, payload_digest
from .segments import SEGMENT_HEADER_BYTES

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """Hold a header that was found; offset: where it begins, in bytes; whole: False where its payload is known bad."""

    header: RecordHeader
    offset: int
    whole: bool = True

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.offset + self.header.total_bytes


@dataclass(frozen=True, slots=True)
class Bad:
    """Hold a place without a readable header, or with one whose payload the file's end cuts off."""

    offset: int
    end: int


@dataclass(frozen=True, slots=True)
class OpenFile:
    """Hold a file that is open for reading, and how many of its bytes count."""

    files: Files
    descriptor: int
    size: int

    def read(self, size: int, offset: int) -> bytes:
        """Read from an offset, no further than the bytes that count."""
        return read_whole(self.files, self.descriptor, min(size, self.size - offset), offset)


def walk(file: OpenFile, log_id: int, start: int, after: int, limit: int) -> Iterator[Found | Bad]:
    """Give the records between two offsets in order, and the bad places between them; payloads are not read.

    after, limit: sequences lie above the one and not above the other.  A header that is whole is trusted for its
    length even if its payload is cut off, so that nothing inside a payload passes for a record; behind a damaged
    header the next whole one with a later sequence counts.
    """
    position, last = start, after
    while position < file.size:
        header = parse_header(file.read(HEADER_BYTES, position), log_id)
        if header is not None and _fits(header, last, limit):
            if position + header.total_bytes > file.size:
                yield Bad(position, file.size)
                return
            found = Found(header, position)
            yield found
            position, last = found.end, header.sequence
            continue
        # A whole header that does not belong here is skipped with its payload; of a damaged one no length is known.
        beyond = position + (header.total_bytes if header is not None else 1)
        end = _next_header(file, log_id, beyond, last, limit)
        yield Bad(position, end)
        position = end


def payload_is_whole(file: OpenFile, found: Found) -> bool:
    """Read a payload and compare it with its digest."""
    payload = file.read(found.header.payload_bytes, found.offset + HEADER_BYTES)
    return payload_digest(payload) == found.header.payload_digest


def tail_end(items: Sequence[Found | Bad], first: int) -> int:
    """Tell where the last segment's records end; what is behind was never acknowledged and may be cut off.

    items: the walk over the segment, with the payloads verified of records that are not known to be durable.  first:
    the segment's first sequence.  Kept is everything up to the last whole append, closing mark or record that some
    header calls durable; bad places before that are damage.
    """
    durable = max([first - 1, *(item.header.durable for item in items if isinstance(item, Found))])
    end, last, whole = SEGMENT_HEADER_BYTES, first - 1, 0
    for item in items:
        if isinstance(item, Bad):
            whole = 0
            continue
        header = item.header
        if header.durable > last:
            # What was durable when this was written lies before it, readable or not.
            end = max(end, item.offset)
        whole = whole + 1 if header.place == whole else int(header.place == 0)
        if not item.whole:
            whole = 0
        if header.kind == MARK or header.sequence <= durable or (header.left == 0 and whole == header.place + 1):
            end = item.end
        if header.kind == MARK or header.left == 0:
            whole = 0
        last = header.sequence
    return end


def _fits(header: RecordHeader, last: int, limit: int) -> bool:
    # A mark repeats the sequence of the record before it.
    return (last if header.kind == MARK else last + 1) <= header.sequence <= limit


def _next_header(file: OpenFile, log_id: int, start: int, last: int, limit: int) -> int:
    position = start
    while position < file.size:
        chunk = file.read(_CHUNK_BYTES + HEADER_BYTES - 1, position)
        place = find_magic(chunk, 0)
        while 0 <= place < _CHUNK_BYTES:
            header = parse_header(chunk, log_id, place)
            # A mark must rise as well here: a payload may hold a copy of the one that its record came after.
            if header and last < header.sequence <= limit and position + place + header.total_bytes <= file.size:
                return position + place
            place = find_magic(chunk, place + 1)
        position += _CHUNK_BYTES
    return file.size
