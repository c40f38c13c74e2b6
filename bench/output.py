"""Files that a long run writes at its end: refused before it begins where that cannot work."""

import os
from pathlib import Path

from ..errors import OnlookerError, SettingsError


def check_output(path: Path) -> None:
    """Raise SettingsError where a file cannot be written; writes nothing itself."""
    try:
        if path.is_dir():
            raise SettingsError(f"cannot write {path}: it is a folder; give the name of a file in it")
        if not path.parent.is_dir():
            raise SettingsError(f"cannot write {path}: there is no folder {path.parent}; make it, or give another path")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise SettingsError(f"cannot write {path}: this user may not; change its permissions, or give another path")
    except OSError as error:  # a name too long, a folder that may not be entered
        raise SettingsError(f"cannot write {path}: {error.strerror}; give another path") from error


def write_output(path: Path, text: str) -> None:
    """Write a text file.  Raises OnlookerError where the disk refuses."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OnlookerError(f"cannot write {path}: {error}; check the folder and the disk") from error
