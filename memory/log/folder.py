"""The folder: claim it for one writer, make a new log in it, count its bytes."""

from pathlib import Path

from ...errors import StorageError
from .about import ABOUT_NAMES, About, write_about
from .errors import trouble
from .export import Portable, unpack
from .files import Files
from .segments import SEGMENT_HEADER_BYTES, parse_name
from .view import LOCK_NAME, belongs


def claim(files: Files, folder: Path) -> int:
    """Lock a folder for writing; give the lock's descriptor.  Raises StorageError where another has it."""
    try:
        lock = files.lock(folder / LOCK_NAME)
    except OSError as error:
        raise trouble(error, "lock the log", files, folder) from error
    if lock is None:
        raise StorageError(
            f"another process is writing the log in {folder}: wait until it ends, or only read meanwhile"
        )
    return lock


def make_folder(files: Files, folder: Path) -> None:
    """Make a folder and its name durable; raises StorageError."""
    try:
        files.make_folder(folder)
        files.fsync_folder(folder.parent)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(f"{folder} is, or lies in, a file: name a folder for the log") from error
    except OSError as error:
        raise trouble(error, "make the log's folder", files, folder) from error


def establish(
    files: Files, folder: Path, about: About, portable: Portable | None, path: Path, segment_bytes: int
) -> None:
    """Make a log in a locked folder, of an export's records where there is one; the description, last, makes it one.

    Raises StorageError where there is a log already or something is left of one, OSError.
    """
    names = [name for name in files.list(folder) if belongs(name) and name != LOCK_NAME]
    if any(name in names for name in ABOUT_NAMES):
        raise StorageError(f"there is a log in {folder} already; name another folder")
    for name in names:
        if parse_name(name) and files.size(folder / name) > SEGMENT_HEADER_BYTES:
            raise StorageError(f"{folder} has {name} of a log without a description: move it away, or name another")
    for name in names:
        files.unlink(folder / name)  # a creation that was cut off
    if portable is not None:
        unpack(files, path, portable, folder, segment_bytes)
    files.fsync_folder(folder)
    write_about(files, folder, about)


def disk_bytes(files: Files, folder: Path) -> int:
    """Give the bytes of all of a log's files; raises OSError."""
    total = 0
    for name in files.list(folder):
        if belongs(name):
            try:
                total += files.size(folder / name)
            except FileNotFoundError:
                pass  # compacted meanwhile
    return total
