"""The compactor: carries a compaction out, one segment at a time, each safe from a crash."""

import threading
from pathlib import Path

from ...errors import StorageError
from .catalog import Catalog
from .compaction import Compaction, Group, IsLive, plan, rewrite
from .damage import Damage
from .errors import trouble
from .files import Files
from .folder import disk_bytes
from .segments import SEGMENT_HEADER_BYTES, TEMPORARY
from .writer import Writer


class Compactor:
    """Rewrite a log's sealed segments.

    A finished segment is synced under a temporary name; its renaming is what counts; then the old ones are removed.
    Copying holds up neither appends nor reads.
    """

    def __init__(self, files: Files, folder: Path, log_id: int, catalog: Catalog, segment_bytes: int) -> None:
        self._files = files
        self._folder = folder
        self._log_id = log_id
        self._catalog = catalog
        self._segment_bytes = segment_bytes
        self._one_at_a_time = threading.Lock()
        self._replaced: set[str] = set()

    def run(self, writer: Writer, is_live: IsLive, budget_bytes: int | None) -> Compaction:
        """Compact until all is done or the budget is spent; raises StorageError."""
        with self._one_at_a_time:
            try:
                before_bytes = disk_bytes(self._files, self._folder)
                self._remove_replaced()
                writer.seal()
                copied_bytes = dropped = groups = 0
                finished = True
                for group in plan(self._catalog.segments[:-1], is_live, self._segment_bytes):
                    if groups and budget_bytes is not None and copied_bytes >= budget_bytes:
                        finished = False
                        break
                    self._replace(writer, group)
                    groups += 1
                    copied_bytes += group.live_bytes
                    dropped += group.records - len(group.live)
                if groups:
                    self._files.fsync_folder(self._folder)
                after_bytes = disk_bytes(self._files, self._folder)
            except OSError as error:
                raise trouble(error, "compact the log", self._files, self._folder, self._segment_bytes) from error
            return Compaction(before_bytes, after_bytes, copied_bytes, dropped, finished)

    def _replace(self, writer: Writer, group: Group) -> None:
        header = group.header(self._log_id)
        temporary = self._folder / (header.name + TEMPORARY)
        if temporary.name in self._files.list(self._folder):
            self._files.unlink(temporary)  # of a compaction that failed
        try:
            made, damage = rewrite(self._files, temporary, header, group.live, self._folder)
        except OSError as error:
            raise trouble(
                error, "compact a segment", self._files, self._folder, group.live_bytes + SEGMENT_HEADER_BYTES
            ) from error
        try:
            writer.exchange(group.segments, made, temporary)
        except StorageError:
            if temporary.name in self._files.list(self._folder):
                self._files.unlink(temporary)
            raise
        if header.lost:
            what = f"{header.lost} records were lost to damage before this segment was compacted"
            damage.append(Damage(header.name, SEGMENT_HEADER_BYTES, 0, None, what))
        self._catalog.notes.note(damage)
        self._replaced |= {segment.name for segment in group.segments}
        self._remove_replaced()

    def _remove_replaced(self) -> None:
        # Until this has been done, forgotten records are still in the folder; an error leaves it to the next call.
        for name in sorted(self._replaced):
            try:
                self._files.unlink(self._folder / name)
            except FileNotFoundError:
                pass
            self._replaced.discard(name)
