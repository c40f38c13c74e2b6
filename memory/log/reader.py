"""The reader: verified payloads, beside a writer that may compact the log meanwhile."""

import threading
from dataclasses import dataclass
from pathlib import Path

from ...errors import StorageError
from .catalog import Catalog
from .damage import Damage
from .errors import DamagedError, trouble
from .files import Files
from .loading import read_segment_header
from .records import HEADER_BYTES, RecordInfo, parse_header, payload_digest
from .scan import OpenFile
from .segments import SEGMENT_HEADER_BYTES
from .view import View, look

_MOST_TRIES = 100


@dataclass(frozen=True, slots=True)
class ScrubReport:
    """Say what a scrub verified.

    damage: what this call found, known before or not.  finished: whether it came to the end; the next begins anew.
    """

    records: int
    bytes: int
    damage: tuple[Damage, ...]
    finished: bool


class Reader:
    """Read records, from any thread; never writes, never waits for a writer.

    follows: whether another process may write the log, so that only the folder says what there is.
    """

    def __init__(self, files: Files, folder: Path, log_id: int, catalog: Catalog, view: View, follows: bool) -> None:
        self._files = files
        self._folder = folder
        self._log_id = log_id
        self._catalog = catalog
        self._follows = follows
        self._refreshing = threading.Lock()
        self._scrubbing = threading.Lock()
        self._scrubbed = 0
        self.view = view

    def refresh(self) -> None:
        """Look at the folder again; raises StorageError."""
        if not self._follows:
            return
        with self._refreshing:
            sealed = {segment.name: segment for segment in self.view.segments[:-1]}
            try:
                view = look(self._files, self._folder, self._log_id, sealed)
            except OSError as error:
                raise trouble(error, "look for what is new", self._files, self._folder) from error
            gone = {segment.name for segment in self.view.segments} - {segment.name for segment in view.segments}
            self.view, self._catalog.segments = view, view.segments
            self._catalog.notes.forget(gone)
            self._catalog.notes.note(view.damage)

    def stored(self, sequence: int) -> tuple[RecordInfo, bytes]:
        """Give a record's bytes, header and payload, verified; raises DamagedError, StorageError."""
        before: RecordInfo | None = None
        for _ in range(_MOST_TRIES):
            info = self._catalog.find(sequence)
            if info is None:
                raise self._unknown(sequence)
            if info == before and not self._follows:
                break
            try:
                data = self._pread(info)
            except FileNotFoundError:
                # Compacted meanwhile: the catalog, or the folder, says where the record is now.
                self.refresh()
                before = info
                continue
            except OSError as error:
                raise trouble(
                    error, f"read record {sequence} from {info.segment}", self._files, self._folder
                ) from error
            self._verify(info, data)
            return info, data
        raise StorageError(f"a segment with record {sequence} is gone from {self._folder}: restore it from a copy")

    def scrub(self, budget_bytes: int | None) -> ScrubReport:
        """Verify records from where the last scrub stopped; at least one, then until the budget is spent."""
        with self._scrubbing:
            found: list[Damage] = []
            records = size = 0
            segment = ""
            for info in self._catalog.infos(self._scrubbed):
                if records and budget_bytes is not None and size >= budget_bytes:
                    self._catalog.notes.note(found)
                    return ScrubReport(records, size, tuple(found), finished=False)
                if info.segment != segment:
                    segment = info.segment
                    found += self._damaged_header(segment)
                try:
                    self.stored(info.sequence)
                except DamagedError:
                    found += [d for d in self._catalog.notes.all if d.sequence == info.sequence]
                except StorageError as error:
                    # Not there any more is no damage: compacted away.  A disk that does not read is.
                    if self._catalog.find(info.sequence) is not None:
                        found.append(Damage(info.segment, info.offset, 0, info.sequence, str(error)))
                records += 1
                size += HEADER_BYTES + info.payload_bytes
                self._scrubbed = info.sequence
            self._scrubbed = 0
            self._catalog.notes.note(found)
            return ScrubReport(records, size, tuple(found), finished=True)

    def _damaged_header(self, segment: str) -> list[Damage]:
        try:
            header, _ = read_segment_header(self._files, self._folder, segment, self._log_id)
        except FileNotFoundError:
            return []  # compacted meanwhile
        except (OSError, StorageError) as error:
            return [Damage(segment, 0, SEGMENT_HEADER_BYTES, None, str(error))]
        what = "the segment's header is unreadable"
        return [] if header else [Damage(segment, 0, SEGMENT_HEADER_BYTES, None, what)]

    def _pread(self, info: RecordInfo) -> bytes:
        descriptor = self._files.open_read(self._folder / info.segment)
        try:
            size = HEADER_BYTES + info.payload_bytes
            return OpenFile(self._files, descriptor, info.offset + size).read(size, info.offset)
        finally:
            self._files.close(descriptor)

    def _verify(self, info: RecordInfo, data: bytes) -> None:
        header = parse_header(data, self._log_id)
        whole = (
            header is not None
            and (header.sequence, header.kind, header.total_bytes) == (info.sequence, info.kind, len(data))
            and payload_digest(memoryview(data)[HEADER_BYTES:]) == header.payload_digest
        )
        if not whole:
            what = "the record is damaged"
            size = HEADER_BYTES + info.payload_bytes
            self._catalog.notes.note([Damage(info.segment, info.offset, size, info.sequence, what)])
            raise self._damaged(info.sequence, info.segment)

    def _damaged(self, sequence: int, segment: str) -> DamagedError:
        return DamagedError(
            f"record {sequence} in {self._folder / segment} is damaged: its bytes are not those that were written; "
            "the others are not affected, restore the file from a copy to have it back"
        )

    def _unknown(self, sequence: int) -> StorageError:
        segment = self._catalog.segment_of(sequence)
        if segment and segment.missing and not segment.compacted and segment.first <= sequence <= segment.last:
            return self._damaged(sequence, segment.name)
        return StorageError(
            f"there is no record {sequence} in {self._folder}: it was never written, not yet when this was opened or "
            "refreshed, or it was compacted away"
        )
