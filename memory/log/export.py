"""Export and import: a whole log as one portable file of the same record format (docs/format.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ...errors import StorageError
from .about import About, parse_about
from .compaction import rewrite
from .errors import DamagedError
from .files import Files, write_new
from .reader import Reader
from .records import HEADER_BYTES, MARK, RecordHeader, RecordInfo, parse_header, payload_digest
from .scan import Found, OpenFile, payload_is_whole, walk
from .segments import COMPACTED, EXPORTED, SEGMENT_HEADER_BYTES, TEMPORARY, SegmentHeader, parse_segment_header


@dataclass(frozen=True, slots=True)
class Export:
    """Say what an export holds; damaged: records that were left out because they are."""

    records: int
    bytes: int
    damaged: int


@dataclass(frozen=True, slots=True)
class Portable:
    """Hold what is in an export file, all of it verified."""

    header: SegmentHeader
    about: About
    records: tuple[RecordInfo, ...]


def write_export(
    files: Files, path: Path, about: About, last: int, lost: int, infos: Sequence[RecordInfo], reader: Reader
) -> Export:
    """Write an export at one stroke, or nothing; raises OSError, StorageError.

    last: the newest sequence of the log.  lost: records that damage has taken already.
    """
    wanted = list(infos)
    while True:
        text = about.pack()
        damaged = len(infos) - len(wanted)
        header = SegmentHeader(about.log_id, 1, 0, EXPORTED, last, len(wanted), lost + damaged)
        front = RecordHeader(about.log_id, MARK, 0, 0, len(text), payload_digest(text))
        body = (reader.stored(info.sequence)[1] for info in wanted)
        temporary = path.with_name(path.name + TEMPORARY)
        if temporary.name in files.list(path.parent):
            files.unlink(temporary)
        try:
            write_new(files, temporary, chain([header.pack(), front.pack(), text], body))
            break
        except DamagedError:
            wanted = [info for info in wanted if _is_whole(reader, info)]
    files.rename(temporary, path)
    files.fsync_folder(path.parent)
    return Export(len(wanted), files.size(path), damaged)


def _is_whole(reader: Reader, info: RecordInfo) -> bool:
    try:
        reader.stored(info.sequence)
    except DamagedError:
        return False
    return True


def read_export(files: Files, path: Path) -> Portable:
    """Verify an export file to its last byte; raises DamagedError, StorageError for what is no export, OSError."""
    descriptor = files.open_read(path)
    try:
        file = OpenFile(files, descriptor, files.size(path))
        header = parse_segment_header(file.read(SEGMENT_HEADER_BYTES, 0), str(path))
        if header is None or header.role != EXPORTED:
            raise StorageError(f"{path} is no export of a log, or its beginning is damaged: export it again")
        front = Found(_front(file, header.log_id, path), SEGMENT_HEADER_BYTES)
        about = parse_about(file.read(front.header.payload_bytes, front.end - front.header.payload_bytes), str(path))
        if about is None or not payload_is_whole(file, front):
            raise _damaged(path, "its description")
        records: list[RecordInfo] = []
        for item in walk(file, header.log_id, front.end, 0, header.last):
            if not isinstance(item, Found) or item.header.kind == MARK or not payload_is_whole(file, item):
                raise _damaged(path, f"what comes at byte {item.offset}")
            found = item.header
            records.append(RecordInfo(found.sequence, found.kind, found.payload_bytes, path.name, item.offset))
    finally:
        files.close(descriptor)
    if len(records) != header.count:
        raise _damaged(path, f"it has {len(records)} of its {header.count} records; the end")
    return Portable(header, about, tuple(records))


def unpack(files: Files, path: Path, portable: Portable, folder: Path, segment_bytes: int) -> None:
    """Write an export's records into a folder, as compacted segments; raises OSError, DamagedError."""
    records, first, place = portable.records, 1, 0
    lost = portable.header.lost
    while place < len(records) or first <= portable.header.last:
        size, begin = SEGMENT_HEADER_BYTES, place
        while place < len(records) and (place == begin or size + _total(records[place]) <= segment_bytes):
            size += _total(records[place])
            place += 1
        last = records[place - 1].sequence if place < len(records) else portable.header.last
        header = SegmentHeader(portable.header.log_id, first, 1, COMPACTED, last, place - begin, lost)
        temporary = folder / (header.name + TEMPORARY)
        _, damage = rewrite(files, temporary, header, records[begin:place], path.parent)
        if damage:
            raise _damaged(path, f"record {damage[0].sequence}")
        files.rename(temporary, folder / header.name)
        first, lost = last + 1, 0


def _front(file: OpenFile, log_id: int, path: Path) -> RecordHeader:
    front = parse_header(file.read(HEADER_BYTES, SEGMENT_HEADER_BYTES), log_id)
    if front is None or front.kind != MARK or SEGMENT_HEADER_BYTES + front.total_bytes > file.size:
        raise _damaged(path, "its description")
    return front


def _total(info: RecordInfo) -> int:
    return HEADER_BYTES + info.payload_bytes


def _damaged(path: Path, what: str) -> DamagedError:
    return DamagedError(f"{path} is damaged: {what} is not what was written; nothing was imported, export it again")
