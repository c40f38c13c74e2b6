"""What a log raises besides StorageError, and how trouble with the disk is put into words."""

import errno
from pathlib import Path

from ...errors import StorageError
from .files import Files

_FULL = (errno.ENOSPC, errno.EDQUOT)


class DamagedError(StorageError):
    """A record's bytes are not those that were written."""


def trouble(error: OSError, doing: str, files: Files, folder: Path, needed_bytes: int = 0) -> StorageError:
    """Say what went wrong in a folder, with the remedy; needed_bytes: what was to be written."""
    if error.errno in _FULL:
        try:
            free = f"{files.free_bytes(folder)} bytes are free"
        except OSError:
            free = "how many are free is unknown"
        return StorageError(
            f"the disk is full: {needed_bytes} bytes were needed to {doing} in {folder} and {free}; "
            "make room there, then try again"
        )
    remedy = "check the folder's owner and permissions" if isinstance(error, PermissionError) else "check the disk"
    return StorageError(f"cannot {doing} in {folder}: {error.strerror or error}; {remedy}")
