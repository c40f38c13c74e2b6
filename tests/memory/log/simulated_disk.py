"""A disk in memory that loses what was not synced: page cache and platter apart, and faults at chosen calls."""

import copy
import errno
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512


class PowerCutError(BaseException):
    """The machine is off: no call after this one has an effect."""


@dataclass
class Inode:
    """Hold a file: what programs see, what is on the platter, and the calls in between."""

    cache: bytearray = field(default_factory=bytearray)
    platter: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # (offset, data), or (size, None) for a cut

    def write(self, offset: int, data: bytes) -> None:
        self.cache.extend(bytes(max(0, offset - len(self.cache))))
        self.cache[offset : offset + len(data)] = data
        self.pending.append((offset, data))

    def cut(self, size: int) -> None:
        del self.cache[size:]
        self.pending.append((size, None))

    def sync(self) -> None:
        # What a failed sync dropped stays in the cache only: just what was written since reaches the platter.
        self.platter = _applied(self.platter, self.pending)
        self.pending = []


@dataclass
class Folder:
    """Hold a folder's names: those that programs see, those on the platter, and the calls in between."""

    names: dict[str, Inode] = field(default_factory=dict)
    platter: dict[str, Inode] = field(default_factory=dict)
    pending: list[tuple[str, str, Inode | None]] = field(default_factory=list)  # (old, new, inode)

    def change(self, old: str, new: str, inode: Inode | None) -> None:
        self.pending.append((old, new, inode))
        _change(self.names, old, new, inode)


@dataclass
class SimulatedDisk:
    """Stand in for Files.

    cut_at: the call before which (for writes: during which) the power goes; errors: call -> errno; calls are counted
    from 1 in calls, their names are in trace.
    """

    cut_at: int = 0
    errors: dict[int, int] = field(default_factory=dict)
    most_per_write: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    folders: dict[Path, Folder] = field(default_factory=lambda: {Path("/"): Folder()})
    synced_folders: set[Path] = field(default_factory=lambda: {Path("/")})
    calls: int = 0
    trace: list[str] = field(default_factory=list)
    off: bool = False
    open_files: dict[int, Inode] = field(default_factory=dict)
    locks: dict[Path, int] = field(default_factory=dict)
    next_descriptor: int = 3

    # The calls of Files

    def make_folder(self, folder: Path) -> None:
        self._call("make_folder")
        if folder in self.folders:
            return
        self.folders[folder] = Folder()

    def list(self, folder: Path) -> tuple[str, ...]:
        self._call("list")
        return tuple(sorted(self._folder(folder).names))

    def size(self, path: Path) -> int:
        self._call("size")
        return len(self._inode(path).cache)

    def open_read(self, path: Path) -> int:
        self._call("open_read")
        return self._open(self._inode(path))

    def open_write(self, path: Path) -> int:
        self._call("open_write")
        return self._open(self._inode(path))

    def create(self, path: Path) -> int:
        self._call("create")
        if path.name in self._folder(path.parent).names:
            raise FileExistsError(errno.EEXIST, "File exists")
        inode = Inode()
        self._folder(path.parent).change("", path.name, inode)
        return self._open(inode)

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        size = len(data)
        if self.most_per_write:
            size = min(size, self.rng.randint(1, self.most_per_write))
        # A write during which the power goes, or that fails for want of room, leaves its beginning behind.
        partly = bytes(data[: self.rng.randint(0, size)])
        try:
            self._call("pwrite")
        except PowerCutError:
            if descriptor in self.open_files and self.calls == self.cut_at:
                self.open_files[descriptor].write(offset, partly)
            raise
        except OSError:
            self.open_files[descriptor].write(offset, partly)
            raise
        self.open_files[descriptor].write(offset, bytes(data[:size]))
        return size

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        self._call("pread")
        if self.most_per_write:
            size = min(size, self.rng.randint(1, self.most_per_write))
        return bytes(self.open_files[descriptor].cache[offset : offset + size])

    def truncate(self, descriptor: int, size: int) -> None:
        self._call("truncate")
        self.open_files[descriptor].cut(size)

    def fdatasync(self, descriptor: int) -> None:
        try:
            self._call("fdatasync")
        except OSError:
            # As Linux: the pages count as written from now on, though they are not.
            self.open_files[descriptor].pending = []
            raise
        self.open_files[descriptor].sync()

    def close(self, descriptor: int) -> None:
        if self.off:
            return  # may come from a generator that is cleared away
        # Closed even where the call complains, as Linux does.
        if descriptor in self.locks.values():
            self.locks = {path: owner for path, owner in self.locks.items() if owner != descriptor}
        else:
            del self.open_files[descriptor]
        self._call("close")

    def fsync_folder(self, folder: Path) -> None:
        self._call("fsync_folder")
        held = self._folder(folder)
        held.platter, held.pending = dict(held.names), []
        self.synced_folders |= {other for other in self.folders if other.parent == folder}

    def rename(self, old: Path, new: Path) -> None:
        self._call("rename")
        self._folder(old.parent).change(old.name, new.name, self._inode(old))

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        self._inode(path)
        self._folder(path.parent).change(path.name, "", None)

    def lock(self, path: Path) -> int | None:
        self._call("lock")
        if path in self.locks:
            return None
        if path.name not in self._folder(path.parent).names:
            self._folder(path.parent).change("", path.name, Inode())
        self.next_descriptor += 1
        self.locks[path] = self.next_descriptor
        return self.next_descriptor

    def free_bytes(self, folder: Path) -> int:
        return 12345

    # What tests do with it

    def after_power_cut(self, outcome: str, rng: random.Random) -> "SimulatedDisk":
        """Give the disk as it is when the machine is on again.

        outcome: "lost", only what was synced; "kept", everything; "torn", the calls up to a random one, whose last
        write ends at some sector; "mixed", any sectors of any calls; "killed", only the process died and the power
        stayed on: everything is there, and what was not synced still is not.
        """
        if outcome == "killed":
            return SimulatedDisk(
                rng=random.Random(rng.random()),
                folders=copy.deepcopy(self.folders),
                synced_folders=set(self.synced_folders),
            )
        renewed: dict[int, Inode] = {}

        def survivor(inode: Inode) -> Inode:
            if id(inode) not in renewed:
                content = _survive(inode, outcome, rng)
                renewed[id(inode)] = Inode(bytearray(content), content)
            return renewed[id(inode)]

        folders = {}
        for path, folder in self.folders.items():
            if path not in self.synced_folders and (outcome == "lost" or (outcome != "kept" and rng.random() < 0.5)):
                continue
            names = dict(folder.platter)
            pending = folder.pending
            if outcome == "lost":
                pending = []
            elif outcome == "torn":
                pending = pending[: rng.randint(0, len(pending))]
            elif outcome == "mixed":
                pending = [change for change in pending if rng.random() < 0.5]
            for old, new, inode in pending:
                _change(names, old, new, inode)
            kept = {name: survivor(inode) for name, inode in names.items()}
            folders[path] = Folder(kept, dict(kept))
        return SimulatedDisk(rng=random.Random(rng.random()), folders=folders, synced_folders=set(folders))

    def copy(self) -> "SimulatedDisk":
        """Give another disk in the same state."""
        return self.after_power_cut("killed", random.Random(0))

    def content(self, path: Path) -> bytearray:
        """Give a file's bytes, to be changed in place."""
        return self.folders[path.parent].names[path.name].cache

    def _call(self, name: str) -> None:
        if self.off:
            raise PowerCutError
        self.calls += 1
        self.trace.append(name)
        if self.calls == self.cut_at:
            self.off = True
            raise PowerCutError
        if self.calls in self.errors:
            raise OSError(self.errors[self.calls], "injected")

    def _folder(self, folder: Path) -> Folder:
        if folder not in self.folders:
            raise FileNotFoundError(errno.ENOENT, "No such folder")
        return self.folders[folder]

    def _inode(self, path: Path) -> Inode:
        names = self._folder(path.parent).names
        if path.name not in names:
            raise FileNotFoundError(errno.ENOENT, "No such file")
        return names[path.name]

    def _open(self, inode: Inode) -> int:
        self.next_descriptor += 1
        self.open_files[self.next_descriptor] = inode
        return self.next_descriptor


