"""The table of a shard: which blocks it holds, how many rows each has, when they were seen, which are forgotten."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROW = np.dtype([("id", "<i8"), ("first", "<i8"), ("rows", "<i8"), ("since", "<i8"), ("until", "<i8"), ("dead", "?")])
_NEVER = (1 << 62, -(1 << 62))


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Say which blocks of a shard are searched: bool [blocks], None for all of them.  rows: how many vectors."""

    rows: int
    keep: NDArray[np.bool_] | None


class ShardTable:
    """List a shard's blocks in the order in which they were added; a block's place is its number in the list."""

    def __init__(self, rows: NDArray[np.void] | None = None) -> None:
        self._rows = np.empty(0, dtype=_ROW) if rows is None else rows
        self._blocks = len(self._rows)
        self._dead_rows = int(self.counts[self.used["dead"]].sum())
        self._total = 0
        self._starts = self._ends = _NEVER  # least and greatest
        self._measure(self.used)

    def __len__(self) -> int:
        return self._blocks

    @property
    def nbytes(self) -> int:
        """True bytes, reserve included."""
        return self._rows.nbytes

    @property
    def used(self) -> NDArray[np.void]:
        """The rows in use: id, first (row of the block's first vector when it was added), rows, since, until, dead."""
        return self._rows[: self._blocks]

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of the blocks, rising."""
        return np.asarray(self.used["id"])

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of rows of each block."""
        return np.asarray(self.used["rows"])

    @property
    def dead_rows(self) -> int:
        """Number of rows of forgotten blocks."""
        return self._dead_rows

    @property
    def spare(self) -> bool:
        """Whether there is a reserve."""
        return self._blocks < len(self._rows)

    def add(self, ids: NDArray[np.int64], counts: NDArray[np.int64], spans_us: NDArray[np.int64], first: int) -> None:
        """Append blocks: ids [n], counts [n], spans_us [n, 2]; first: row of the first one's first vector."""
        used, added = self._blocks, len(ids)
        size = len(self._rows)
        while size < used + added:  # steps of its own, so that adding in bulk leaves the same reserve
            size += max(size // 4, 16)
        if size > len(self._rows):
            grown = np.empty(size, dtype=_ROW)
            grown[:used] = self.used
            self._rows = grown
        new = self._rows[used : used + added]
        new["id"], new["rows"], new["dead"] = ids, counts, False
        new["first"] = first + np.cumsum(counts) - counts
        new["since"], new["until"] = spans_us[:, 0], spans_us[:, 1]
        self._blocks += added
        self._measure(new)

    def find(self, block_id: int) -> int | None:
        """Give the place of a block that is not forgotten, None when it is not here."""
        place = int(np.searchsorted(self.ids, block_id))
        if place == self._blocks or self.ids[place] != block_id or self.used["dead"][place]:
            return None
        return place

    def forget(self, block_id: int) -> bool:
        """Mark a block as forgotten; say whether it was here and was not before."""
        place = self.find(block_id)
        if place is None:
            return False
        self.used["dead"][place] = True
        self._dead_rows += int(self.counts[place])
        return True

    def kept(self) -> "ShardTable":
        """Give the table without forgotten blocks and without a reserve."""
        rows = self.used[~self.used["dead"]].copy()
        rows["first"] = np.cumsum(rows["rows"]) - rows["rows"]
        return ShardTable(rows)

    def wanted(self, since_us: int | None = None, until_us: int | None = None) -> NDArray[np.bool_]:
        """Say which blocks are not forgotten and meet [since_us, until_us).

        A block without duration counts as its one moment.
        """
        table = self.used
        keep: NDArray[np.bool_] = ~table["dead"]
        if until_us is not None:
            keep &= table["since"] < until_us
        if since_us is not None:
            keep &= np.maximum(table["until"], table["since"] + 1) > since_us
        return keep

    def view(self, since_us: int | None = None, until_us: int | None = None) -> View:
        """Say which blocks are wanted, without a look at each where all or none are."""
        live = self._total - self._dead_rows
        starts, ends = self._starts, self._ends
        outside = (until_us is not None and starts[0] >= until_us) or (since_us is not None and ends[1] <= since_us)
        inside = (until_us is None or starts[1] < until_us) and (since_us is None or ends[0] > since_us)
        if outside or not live:
            return View(0, np.zeros(self._blocks, dtype=np.bool_))
        if inside and not self._dead_rows:
            return View(live, None)
        keep = self.wanted(since_us, until_us)
        return View(int(self.counts[keep].sum()), keep)

    def _measure(self, rows: NDArray[np.void]) -> None:
        """Take rows into what is known of all of them."""
        if len(rows):
            ends = np.maximum(rows["until"], rows["since"] + 1)
            self._total += int(rows["rows"].sum())
            self._starts = (
                min(self._starts[0], int(rows["since"].min())),
                max(self._starts[1], int(rows["since"].max())),
            )
            self._ends = min(self._ends[0], int(ends.min())), max(self._ends[1], int(ends.max()))


def joined(tables: list[ShardTable]) -> ShardTable:
    """Put tables one after the other, forgotten blocks left out."""
    rows = np.concatenate([table.kept().used for table in tables])
    rows["first"] = np.cumsum(rows["rows"]) - rows["rows"]
    return ShardTable(rows)
