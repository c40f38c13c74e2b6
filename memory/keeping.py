"""A memory in a folder, opened without its model: to look at it, to forget, to verify."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecallError, StorageError
from .archive import Archive
from .codec_set import codecs_of, ladder_of
from .folder import Owner, open_owner, open_store
from .group import Body
from .log.log import SegmentLog
from .log_store import CHECKPOINT, LogStore
from .traces import Traces

_STEP_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Hold an open memory.  archive: without indexes, so nothing can be searched."""

    owner: Owner
    store: LogStore
    archive: Archive


@dataclass(frozen=True, slots=True)
class Verified:
    """Say what verifying found.  groups: whose body is whole, of all.  damage: a line for each damaged place."""

    whole: int
    groups: int
    damage: tuple[str, ...]


@contextmanager
def open_kept(folder: Path, write: bool = False) -> Iterator[Kept]:
    """Open a memory.  Raises StorageError where there is none, or another process writes it."""
    owner = open_owner(folder)
    with open_store(folder, owner, 1 << 50, write=write) as store:
        codecs = codecs_of(owner.layout, store)
        archive = Archive(1 << 50, Traces(owner.layout, ()), codecs["raw"], ladder=ladder_of(codecs), store=store)
        archive.load()
        yield Kept(owner, store, archive)


def forget_for_good(kept: Kept, since_us: int | None, until_us: int | None) -> tuple[int, int]:
    """Forget a stretch, and what a session would go on from; give the keyframes that went and the bytes freed.

    Frames that wait for their chunk are in the checkpoint alone, and the newest ones there as well, so that is let go
    whole: who goes on then begins behind the newest stored keyframe.
    """
    before, span = kept.store.disk_bytes, kept.archive.span()
    gone = kept.archive.forget(since_us, until_us)
    if (
        gone or span is None or until_us is None or until_us > span[1]
    ):  # else what waits to be stored is later than that
        kept.store.unnote(CHECKPOINT)
    kept.store.sync()
    kept.store.reclaim()
    kept.store.reclaim()  # the first one leaves the records that say what went
    return len(gone), before - kept.store.disk_bytes


def import_memory(file: Path, folder: Path) -> Owner:
    """Make a memory's folder from an export.  Raises StorageError for a file that is none, or is damaged."""
    with SegmentLog.import_(file, folder) as log:
        return Owner.of(log.about, folder)


def verify(kept: Kept) -> Verified:
    """Read every record and every body."""
    log = kept.store.log
    while not log.scrub(_STEP_BYTES).finished:
        pass
    damage = [f"{one.segment} at byte {one.offset}: {one.what}" for one in log.damage]
    whole = 0
    for group_id in kept.archive.group_ids:
        try:
            body = Body.from_bytes(kept.store.body(group_id))
            kept.archive.codec_of(body).decode(body.codes)
            whole += 1
        except (StorageError, RecallError) as error:
            damage.append(str(error))
    return Verified(whole, len(kept.archive.group_ids), tuple(dict.fromkeys(damage)))