Pick = Callable[[int], bool]


def _change(names: dict[str, Inode], old: str, new: str, inode: Inode | None) -> None:
    if old:
        names.pop(old, None)
    if new and inode is not None:
        names[new] = inode


def _applied(content: bytes, calls: list[tuple[int, bytes | None]]) -> bytes:
    made = bytearray(content)
    for offset, data in calls:
        if data is None:
            del made[offset:]
        made.extend(bytes(max(0, offset - len(made))))
        if data is not None:
            made[offset : offset + len(data)] = data
    return bytes(made)


def _sectors(offset: int, data: bytes) -> list[tuple[int, bytes | None]]:
    pieces: list[tuple[int, bytes | None]] = []
    while data:
        size = SECTOR - offset % SECTOR
        pieces.append((offset, data[:size]))
        offset, data = offset + len(data[:size]), data[size:]
    return pieces


def _survive(inode: Inode, outcome: str, rng: random.Random) -> bytes:
    if outcome == "lost":
        return inode.platter
    if outcome == "kept":
        return bytes(inode.cache)
    pieces: list[tuple[int, bytes | None]] = []
    for offset, data in inode.pending:
        pieces += [(offset, None)] if data is None else _sectors(offset, data)
    if outcome == "torn":
        return _applied(inode.platter, pieces[: rng.randint(0, len(pieces))])
    kept = [piece for piece in pieces if rng.random() < 0.6]
    content = _applied(inode.platter, kept)
    # The size is written apart from the sectors: it may be ahead of them.
    if rng.random() < 0.7:
        content += bytes(max(0, len(inode.cache) - len(content)))
    return content
