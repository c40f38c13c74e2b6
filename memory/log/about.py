"""The description of a log: a small checksummed file, kept twice, which makes a folder a log."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from ...errors import StorageError
from .damage import Damage
from .files import Files, read_whole, write_new
from .segments import FORMAT_VERSION, TEMPORARY

ABOUT_NAMES = ("about", "about.copy")
MOST_ABOUT_BYTES = 1 << 20

_WORD = "onlooker-log"


@dataclass(frozen=True, slots=True)
class About:
    """Hold a log's number and what its maker said about it."""

    log_id: int
    about: Mapping[str, object]

    def pack(self) -> bytes:
        """Give the file's bytes: a line with version and digest, then JSON.  Raises StorageError if it is none."""
        try:
            body = json.dumps({"about": dict(self.about), "log_id": f"{self.log_id:016x}"}, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise StorageError(f"a log's description must be plain JSON: {error}") from error
        data = f"{_WORD} {FORMAT_VERSION} {_digest(FORMAT_VERSION, body)}\n{body}\n".encode()
        if len(data) > MOST_ABOUT_BYTES:
            raise StorageError(f"a log's description has {len(data)} bytes; give at most {MOST_ABOUT_BYTES}")
        return data


def parse_about(data: bytes, name: str) -> About | None:
    """Read a description; None where it is damaged.  Raises StorageError for an unknown version."""
    try:
        line, _, body = data.decode().partition("\n")
        word, version_text, digest = line.split(" ")
        version = int(version_text)
    except (UnicodeDecodeError, ValueError):
        return None
    if word != _WORD or not body.endswith("\n") or _digest(version, body[:-1]) != digest:
        return None
    if version != FORMAT_VERSION or version_text != str(version):
        raise StorageError(
            f"{name} has format version {version}; this Onlooker knows version {FORMAT_VERSION}: "
            "use the one that wrote it"
        )
    content = json.loads(body)
    return About(int(content["log_id"], 16), content["about"])


def read_about(files: Files, folder: Path) -> tuple[About, tuple[Damage, ...]]:
    """Read a log's description from whichever copy is whole; raises StorageError where none is, OSError.

    A copy that is missing is no damage: a log's creation may have been cut off between the two.
    """
    there = [name for name in ABOUT_NAMES if name in files.list(folder)]
    found: About | None = None
    damage: list[Damage] = []
    for name in there:
        descriptor = files.open_read(folder / name)
        try:
            data = read_whole(files, descriptor, MOST_ABOUT_BYTES + 1, 0)
        finally:
            files.close(descriptor)
        about = parse_about(data, str(folder / name))
        if about is None:
            damage.append(Damage(name, 0, len(data), None, "the description is unreadable"))
        found = found or about
    if not there:
        raise StorageError(f"there is no log in {folder}: name a folder that has one")
    if found is None:
        raise StorageError(f"the description of the log in {folder} is damaged, and so is its copy: restore {there[0]}")
    return found, tuple(damage)


def write_about(files: Files, folder: Path, about: About) -> None:
    """Write both copies, each at one stroke, and sync the folder; raises OSError."""
    data = about.pack()
    for name in reversed(ABOUT_NAMES):
        temporary = folder / (name + TEMPORARY)
        if temporary.name in files.list(folder):
            files.unlink(temporary)
        write_new(files, temporary, [data])
        files.rename(temporary, folder / name)
    files.fsync_folder(folder)


def _digest(version: int, body: str) -> str:
    return blake2b(f"{version}\n{body}".encode(), digest_size=16).hexdigest()
