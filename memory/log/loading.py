"""Loading: from a segment file to its table of records, with what is damaged in it."""

from dataclasses import dataclass
from pathlib import Path

from ...errors import StorageError
from .damage import Damage
from .files import Files
from .records import HEADER_BYTES, MARK
from .scan import Bad, Found, OpenFile, payload_is_whole, tail_end, walk
from .segments import SEGMENT_HEADER_BYTES, WRITTEN, SegmentHeader, parse_name, parse_segment_header
from .table import Segment

_NO_LIMIT = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Loaded:
    """Hold a segment and the damage in it.

    torn_bytes: bytes behind its end that were never acknowledged.  durable: the sequence up to which the disk itself
    says that everything was synced.  durable_end: where those records end, in bytes.  vouched: the same sequence, as
    far as what is before the segment's end says so.
    """

    segment: Segment
    damage: tuple[Damage, ...]
    durable: int
    durable_end: int
    vouched: int
    torn_bytes: int = 0


def read_segment_header(files: Files, folder: Path, name: str, log_id: int) -> tuple[SegmentHeader | None, int]:
    """Read a file's header, None where it is damaged, and the file's size.

    Raises StorageError for another log's or a renamed file and for unknown versions, OSError.
    """
    descriptor = files.open_read(folder / name)
    try:
        data = OpenFile(files, descriptor, SEGMENT_HEADER_BYTES).read(SEGMENT_HEADER_BYTES, 0)
        size = files.size(folder / name)
    finally:
        files.close(descriptor)
    header = parse_segment_header(data, str(folder / name))
    if header is not None and header.log_id != log_id:
        raise StorageError(
            f"{folder / name} belongs to log {header.log_id:016x} and not to {log_id:016x}: move it to where it was"
        )
    if header is not None and (header.first, header.generation) != parse_name(name):
        raise StorageError(f"{folder / name} was renamed: call it {header.name}")
    return header, size


def load_sealed(files: Files, folder: Path, name: str, header: SegmentHeader | None, last: int, log_id: int) -> Loaded:
    """Load a segment that is not written any more and ends with a given sequence; raises OSError."""
    first, generation = _numbers(name)
    descriptor = files.open_read(folder / name)
    try:
        file = OpenFile(files, descriptor, files.size(folder / name))
        items = list(walk(file, log_id, SEGMENT_HEADER_BYTES, first - 1, last))
    finally:
        files.close(descriptor)
    segment, damage = _gather(Segment(first, generation, header, last, max(file.size, SEGMENT_HEADER_BYTES)), items)
    return Loaded(segment, damage, last, segment.end, last)


def load_last(files: Files, folder: Path, name: str, header: SegmentHeader | None, log_id: int) -> Loaded:
    """Load the segment that may still be written; raises OSError.

    What is not known to have been durable is verified, payloads included, and left out from where no whole append
    follows any more.
    """
    first, generation = _numbers(name)
    descriptor = files.open_read(folder / name)
    try:
        file = OpenFile(files, descriptor, files.size(folder / name))
        walked = list(walk(file, log_id, SEGMENT_HEADER_BYTES, first - 1, _NO_LIMIT))
        durable = max([first - 1, *(item.header.durable for item in walked if isinstance(item, Found))])
        items = [_verified(file, item, durable) for item in walked]
    finally:
        files.close(descriptor)
    end = tail_end(items, first)
    if header is None and end == SEGMENT_HEADER_BYTES and file.size > end:
        # No torn write destroys a header that was synced before it: something did, and nobody knows how many records
        # there were.  Sequences are not given twice, so as many are passed over as there may have been.
        end, durable = file.size, first - 1 - (SEGMENT_HEADER_BYTES - file.size) // HEADER_BYTES
    kept = [item for item in items if item.end <= end]
    last = max([durable, *(item.header.sequence for item in kept if isinstance(item, Found))])
    synced = [item.end for item in kept if isinstance(item, Found) and item.header.sequence <= durable]
    durable_end = max([SEGMENT_HEADER_BYTES, *synced])
    segment, damage = _gather(Segment(first, generation, header, last, end), kept)
    vouched = durable
    if kept != items:
        vouched = max([first - 1, *(item.header.durable for item in kept if isinstance(item, Found))])
    return Loaded(segment, damage, durable, durable_end, vouched, max(file.size - end, 0))


def _numbers(name: str) -> tuple[int, int]:
    numbers = parse_name(name)
    if numbers is None:
        raise ValueError(f"{name} is no segment's name")
    return numbers


def _verified(file: OpenFile, item: Found | Bad, durable: int) -> Found | Bad:
    if isinstance(item, Bad) or item.header.sequence <= durable or payload_is_whole(file, item):
        return item
    return Found(item.header, item.offset, whole=False)


def _gather(segment: Segment, items: list[Found | Bad]) -> tuple[Segment, tuple[Damage, ...]]:
    """Fill a segment's table; compare what was found with what the header, or the range, says must be there."""
    name, damage = segment.name, list[Damage]()
    if segment.header is None:
        damage.append(Damage(name, 0, SEGMENT_HEADER_BYTES, None, "the segment's header is unreadable"))
    # A later generation without a readable header is most likely compacted: nobody knows how many records it had.
    counted = segment.header.role != WRITTEN if segment.header else segment.generation > 0
    mark_bytes, last, bad = 0, segment.first - 1, list[Bad]()
    for item in [*items, None]:
        if isinstance(item, Bad):
            bad.append(item)
            continue
        if item is not None and item.header.kind == MARK:
            mark_bytes += item.header.total_bytes
        upto = segment.last if item is None else item.header.sequence - (item.header.kind != MARK)
        gap = 0 if counted else upto - last
        damage += _places(name, bad, last, gap)
        if gap > 0 and not bad:
            offset = segment.end if item is None else item.offset
            damage.append(Damage(name, offset, 0, None, f"records {last + 1} to {upto} are missing"))
        bad = []
        if item is None:
            break
        last = item.header.sequence
        if item.header.kind != MARK:
            segment.table.append(last, item.header.kind, item.header.payload_bytes, item.offset)
            if not item.whole:
                damage.append(Damage(name, item.offset, item.header.total_bytes, last, "the record is damaged"))
    wanted = len(segment.table) if counted else segment.last - segment.first + 1
    if counted and segment.header is not None:
        wanted = segment.header.count
        if wanted != len(segment.table):
            what = f"{wanted - len(segment.table)} of {wanted} records are missing"
            damage.append(Damage(name, segment.end, 0, None, what))
        if segment.header.lost:
            what = f"{segment.header.lost} records were lost to damage before this segment was compacted"
            damage.append(Damage(name, SEGMENT_HEADER_BYTES, 0, None, what))
    missing = max(wanted - len(segment.table), 0)
    filled = Segment(
        segment.first,
        segment.generation,
        segment.header,
        segment.last,
        segment.end,
        mark_bytes,
        missing,
        segment.table,
    )
    return filled, tuple(damage)


def _places(name: str, bad: list[Bad], last: int, gap: int) -> list[Damage]:
    """Name the bad places between two records; where just one record fits in, it is that one's."""
    return [
        Damage(
            name,
            item.offset,
            item.end - item.offset,
            last + 1 if gap == 1 and len(bad) == 1 else None,
            "unreadable bytes" if gap == 0 else "a record is unreadable",
        )
        for item in bad
    ]
