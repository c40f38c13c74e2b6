"""The holdings: which blocks and groups are remembered, in tables, and what is looked up there."""

import numpy as np
from numpy.typing import NDArray

from ..errors import RecallError
from .catalogue import BLOCK, GROUP, Table, meets
from .group import Head


class Holdings:
    """Keep a row for each remembered block and each group, both in time order.

    A group is named by its first block, so its blocks are those from its id to the next group's.
    """

    def __init__(self) -> None:
        self.blocks, self.groups = Table(BLOCK), Table(GROUP)

    @property
    def nbytes(self) -> int:
        """True bytes of both tables, reserve included."""
        return self.blocks.nbytes + self.groups.nbytes

    @property
    def block_ids(self) -> tuple[int, ...]:
        """Ids of all blocks, in time order."""
        return tuple(self.blocks.rows["id"].tolist())

    @property
    def group_ids(self) -> tuple[int, ...]:
        """Ids of all groups, in time order."""
        return tuple(self.groups.rows["id"].tolist())

    def entry(self, block_id: int) -> np.void:
        """Give a block's row; a view.  Raises RecallError for one that is not remembered."""
        place = self.blocks.find(block_id)
        if place is None:
            ids = self.blocks.rows["id"]
            known = f"{ids[0]} to {ids[-1]}" if len(ids) else "none"
            raise RecallError(f"block {block_id} is not remembered (remembered: {known}); a larger cap keeps more")
        entry: np.void = self.blocks.rows[place]
        return entry

    def size(self, block_id: int) -> int | None:
        """Give a block's number of tokens, None when it is not remembered."""
        place = self.blocks.find(block_id)
        return None if place is None else int(self.blocks.rows["tokens"][place])

    def group_of(self, block_id: int) -> int:
        """Name the group that a remembered block is in: the last one that begins at it or before it."""
        ids = self.groups.rows["id"]
        return int(ids[np.searchsorted(ids, block_id, side="right") - 1])

    def inside(self, group_id: int) -> NDArray[np.void]:
        """Give the rows of a group's blocks; a copy."""
        ids = self.groups.rows["id"]
        place = int(np.searchsorted(ids, group_id))
        block_ids = self.blocks.rows["id"]
        last = len(block_ids)
        if place + 1 < len(ids):
            last = int(np.searchsorted(block_ids, ids[place + 1]))
        return self.blocks.rows[int(np.searchsorted(block_ids, group_id)) : last].copy()

    def between(self, since_us: int | None, until_us: int | None) -> tuple[int, ...]:
        """List the blocks whose span meets [since_us, until_us), in time order."""
        rows = self.blocks.rows
        return tuple(rows["id"][meets(rows, since_us, until_us)].tolist())

    def sizes(self, since_us: int | None, until_us: int | None) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Give ids and numbers of tokens of the blocks whose span meets [since_us, until_us), in time order; copies."""
        rows = self.blocks.rows[meets(self.blocks.rows, since_us, until_us)]
        return rows["id"].astype(np.int64), rows["tokens"].astype(np.int32)

    def ended(self, until_us: int) -> tuple[int, ...]:
        """List the blocks that ended at a time or before it."""
        rows = self.blocks.rows
        return tuple(rows["id"][: np.searchsorted(rows["end_us"], until_us, side="right")].tolist())

    def span(self) -> tuple[int, int] | None:
        """Give the stretch of stream time remembered, None when nothing is."""
        rows = self.blocks.rows
        return (int(rows["start_us"][0]), int(rows["end_us"][-1])) if len(rows) else None

    def read(self, group_id: int) -> None:
        """Count a group as read once more; one that is not here is no error."""
        place = self.groups.find(group_id)
        if place is not None:
            self.groups.rows["reads"][place] += 1

    def take(self, head: Head, body_bytes: int) -> None:
        """Take in a group behind all others; what is here already is not taken in twice."""
        if self.groups.find(head.group_id) is None:
            group = np.zeros(1, dtype=GROUP)
            group["id"] = head.group_id
            _describe(group[0], head, body_bytes)
            self.groups.append(group)
        if self.blocks.find(int(head.table["id"][0])) is None:
            self.blocks.append(head.table)

    def replace(self, head: Head, body_bytes: int) -> None:
        """Give a group's row, and those of its blocks, what a changed group says; blocks that went are removed."""
        first, place = self.blocks.find(int(head.table["id"][0])), self.groups.find(head.group_id)
        assert first is not None
        assert place is not None
        self.blocks.rows[first : first + len(head.table)] = head.table
        _describe(self.groups.rows[place], head, body_bytes)

    def remove_blocks(self, block_ids: list[int]) -> None:
        """Take blocks out; one that is not here is no error."""
        self.blocks.remove([place for one in block_ids if (place := self.blocks.find(one)) is not None])

    def remove_group(self, group_id: int) -> None:
        """Take a group's row out; one that is not here is no error."""
        place = self.groups.find(group_id)
        self.groups.remove([] if place is None else [place])


def _describe(row: np.void, head: Head, body_bytes: int) -> None:
    """Write what a head says of its group into the group's row; its id and its reads stay."""
    row["level"], row["blocks"], row["body_bytes"] = head.level, len(head.table), body_bytes
    row["codec"] = head.codec.encode("ascii")
    row["tokens"] = head.table["tokens"].sum()
    row["start_us"], row["end_us"] = head.table["start_us"][0], head.table["end_us"][-1]
