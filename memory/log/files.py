"""Disk access: the few calls a log makes, so that tests can put a failing disk in their place."""

import errno
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """Reach the files of a log.

    Every call raises OSError on failure.  pwrite and pread may do less than they were asked for, as the system's do.
    """

    def make_folder(self, folder: Path) -> None:
        """Make a folder, and those above it, where there is none."""

    def list(self, folder: Path) -> tuple[str, ...]:
        """Give the names in a folder, sorted."""

    def size(self, path: Path) -> int:
        """Give a file's size in bytes."""

    def open_read(self, path: Path) -> int:
        """Open a file for pread; give its descriptor."""

    def open_write(self, path: Path) -> int:
        """Open a file that is there, for pread and pwrite; give its descriptor."""

    def create(self, path: Path) -> int:
        """Make a file that is not there yet, for pwrite; give its descriptor."""

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        """Write at an offset; give how many bytes were taken."""

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        """Read up to size bytes from an offset; fewer at the end of the file."""

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file to its first bytes."""

    def fdatasync(self, descriptor: int) -> None:
        """Return when the file's bytes and its size are on the disk."""

    def close(self, descriptor: int) -> None:
        """Close a descriptor; that of a lock gives the lock back."""

    def fsync_folder(self, folder: Path) -> None:
        """Return when the folder's names are on the disk."""

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, in the place of whatever has it, at one stroke."""

    def unlink(self, path: Path) -> None:
        """Remove a file."""

    def lock(self, path: Path) -> int | None:
        """Lock a file, made where needed; give its descriptor, or None when somebody else has the lock."""

    def free_bytes(self, folder: Path) -> int:
        """Give how many bytes can still be written in a folder."""


class OsFiles:
    """Reach the files of a log on the system's own disk; files are readable by their owner only."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder, and those above it, where there is none."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def list(self, folder: Path) -> tuple[str, ...]:
        """Give the names in a folder, sorted."""
        return tuple(sorted(os.listdir(folder)))  # noqa: PTH208 - names are wanted, not paths

    def size(self, path: Path) -> int:
        """Give a file's size in bytes."""
        return path.stat().st_size

    def open_read(self, path: Path) -> int:
        """Open a file for pread; give its descriptor."""
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def open_write(self, path: Path) -> int:
        """Open a file that is there, for pread and pwrite; give its descriptor."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def create(self, path: Path) -> int:
        """Make a file that is not there yet, for pwrite; give its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        """Write at an offset; give how many bytes were taken."""
        return os.pwrite(descriptor, data, offset)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        """Read up to size bytes from an offset; fewer at the end of the file."""
        return os.pread(descriptor, size, offset)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file to its first bytes."""
        os.ftruncate(descriptor, size)

    def fdatasync(self, descriptor: int) -> None:
        """Return when the file's bytes and its size are on the disk."""
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: its fsync stops at the drive's cache
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a descriptor; that of a lock gives the lock back."""
        os.close(descriptor)

    def fsync_folder(self, folder: Path) -> None:
        """Return when the folder's names are on the disk."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, in the place of whatever has it, at one stroke."""
        old.replace(new)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def lock(self, path: Path) -> int | None:
        """Lock a file, made where needed; give its descriptor, or None when somebody else has the lock."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def free_bytes(self, folder: Path) -> int:
        """Give how many bytes can still be written in a folder."""
        space = os.statvfs(folder)
        return space.f_bavail * space.f_frsize


def write_whole(files: Files, descriptor: int, data: bytes, offset: int) -> None:
    """Write all of the data at an offset; raises OSError where the disk takes no more."""
    left = memoryview(data)
    while left:
        taken = files.pwrite(descriptor, left, offset)
        if taken <= 0:
            raise OSError(errno.EIO, "the disk took nothing and gave no reason")
        left = left[taken:]
        offset += taken


def read_whole(files: Files, descriptor: int, size: int, offset: int) -> bytes:
    """Read size bytes from an offset, fewer only where the file ends before."""
    parts: list[bytes] = []
    while size > 0:
        part = files.pread(descriptor, size, offset)
        if not part:
            break
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_new(files: Files, path: Path, parts: Iterable[bytes]) -> None:
    """Write a new file and sync it; nothing is left of it where that fails.

    The folder is not synced, so the name may yet be lost.  Raises OSError.
    """
    descriptor = files.create(path)
    whole = False
    try:
        try:
            offset = 0
            for part in parts:
                write_whole(files, descriptor, part, offset)
                offset += len(part)
            files.fdatasync(descriptor)
            whole = True
        finally:
            files.close(descriptor)
    finally:
        if not whole:
            files.unlink(path)


def close_synced(files: Files, descriptor: int) -> None:
    """Close a file that was synced, or a lock: the system may complain, but has nothing left to lose."""
    try:
        files.close(descriptor)
    except OSError:
        pass
