"""The catalogue: what is known of every remembered block without reading its keys."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK = np.dtype(
    [
        ("id", "<i8"),
        ("start_us", "<i8"),
        ("end_us", "<i8"),
        ("place", "<i8"),  # KVBlock.place; NO_PLACE for none
        ("extent", "<i4"),
        ("row", "<i4"),  # its first token in its group
        ("tokens", "<i4"),
        ("vectors", "<i4"),  # key vectors in the index; more than tokens once tokens were dropped
        ("visual", "<i4"),  # feature vectors in the index
        ("picture_bytes", "<i4"),
    ]
)
"""One block, in memory and in a memory's files alike."""

NO_PLACE = -(1 << 63)

GROUP = np.dtype(
    [
        ("id", "<i8"),
        ("start_us", "<i8"),
        ("end_us", "<i8"),
        ("level", "<i4"),  # 0 as it was written; see consolidation
        ("reads", "<i4"),
        ("blocks", "<i4"),
        ("tokens", "<i4"),
        ("body_bytes", "<i8"),
        ("codec", "S8"),
    ]
)
"""One group of blocks, in memory."""


class Table:
    """Keep rows of a structured type in rising order of their id, appended at the end, removed anywhere.

    Its reserve is a quarter at most while it grows, and at most as much again as what is left when rows go.
    """

    def __init__(self, kind: np.dtype[np.void]) -> None:
        self._rows: NDArray[np.void] = np.empty(0, dtype=kind)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """True bytes, reserve included."""
        return self._rows.nbytes

    @property
    def rows(self) -> NDArray[np.void]:
        """The rows; a view, good until the table changes."""
        return self._rows[: self._count]

    def append(self, rows: NDArray[np.void]) -> None:
        """Take in rows whose ids come after all that are here."""
        count = self._count + len(rows)
        if count > len(self._rows):
            grown = np.empty(count + max(count // 4, 16), dtype=self._rows.dtype)
            grown[: self._count] = self.rows
            self._rows = grown
        self._rows[self._count : count] = rows
        self._count = count

    def find(self, row_id: int) -> int | None:
        """Give the place of the row with an id, None when it is not here."""
        place = int(np.searchsorted(self.rows["id"], row_id))
        return place if place < self._count and self.rows["id"][place] == row_id else None

    def remove(self, places: Sequence[int] | NDArray[np.int64]) -> None:
        """Take rows out by their places."""
        if len(places) == 0:
            return
        kept = np.delete(self.rows, places)
        if len(kept) * 2 < len(self._rows):
            self._rows = np.empty(len(kept) + max(len(kept) // 4, 16), dtype=self._rows.dtype)
        self._rows[: len(kept)] = kept
        self._count = len(kept)


def meets(rows: NDArray[np.void], since_us: int | None, until_us: int | None) -> slice:
    """Find the rows, in time order, whose span meets [since_us, until_us).  A span without length is its one moment."""
    first, last = 0, len(rows)
    if until_us is not None:
        last = int(np.searchsorted(rows["start_us"], until_us, side="left"))
    if since_us is not None:
        past = int(np.searchsorted(rows["end_us"], since_us, side="right"))  # these end at since_us or before it
        first = min(int(np.searchsorted(rows["start_us"], since_us, side="left")), past)
    return slice(first, max(first, last))
