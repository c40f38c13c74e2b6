"""A segment in memory: what its header says and where its records are, 26 bytes for each."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

from .records import HEADER_BYTES, RecordInfo
from .segments import COMPACTED, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name


class RecordTable:
    """Hold where a segment's records are, in the order of their sequences.

    One thread may append while others read: a record's sequence, by which it is found, is added last.
    """

    def __init__(self) -> None:
        self._offsets = array("Q")
        self._payload_bytes = array("Q")
        self._kinds = array("H")
        self._sequences = array("Q")

    def __len__(self) -> int:
        return len(self._sequences)

    @property
    def record_bytes(self) -> int:
        """Bytes of all records, headers included."""
        return sum(self._payload_bytes) + HEADER_BYTES * len(self._sequences)

    def append(self, sequence: int, kind: int, payload_bytes: int, offset: int) -> None:
        """Add a record behind those that are there."""
        self._offsets.append(offset)
        self._payload_bytes.append(payload_bytes)
        self._kinds.append(kind)
        self._sequences.append(sequence)

    def find(self, sequence: int, segment: str) -> RecordInfo | None:
        """Give the record of a sequence."""
        place = bisect_left(self._sequences, sequence)
        if place == len(self._sequences) or self._sequences[place] != sequence:
            return None
        return self._info(place, segment)

    def infos(self, segment: str, after: int = 0) -> Iterator[RecordInfo]:
        """Give the records behind a sequence, in order, with the name of the segment in each."""
        for place in range(bisect_left(self._sequences, after + 1), len(self._sequences)):
            yield self._info(place, segment)

    def _info(self, place: int, segment: str) -> RecordInfo:
        return RecordInfo(
            self._sequences[place], self._kinds[place], self._payload_bytes[place], segment, self._offsets[place]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Hold one segment.

    header: None where it is damaged; the name tells first and generation then.  last: the last sequence of its
    range, for the last segment the newest one known.  end: where its records end, in bytes.  mark_bytes: bytes of
    closing marks.  missing: records of its range that are not there and should be.
    """

    first: int
    generation: int
    header: SegmentHeader | None
    last: int
    end: int
    mark_bytes: int = 0
    missing: int = 0
    table: RecordTable = field(default_factory=RecordTable)

    @property
    def name(self) -> str:
        """The file's name."""
        return segment_name(self.first, self.generation)

    @property
    def compacted(self) -> bool:
        """Whether it is known to be what a compaction left."""
        return self.header is not None and self.header.role == COMPACTED

    @property
    def lost(self) -> int:
        """Records of its range that damage took, those of earlier compactions included; headers count as one."""
        return self.missing + (self.header.lost if self.header else 1)

    @property
    def waste_bytes(self) -> int:
        """Bytes that hold no record and no mark: what damage left."""
        return self.end - SEGMENT_HEADER_BYTES - self.mark_bytes - self.table.record_bytes

    def infos(self, after: int = 0) -> Iterator[RecordInfo]:
        """Give the records behind a sequence, in order."""
        return self.table.infos(self.name, after)
