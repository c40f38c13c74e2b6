"""The segment log: records of bytes, numbered, appended, never changed, and there again after a crash."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ...errors import StorageError
from .about import ABOUT_NAMES, About, read_about, write_about
from .catalog import Catalog
from .compaction import Compaction, IsLive
from .compactor import Compactor
from .damage import Damage
from .errors import trouble
from .export import Export, read_export, write_export
from .files import Files, OsFiles, close_synced
from .folder import claim, disk_bytes, establish, make_folder
from .reader import Reader, ScrubReport
from .records import RecordInfo
from .recovery import recover
from .view import look
from .writer import Writer

LEAST_SEGMENT_BYTES = 512


class SegmentLog:
    """Keep the records of one stream in a folder; docs/format.md says what is guaranteed.

    One process writes, any number read.  Everything may be called from any thread; what reads never waits for what
    writes.  Every method raises StorageError where the disk fails.
    """

    def __init__(self, folder: Path, files: Files, segment_bytes: int, lock: int | None) -> None:
        """Look at a folder with a log in it; use create, open or import_ instead."""
        self._files = files
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._lock = lock
        self._about, damage = read_about(files, folder)
        view = look(files, folder, self.log_id)
        self._catalog = Catalog(view.segments)
        self._catalog.notes.note((*damage, *view.damage))
        self._writer: Writer | None = None
        if lock is not None:
            self._writer = recover(files, folder, self.log_id, view, self._catalog, segment_bytes)
            if damage or not all(name in files.list(folder) for name in ABOUT_NAMES):
                write_about(files, folder, self._about)
        self._compactor = Compactor(files, folder, self.log_id, self._catalog, segment_bytes)
        self._reader = Reader(files, folder, self.log_id, self._catalog, view, follows=lock is None)

    @classmethod
    def create(
        cls,
        folder: Path,
        about: Mapping[str, object],
        *,
        files: Files | None = None,
        segment_bytes: int = 64 << 20,
        log_id: int | None = None,
    ) -> Self:
        """Make a folder with an empty log, open for writing.

        about: a small description that JSON can hold.  log_id: drawn at random when left out.  Raises StorageError,
        also where there is a log already.
        """
        made = About(secrets.randbits(63) + 1 if log_id is None else log_id, about)
        made.pack()
        _check(segment_bytes)
        files = files or OsFiles()
        make_folder(files, folder)
        lock = claim(files, folder)
        ready = False
        try:
            establish(files, folder, made, None, folder, segment_bytes)
            log = cls(folder, files, segment_bytes, lock)
            ready = True
        except OSError as error:
            raise trouble(error, "create a log", files, folder, len(made.pack())) from error
        finally:
            if not ready:
                close_synced(files, lock)
        return log

    @classmethod
    def open(cls, folder: Path, *, write: bool, files: Files | None = None, segment_bytes: int = 64 << 20) -> Self:
        """Open a log that is there; without write nothing on the disk changes.

        Raises StorageError, also where there is no log, where another process is writing it (write only) and for
        unknown versions of the format.
        """
        _check(segment_bytes)
        files = files or OsFiles()
        lock: int | None = None
        ready = False
        try:
            if write:
                read_about(files, folder)  # no lock file where there is no log
                lock = claim(files, folder)
            log = cls(folder, files, segment_bytes, lock)
            ready = True
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StorageError(f"there is no log in {folder}: name a folder that has one") from error
        except OSError as error:
            raise trouble(error, "open the log", files, folder) from error
        finally:
            if lock is not None and not ready:
                close_synced(files, lock)
        return log

    @classmethod
    def import_(cls, path: Path, folder: Path, *, files: Files | None = None, segment_bytes: int = 64 << 20) -> Self:
        """Make a folder of an exported log, with its number and its sequences, and open it for writing.

        Raises DamagedError where any byte of the export is not what was written, StorageError.
        """
        _check(segment_bytes)
        files = files or OsFiles()
        try:
            portable = read_export(files, path)
        except OSError as error:
            raise trouble(error, f"read the export {path.name}", files, path.parent) from error
        make_folder(files, folder)
        lock = claim(files, folder)
        ready = False
        try:
            establish(files, folder, portable.about, portable, path, segment_bytes)
            log = cls(folder, files, segment_bytes, lock)
            ready = True
        except OSError as error:
            raise trouble(
                error, "import a log", files, folder, sum(r.payload_bytes for r in portable.records)
            ) from error
        finally:
            if not ready:
                close_synced(files, lock)
        return log

    @property
    def log_id(self) -> int:
        """The number that was drawn when the log was created; every record of it carries it."""
        return self._about.log_id

    @property
    def about(self) -> Mapping[str, object]:
        """What the log's maker said about it."""
        return self._about.about

    @property
    def damage(self) -> tuple[Damage, ...]:
        """What opening, reading and scrubbing have found so far."""
        return self._catalog.notes.all

    @property
    def torn_bytes(self) -> int:
        """Bytes at the log's end that are no whole append: a crash cut it off, or it is under way.  Not damage."""
        return self._reader.view.torn_bytes

    @property
    def last(self) -> int:
        """The newest sequence; 0 when there is none."""
        return self._writer.last if self._writer else self._reader.view.last

    @property
    def durable(self) -> int:
        """The newest sequence that is on the disk for certain, as far as is known here; 0 when there is none."""
        return self._writer.durable if self._writer else self._reader.view.durable

    @property
    def disk_bytes(self) -> int:
        """Bytes of all files of the log."""
        try:
            return disk_bytes(self._files, self._folder)
        except OSError as error:
            raise trouble(error, "count the log's bytes", self._files, self._folder) from error

    def append(self, records: Sequence[tuple[int, bytes]]) -> tuple[int, ...]:
        """Write records (kind from 1 to 65535, payload) in one go, all or none; give their sequences.

        They are durable after the next sync.
        """
        return self._writing().append(records)

    def sync(self) -> int:
        """Make everything that was appended before durable; give the last durable sequence."""
        return self._writing().sync()

    def records(self) -> Iterator[RecordInfo]:
        """Give the records in order, without their payloads; those whose header is damaged are left out."""
        return self._catalog.infos()

    def read(self, sequence: int) -> bytes:
        """Give a record's payload, verified.  Raises DamagedError; StorageError where there is no such record."""
        info, data = self._reader.stored(sequence)
        return data[len(data) - info.payload_bytes :]

    def refresh(self) -> None:
        """Notice what a writer has appended or compacted since; a writer itself always knows."""
        self._reader.refresh()

    def scrub(self, budget_bytes: int | None = None) -> ScrubReport:
        """Verify payloads from where the last scrub stopped, up to a budget; damage is reported and never raised."""
        return self._reader.scrub(budget_bytes)

    def compact(self, is_live: IsLive, budget_bytes: int | None = None) -> Compaction:
        """Rewrite sealed segments without dead records, after sealing the last one; sequences stay.

        is_live: tells whether a record is kept; may read, must not write.  budget_bytes: stop after the segment with
        which so much was copied.  Cut off anywhere, it leaves the log whole, and another call goes on.
        """
        return self._compactor.run(self._writing(), is_live, budget_bytes)

    def export(self, path: Path, is_live: IsLive | None = None) -> Export:
        """Write all records, or those that are live, as one file, at one stroke; damaged ones are left out and counted.

        Everything is read and verified for this; what is appended meanwhile is not in it.
        """
        infos = [info for info in self.records() if is_live is None or is_live(info)]
        lost = sum(segment.lost for segment in self._catalog.segments)
        last = max([self.last, *(info.sequence for info in infos[-1:])])
        try:
            return write_export(self._files, path, self._about, last, lost, infos, self._reader)
        except OSError as error:
            needed_bytes = sum(info.payload_bytes for info in infos)
            raise trouble(error, f"export to {path.name}", self._files, path.parent, needed_bytes) from error

    def close(self) -> None:
        """Sync, and let another process write.  Raises StorageError where records may be lost."""
        lock, self._lock = self._lock, None
        try:
            if lock is not None and self._writer is not None:
                self._writer.close()
        finally:
            if lock is not None:
                close_synced(self._files, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _writing(self) -> Writer:
        if self._writer is None:
            raise StorageError(f"the log in {self._folder} was opened for reading: open it with write=True")
        return self._writer


def _check(segment_bytes: int) -> None:
    if segment_bytes < LEAST_SEGMENT_BYTES:
        raise StorageError(f"segment_bytes is {segment_bytes}; give at least {LEAST_SEGMENT_BYTES}")
