"""Compaction: rewrite sealed segments without the records that nobody wants any more."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

from .damage import Damage
from .files import Files, write_new
from .records import HEADER_BYTES, RecordInfo, parse_header, payload_digest
from .scan import OpenFile
from .segments import COMPACTED, SEGMENT_HEADER_BYTES, SegmentHeader
from .table import Segment

_SMALL_PART = 4  # a segment below this part of the limit is joined with its neighbours

IsLive = Callable[[RecordInfo], bool]


@dataclass(frozen=True, slots=True)
class Compaction:
    """Say what a compaction did.

    before_bytes, after_bytes: all files of the log.  finished: False where the budget ran out; call again to go on.
    """

    before_bytes: int
    after_bytes: int
    copied_bytes: int
    dropped_records: int
    finished: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Hold consecutive sealed segments that become one, and which of their records stay."""

    segments: tuple[Segment, ...]
    live: tuple[RecordInfo, ...]
    records: int

    @property
    def live_bytes(self) -> int:
        """Bytes of the records that stay, headers included."""
        return sum(HEADER_BYTES + info.payload_bytes for info in self.live)

    @property
    def _between(self) -> int:
        """Records whose whole segment is missing."""
        return sum(after.first - before.last - 1 for before, after in pairwise(self.segments))

    def header(self, log_id: int) -> SegmentHeader:
        """Give the header of the segment that takes their place."""
        return SegmentHeader(
            log_id=log_id,
            first=self.segments[0].first,
            generation=max(segment.generation for segment in self.segments) + 1,
            role=COMPACTED,
            last=self.segments[-1].last,
            count=len(self.live),
            lost=sum(segment.lost for segment in self.segments) + self._between,
        )


def plan(segments: Sequence[Segment], is_live: IsLive, segment_bytes: int) -> Iterator[Group]:
    """Give the groups of sealed segments that are worth rewriting, each as soon as it is known.

    Worth it are segments with dead records or with bytes that damage left, and neighbours that are small: those are
    joined so that few files are left and each record is copied a logarithmic number of times.
    """
    run: list[Group] = []
    for segment in segments:
        live = tuple(info for info in segment.infos() if is_live(info))
        single = Group((segment,), live, len(segment.table))
        small = single.live_bytes * _SMALL_PART < segment_bytes
        # Where a compacted segment's header is damaged, another may have the same first sequence: leave both alone.
        wanted = segment.last >= segment.first and (small or _has_waste(single))
        size = sum(group.live_bytes for group in run) + single.live_bytes + SEGMENT_HEADER_BYTES
        if run and (not wanted or size > segment_bytes):
            yield from _joined(run)
            run = []
        if wanted:
            run.append(single)
    yield from _joined(run)


def rewrite(
    files: Files, path: Path, header: SegmentHeader, live: Sequence[RecordInfo], source: Path
) -> tuple[Segment, list[Damage]]:
    """Write records into a new file, synced; give the segment that it will be once renamed, and damage met.

    source: the folder of the files that the records are in.  A record whose payload is damaged is copied as it is, so
    that it stays known as damaged; one whose header is, is left out, which the new header's count tells for ever.
    Raises OSError.
    """
    made = Segment(header.first, header.generation, header, header.last, SEGMENT_HEADER_BYTES)
    damage: list[Damage] = []
    position = SEGMENT_HEADER_BYTES

    def parts() -> Generator[bytes, None, None]:
        yield header.pack()
        with closing(stored(files, source, live)) as records:
            yield from copied(records)

    def copied(records: Iterable[tuple[RecordInfo, bytes]]) -> Iterator[bytes]:
        nonlocal position
        for info, data in records:
            found = parse_header(data, header.log_id)
            if found is None or found.sequence != info.sequence or found.total_bytes != len(data):
                damage.append(Damage(header.name, position, 0, info.sequence, "a record was unreadable when copied"))
                continue
            if payload_digest(data[HEADER_BYTES:]) != found.payload_digest:
                damage.append(Damage(header.name, position, len(data), info.sequence, "the record is damaged"))
            made.table.append(info.sequence, info.kind, info.payload_bytes, position)
            position += len(data)
            yield data

    with closing(parts()) as body:
        write_new(files, path, body)
    missing = header.count - len(made.table)
    finished = Segment(made.first, made.generation, header, made.last, position, 0, missing, made.table)
    return finished, damage


def stored(files: Files, folder: Path, infos: Sequence[RecordInfo]) -> Generator[tuple[RecordInfo, bytes], None, None]:
    """Give records' bytes, header and payload, unverified; each file is opened once.  Raises OSError."""
    for name, group in groupby(infos, key=lambda info: info.segment):
        descriptor = files.open_read(folder / name)
        try:
            for info in group:
                size = HEADER_BYTES + info.payload_bytes
                yield info, OpenFile(files, descriptor, info.offset + size).read(size, info.offset)
        finally:
            files.close(descriptor)


def _has_waste(group: Group) -> bool:
    return len(group.live) < group.records or any(segment.waste_bytes > 0 for segment in group.segments)


def _joined(run: Sequence[Group]) -> Iterator[Group]:
    """Join neighbours as a binary counter carries: whatever is not larger than what comes after it joins that."""
    stack: list[Group] = []
    for group in run:
        while stack and stack[-1].live_bytes <= group.live_bytes:
            before = stack.pop()
            group = Group(before.segments + group.segments, before.live + group.live, before.records + group.records)
        stack.append(group)
    for group in stack:
        if _has_waste(group) or len(group.segments) > 1:
            yield group
