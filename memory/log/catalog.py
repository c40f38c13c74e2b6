"""The catalog: which records there are, for readers in any thread."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from .damage import DamageNotes
from .records import RecordInfo
from .table import Segment


class Catalog:
    """Hold a log's segments in order, and the damage that was found in them.

    The tuple of segments is exchanged as a whole, so readers need no lock; one thread at a time may exchange it.
    """

    def __init__(self, segments: Sequence[Segment] = ()) -> None:
        self.segments = tuple(segments)
        self.notes = DamageNotes()

    def find(self, sequence: int) -> RecordInfo | None:
        """Give the record of a sequence."""
        segment = self.segment_of(sequence)
        return segment.table.find(sequence, segment.name) if segment else None

    def segment_of(self, sequence: int) -> Segment | None:
        """Give the segment in whose range a sequence lies."""
        segments = self.segments
        place = bisect_right(segments, sequence, key=lambda segment: segment.first)
        return segments[place - 1] if place else None

    def infos(self, after: int = 0) -> Iterator[RecordInfo]:
        """Give the records behind a sequence, in order."""
        segments = self.segments
        begin = bisect_right(segments, after, key=lambda segment: segment.first)
        for segment in segments[max(begin - 1, 0) :]:
            yield from segment.infos(after)

    def add(self, segment: Segment) -> None:
        """Put a segment behind the others."""
        self.segments = (*self.segments, segment)

    def replace(self, old: Sequence[Segment], new: Segment) -> None:
        """Put one segment in the place of consecutive ones."""
        place = self.segments.index(old[0])
        self.segments = (*self.segments[:place], new, *self.segments[place + len(old) :])
        self.notes.forget(segment.name for segment in old)
