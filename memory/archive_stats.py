"""The figures of an archive: how much it holds, in true bytes."""

from dataclasses import dataclass

from .forgotten import Forgotten


@dataclass(frozen=True, slots=True)
class ArchiveStats:
    """Count what the archive holds, in true bytes.

    used_bytes: of host memory, at most cap_bytes: indexes (trace_bytes), tables, and what the store has there.
    body_bytes: coded blocks with their thumbnails, wherever they are.  disk_bytes: of the store's files, dead records
    included, at most disk_cap_bytes.  working_bytes: decoded blocks near the model, at most working_cap_bytes.
    levels: how many groups of blocks are at each level of consolidation.
    """

    blocks: int
    tokens: int
    cap_bytes: int
    used_bytes: int
    body_bytes: int
    trace_bytes: int
    table_bytes: int
    disk_bytes: int
    disk_cap_bytes: int
    working_bytes: int
    working_cap_bytes: int
    levels: tuple[int, ...]
    forgotten: tuple[Forgotten, ...]
