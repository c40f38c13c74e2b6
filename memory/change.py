"""A change of a stored group: it is written anew, or goes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .forgotten import Forgotten, Stretches
from .forgotten_note import FORGOTTEN, ForgottenNote, Last
from .group import Body, Head
from .holdings import Holdings
from .store import Store
from .traces import Traces
from .working_set import WorkingSet


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """Hold what is to become of a stored group.

    table: its blocks before.  gone: which of them go, bool.  record: its head and bytes of both after; None where all
    of it goes.  stretches: all that is forgotten after.  Each step may be done twice.
    """

    group_id: int
    table: NDArray[np.void]
    gone: NDArray[np.bool_]
    stretches: Stretches
    record: tuple[Head, bytes, bytes] | None = None

    @classmethod
    def away(cls, group_id: int, table: NDArray[np.void], forgotten: Stretches) -> "Change":
        """Let all of a group go.  forgotten: what is so before."""
        return cls(group_id, table, np.ones(len(table), dtype=np.bool_), stretches_with(forgotten, table))

    @classmethod
    def anew(
        cls,
        group_id: int,
        stored: bytes | None,
        body: Body,
        table: NDArray[np.void],
        without: set[int],
        forgotten: Stretches,
    ) -> "Change":
        """Put a changed group in its own place.

        stored: its head before, None where the store has none.  table: its blocks, those that go included.  without:
        ids of those that go.  forgotten: what is so before.
        """
        head = Head(group_id, body.level, body.codec, table, {}, b"")
        if stored is not None:
            before = Head.from_bytes(stored)
            head = Head(group_id, body.level, body.codec, table, before.keys, before.features)
        head = head.without(without) if without else head
        gone = np.isin(table["id"], list(without))
        record = (head, head.to_bytes(), body.to_bytes())
        return cls(group_id, table, gone, stretches_with(forgotten, table[gone]), record)

    def write(self, store: Store, last: Last | None) -> None:
        """Bring the store to what this says.  last: the newest block known.  Raises StorageError."""
        if self.gone.any():
            note = ForgottenNote(self.stretches.all, last or Last.of(self.table[-1]))
            store.note(FORGOTTEN, note.to_bytes())
        if self.record is None:
            store.drop([self.group_id])
        else:
            store.put(self.group_id, *self.record[1:])

    def follow(self, holdings: Holdings, traces: Traces, working: WorkingSet) -> None:
        """Bring indexes and tables to what the store has now."""
        going: list[int] = self.table["id"][self.gone].tolist()
        working.drop(self.table["id"].tolist())
        for block_id in going:
            traces.forget(block_id)
        holdings.remove_blocks(going)
        if self.record is None:
            holdings.remove_group(self.group_id)
        else:
            head, _, data = self.record
            holdings.replace(head, len(data))


def stretches_with(forgotten: Stretches, table: NDArray[np.void]) -> Stretches:
    """Add blocks that will not be remembered: a stretch for each run of them that follow each other."""
    stretches = Stretches(forgotten.all)
    runs = np.split(table, np.flatnonzero(np.diff(table["id"]) > 1) + 1) if len(table) else []
    for run in runs:
        stretches.add(Forgotten(int(run["start_us"][0]), int(run["end_us"].max()), len(run)))
    return stretches
