"""The writer: appends to a log's last segment, makes it durable, and begins new segments."""

import threading
from collections.abc import Sequence
from pathlib import Path

from ...errors import StorageError
from .catalog import Catalog
from .errors import trouble
from .files import Files, close_synced, write_new, write_whole
from .records import HEADER_BYTES, MARK, MOST_IN_APPEND, RecordHeader, payload_digest
from .segments import SEGMENT_HEADER_BYTES, SegmentHeader
from .table import Segment

MOST_KIND = 65_535


class Writer:
    """Write a log's last segment; one per log, which the lock sees to.

    Appends, syncs and the exchange of segments happen one at a time, under one lock that readers do not take.  After
    a failed sync, or a write that could not be undone, nobody knows what the disk holds: every later call raises
    StorageError then.
    """

    def __init__(self, files: Files, folder: Path, log_id: int, catalog: Catalog, segment_bytes: int) -> None:
        self._files = files
        self._folder = folder
        self._log_id = log_id
        self._catalog = catalog
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._poison = ""
        self._active: Segment | None = None
        self._descriptor = -1
        self._size = 0
        self._marked = True
        self.last = 0
        self.durable = 0

    def resume(self, segment: Segment, marked: bool) -> None:
        """Go on writing a segment, cut and synced before; marked: whether its end says so.  Raises OSError."""
        self._descriptor = self._files.open_write(self._folder / segment.name)
        self._active, self._size = segment, segment.end
        self._marked = marked
        self.last = self.durable = segment.last

    def begin(self, last: int) -> None:
        """Make the segment that comes after a sequence, durably; everything before is synced.  Raises OSError."""
        header = SegmentHeader(self._log_id, last + 1)
        path = self._folder / header.name
        try:
            write_new(self._files, path, [header.pack()])
        except OSError:
            self._make_sure_it_is_gone(header.name)
            raise
        try:
            self._files.fsync_folder(self._folder)
            descriptor = self._files.open_write(path)
        except OSError as error:
            self._poison = f"a new segment was begun and may not last ({error})"
            raise
        if self._descriptor >= 0:
            close_synced(self._files, self._descriptor)
        self._descriptor, self._size, self._marked = descriptor, SEGMENT_HEADER_BYTES, True
        self._active = Segment(header.first, header.generation, header, last, SEGMENT_HEADER_BYTES)
        self._catalog.add(self._active)
        self.last = self.durable = last

    def append(self, records: Sequence[tuple[int, bytes]]) -> tuple[int, ...]:
        """Write records (kind, payload) at the end, all or none; give their sequences.

        They are durable after the next sync.  Raises StorageError.
        """
        if len(records) > MOST_IN_APPEND:
            raise StorageError(f"an append has {len(records)} records; give at most {MOST_IN_APPEND} at once")
        for kind, _ in records:
            if not 1 <= kind <= MOST_KIND:
                raise StorageError(f"a record's kind is {kind}; give one from 1 to {MOST_KIND}")
        digests = [payload_digest(payload) for _, payload in records]
        with self._lock:
            active = self._usable()
            if not records:
                return ()
            needed = sum(HEADER_BYTES + len(payload) for _, payload in records)
            if len(active.table) and self._size + needed > self._segment_bytes:
                active = self._roll(active)
            parts: list[bytes] = []
            headers: list[RecordHeader] = []
            for place, ((kind, payload), digest) in enumerate(zip(records, digests, strict=True)):
                sequence, left = self.last + 1 + place, len(records) - 1 - place
                header = RecordHeader(self._log_id, kind, sequence, self.durable, len(payload), digest, place, left)
                headers.append(header)
                parts += [header.pack(), payload]
            offset = self._size
            try:
                self._write(b"".join(parts), "append")
                self._count(active, headers, offset)
            except BaseException:
                if self._size > offset:  # it is written whole: a signal must not give its numbers out again
                    self._count(active, headers, offset)
                raise
            return tuple(header.sequence for header in headers)

    def _count(self, active: Segment, headers: Sequence[RecordHeader], offset: int) -> None:
        """Take written records in; what is in already is left alone."""
        self._marked = False
        for header in headers:
            if active.table.find(header.sequence, active.name) is None:
                active.table.append(header.sequence, header.kind, header.payload_bytes, offset)
            offset += header.total_bytes
        self.last = headers[-1].sequence

    def sync(self) -> int:
        """Make everything that was appended durable; give the last durable sequence.  Raises StorageError."""
        with self._lock:
            self._usable()
            return self._sync()

    def seal(self) -> None:
        """Begin a new segment where the last one has records.  Raises StorageError."""
        with self._lock:
            active = self._usable()
            if len(active.table):
                self._roll(active)

    def exchange(self, old: Sequence[Segment], new: Segment, temporary: Path) -> None:
        """Put a finished compacted segment in the place of sealed ones; the folder is synced.  Raises StorageError."""
        with self._lock:
            self._usable()
            try:
                self._files.rename(temporary, self._folder / new.name)
            except OSError as error:
                raise trouble(error, "rename a compacted segment", self._files, self._folder) from error
            try:
                self._files.fsync_folder(self._folder)
            except OSError as error:
                self._poison = f"a compacted segment may not last ({error})"
                raise trouble(error, "sync the folder", self._files, self._folder) from error
            self._catalog.replace(old, new)

    def close(self) -> None:
        """Sync, and end the segment with a mark that says so.  Raises StorageError where records may be lost."""
        with self._lock:
            try:
                if self._poison and self.durable < self.last:
                    self._usable()
                if not self._poison and self._active is not None:
                    self._sync()
                    self._mark()
            finally:
                descriptor, self._descriptor = self._descriptor, -1
                self._active = None
                self._poison = self._poison or "it was closed"
                if descriptor >= 0:
                    close_synced(self._files, descriptor)

    def _usable(self) -> Segment:
        if self._poison or self._active is None:
            raise StorageError(
                f"the log in {self._folder} cannot be written any more: {self._poison}; reopen it, "
                f"everything up to sequence {self.durable} is safe"
            )
        return self._active

    def _sync(self) -> int:
        if self.durable < self.last:
            try:
                self._files.fdatasync(self._descriptor)
            except OSError as error:
                # The system may have dropped the pages that it could not write: a second try would say all is well.
                self._poison = f"a sync failed ({error.strerror or error})"
                raise trouble(error, f"sync (reopen the log; {self._poison})", self._files, self._folder) from error
            self.durable = self.last
        return self.durable

    def _mark(self) -> None:
        """Note on disk that everything is durable, so that a bad record is told from a torn write ever after."""
        if self._marked:
            return
        mark = RecordHeader(self._log_id, MARK, self.last, self.durable, 0, payload_digest(b""))
        try:
            self._write(mark.pack(), "close")
        except StorageError:
            return  # only a note: without it the log is as safe
        self._marked = True
        try:
            self._files.fdatasync(self._descriptor)
        except OSError as error:
            raise trouble(error, "sync", self._files, self._folder) from error

    def _roll(self, active: Segment) -> Segment:
        self._sync()
        self._catalog.segments = (*self._catalog.segments[:-1], self._sealed(active))
        try:
            self.begin(self.last)
        except OSError as error:
            self._catalog.segments = (*self._catalog.segments[:-1], active)
            raise trouble(error, "begin a new segment", self._files, self._folder, SEGMENT_HEADER_BYTES) from error
        return self._usable()

    def _make_sure_it_is_gone(self, name: str) -> None:
        """Sync away a segment that could not be made: back after a crash, it would say that all before it is synced."""
        try:
            if name in self._files.list(self._folder):
                self._poison = f"{name} could be neither made nor removed"
            self._files.fsync_folder(self._folder)
        except OSError as error:
            self._poison = f"{name} could not be removed for good ({error.strerror or error})"

    def _sealed(self, active: Segment) -> Segment:
        return Segment(
            active.first,
            active.generation,
            active.header,
            self.last,
            self._size,
            active.mark_bytes,
            active.missing,
            active.table,
        )

    def _write(self, data: bytes, doing: str) -> None:
        whole = False
        try:
            write_whole(self._files, self._descriptor, data, self._size)
            whole = True
        except OSError as error:
            raise trouble(error, doing, self._files, self._folder, len(data)) from error
        finally:
            # Whatever stopped it, a signal too: nothing may stay that the next write would come behind.
            if whole:
                self._size += len(data)
            else:
                self._cut_back()

    def _cut_back(self) -> None:
        try:
            self._files.truncate(self._descriptor, self._size)
        except OSError as error:
            self._poison = f"a failed write could not be undone ({error.strerror or error})"
