"""Recovery: bring a folder into the state that its view describes, and let a writer go on from there."""

from pathlib import Path

from .catalog import Catalog
from .files import Files, read_whole, write_whole
from .records import MARK, RecordHeader, payload_digest
from .view import View, look
from .writer import Writer

_CHUNK_BYTES = 1 << 20


def recover(files: Files, folder: Path, log_id: int, view: View, catalog: Catalog, segment_bytes: int) -> Writer:
    """Remove leftovers, cut a torn end, sync what another process may have left unsynced; give the writer.

    May be cut off anywhere and done again.  Raises OSError.
    """
    if view.vouched < view.durable:
        _vouch(files, folder, log_id, view)
        view = look(files, folder, log_id)
        catalog.segments = view.segments
    # Before a replaced segment goes, the name of the one that replaces it must be safe.
    files.fsync_folder(folder)
    for name in view.leftovers:
        files.unlink(folder / name)
    if view.leftovers:
        files.fsync_folder(folder)
    writer = Writer(files, folder, log_id, catalog, segment_bytes)
    if view.segments:
        last = view.segments[-1]
        descriptor = files.open_write(folder / last.name)
        try:
            if view.torn_bytes:
                files.truncate(descriptor, last.end)
            _rewrite(files, descriptor, view.durable_end, last.end)
            files.fdatasync(descriptor)
        finally:
            files.close(descriptor)
    if view.open_end:
        writer.resume(view.segments[-1], marked=view.vouched >= view.last)
    else:
        writer.begin(view.last)
    return writer


def _vouch(files: Files, folder: Path, log_id: int, view: View) -> None:
    """Put a mark where the torn end begins: what is torn alone said that a bad record before it had been synced."""
    last = view.segments[-1]
    mark = RecordHeader(log_id, MARK, view.last, view.durable, 0, payload_digest(b""))
    descriptor = files.open_write(folder / last.name)
    try:
        write_whole(files, descriptor, mark.pack(), last.end)
        files.fdatasync(descriptor)
    finally:
        files.close(descriptor)


def _rewrite(files: Files, descriptor: int, start: int, end: int) -> None:
    """Write bytes over themselves.

    After a failed sync the system may hold them as written although they are not on the disk, and a later sync would
    succeed without writing them; so they are made new to it.
    """
    while start < end:
        data = read_whole(files, descriptor, min(_CHUNK_BYTES, end - start), start)
        if not data:
            break
        write_whole(files, descriptor, data, start)
        start += len(data)
