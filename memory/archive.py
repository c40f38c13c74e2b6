"""The archive: coded blocks of everything that left the window, within caps on all the bytes held.

Whatever is read from it, now or after a restart, is what was stored: blocks are decoded from their codes, and the
indexes hold the vectors as the store has them, so a memory that is opened again answers as if it had never stopped.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import RecallError, SettingsError, StorageError
from .block import KVBlock
from .catalogue import BLOCK, GROUP, NO_PLACE, Table, meets
from .codecs.codec import Codec
from .coding import code_group, index_group, with_keys
from .consolidation import GIST, LEVEL_NAMES, Ladder, consolidate, next_group
from .forgotten import Forgotten, Stretches
from .group import Body, Head
from .store import RamStore, Store
from .traces import KeyHead, Traces
from .working_set import WorkingSet

FORGOTTEN = "forgotten"  # the note that says what is gone


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


@dataclass(frozen=True, slots=True)
class Last:
    """Name the newest block that was taken in.  next_place: where a block behind it starts (KVBlock.place)."""

    block_id: int
    start_us: int
    end_us: int
    next_place: int

    @classmethod
    def of(cls, entry: np.void) -> "Last":
        """Read it from a row of BLOCK."""
        place = 0 if entry["place"] == NO_PLACE else int(entry["place"])
        ends = int(entry["start_us"]), int(entry["end_us"])
        return cls(int(entry["id"]), *ends, place + int(entry["extent"]))


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """Hold what is to become of a stored group: it is written anew, or goes.

    table: its blocks before.  gone: which of them go, bool.  record: its head and bytes of both after; None where all
    of it goes.  stretches: all that is forgotten after.
    """

    group_id: int
    table: NDArray[np.void]
    gone: NDArray[np.bool_]
    stretches: Stretches
    record: tuple[Head, bytes, bytes] | None = None


class Archive:
    """Keep coded blocks in time order, with their traces and thumbnails, within caps.

    codec: how new blocks are coded.  ladder: codecs of what consolidation makes of old ones, by default none and old
    groups are forgotten whole.  store: where they are kept, by default in host memory.  disk_cap_bytes: of the store's
    files.  working_cap_bytes: of decoded blocks.  keep_us: blocks that ended so long before the newest one are
    forgotten.  When a cap is passed, old groups are consolidated and then forgotten; `forgotten` says which stretches.
    Not safe for use by several threads at once.
    """

    def __init__(
        self,
        cap_bytes: int,
        traces: Traces,
        codec: Codec,
        *,
        ladder: Ladder | None = None,
        store: Store | None = None,
        disk_cap_bytes: int = 0,
        working_cap_bytes: int = 0,
        keep_us: int | None = None,
    ) -> None:
        if cap_bytes < traces.fixed_bytes:
            raise SettingsError(
                f"an archive of {cap_bytes} bytes cannot hold even the {traces.fixed_bytes} bytes that recall needs "
                "before the first block; raise the cap"
            )
        self.cap_bytes, self.disk_cap_bytes, self.keep_us = cap_bytes, disk_cap_bytes, keep_us
        self.traces, self.codec, self.ladder = traces, codec, ladder
        self.store: Store = RamStore() if store is None else store
        self.working = WorkingSet(working_cap_bytes)
        self._codecs = {codec.name: codec, **(ladder.codecs if ladder else {})}
        self._blocks, self._groups = Table(BLOCK), Table(GROUP)
        self._last: Last | None = None
        self._stretches = Stretches()
        self._change: _Change | None = None  # begun and not carried out yet

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, block_id: object) -> bool:
        return isinstance(block_id, int) and self._blocks.find(block_id) is not None

    @property
    def nbytes(self) -> int:
        """True bytes of host memory held, without the working set."""
        return self._blocks.nbytes + self._groups.nbytes + self.traces.nbytes + self.store.host_bytes

    @property
    def forgotten(self) -> tuple[Forgotten, ...]:
        """The stretches of stream that are not remembered any more."""
        return self._stretches.all

    @property
    def last_id(self) -> int | None:
        """Id of the newest block that was taken in, None before the first."""
        return None if self._last is None else self._last.block_id

    @property
    def last(self) -> Last | None:
        """The newest block that was taken in, remembered or not."""
        return self._last

    @property
    def block_ids(self) -> tuple[int, ...]:
        """Ids of all remembered blocks, in time order."""
        return tuple(self._blocks.rows["id"].tolist())

    @property
    def group_ids(self) -> tuple[int, ...]:
        """Ids of all groups, in time order."""
        return tuple(self._groups.rows["id"].tolist())

    def blocks_of(self, group_id: int) -> tuple[int, ...]:
        """Ids of a remembered group's blocks, in time order."""
        return tuple(self._inside(group_id)["id"].tolist())

    def codec_counts(self) -> dict[str, int]:
        """Count groups by the codec of their body."""
        names, counts = np.unique(self._groups.rows["codec"], return_counts=True)
        return {name.decode("ascii"): int(count) for name, count in zip(names, counts, strict=True)}

    def codec_of(self, body: Body) -> Codec:
        """Give the codec of a body.  Raises RecallError for one that is not known here."""
        codec = self._codecs.get(body.codec)
        if codec is None:
            raise RecallError(f"a group was coded by {body.codec!r}, which is not known here; its tables are missing")
        return codec

    def append(self, block: KVBlock, features: Tensor | None = None, picture: bytes = b"") -> tuple[int, ...]:
        """Take in one block as a group of its own, as extend() does."""
        return self.extend([block], [features], [picture])

    def extend(
        self, blocks: Sequence[KVBlock], features: Sequence[Tensor | None], pictures: Sequence[bytes]
    ) -> tuple[int, ...]:
        """Take in the next blocks as one group; give the ids that were forgotten for it.

        features: visual features [v, D] of each.  pictures: a JPEG each, or nothing.  A call that was interrupted can
        be made again.  Raises RecallError for a block that does not follow the last one in id and time, StorageError
        where the disk is full or fails; nothing was taken in then.
        """
        if not blocks:
            return ()
        self._carry_out()
        self._check(blocks)
        head, body = code_group(self.codec, self.traces, blocks, features, pictures)
        head_bytes, body_bytes = head.to_bytes(), body.to_bytes()
        dropped = self.make_room(len(head_bytes) + len(body_bytes))
        self.store.put(head.group_id, head_bytes, body_bytes)
        try:
            dropped += self._take_in(head, len(body_bytes))
        except StorageError:
            raise
        except BaseException:
            self._take_in(head, len(body_bytes))  # it is stored: a signal must not leave it half known
            raise
        return tuple(dropped)

    def load(self) -> None:
        """Take in what the store has, on a new archive.

        Keys of heads that were calibrated since are read from the bodies.  A group whose body cannot be read for that
        is forgotten.
        """
        told = self.store.noted(FORGOTTEN)
        if told is not None:
            facts = json.loads(told)
            self._stretches = Stretches(Forgotten(*one) for one in facts["stretches"])
            self._last = Last(*facts["last"])
        newest = self._last
        for data in self.store.heads():
            head = Head.from_bytes(data)
            missing = [place for place in self.traces.keys if place not in head.keys]
            try:
                size = self.store.body_bytes(head.group_id)
                self._take(self._with_keys(head, missing) if missing else head, size)
            except StorageError:
                self.store.note(FORGOTTEN, self._told(self._with_stretches(head.table), Last.of(head.table[-1])))
                self.store.drop([head.group_id])
                self._stretches = self._with_stretches(head.table)
        if newest is not None and (self._last is None or self._last.block_id < newest.block_id):
            self._last = newest  # it was forgotten since: its id and time are not given again
        self._share_host_memory()

    def freeze(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Write down what load() cannot know: the moments, which count what is forgotten too, and who was read."""
        facts["moments"] = {}
        for name, trace in self.traces.named():
            count, mean, scatter = trace.moments.state()
            facts["moments"][name] = count
            tensors[f"moments/{name}/mean"] = torch.from_numpy(mean)
            tensors[f"moments/{name}/scatter"] = torch.from_numpy(scatter)
        rows = self._groups.rows
        tensors["reads"] = torch.from_numpy(np.stack((rows["id"], rows["reads"].astype(np.int64))))

    def thaw(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take over what freeze() wrote of the groups that are loaded."""
        for name, trace in self.traces.named():
            if name in facts["moments"]:
                mean, scatter = (tensors[f"moments/{name}/{part}"].numpy() for part in ("mean", "scatter"))
                trace.moments.restore(facts["moments"][name], mean, scatter)
        ids, reads = tensors["reads"].numpy()
        rows = self._groups.rows
        _, here, there = np.intersect1d(rows["id"], ids, assume_unique=True, return_indices=True)
        rows["reads"][here] = reads[there]

    def get(self, block_id: int) -> KVBlock:
        """Read a block into host memory.

        Raises RecallError when it was forgotten or never stored, StorageError when it is damaged.
        """
        entry = self._entry(block_id)
        body = Body.from_bytes(self.store.body(self._group_id(block_id)))
        return body.block(entry, self.codec_of(body))

    def read(self, block_ids: Sequence[int], device: torch.device | None = None, *, near: bool = True) -> list[KVBlock]:
        """Read blocks for a question, decoded on the device; what cannot be read is left out and forgotten.

        They stay in the working set, and count as read when old groups are consolidated, unless near is False.
        """
        self._carry_out()
        found = {block_id: block for block_id in block_ids if (block := self.working.get(block_id)) is not None}
        wanted: dict[int, list[int]] = {}
        for block_id in block_ids:
            self._entry(block_id)
            wanted.setdefault(self._group_id(block_id), []).append(block_id)
        self.store.fetch([group_id for group_id, ids in wanted.items() if any(one not in found for one in ids)])
        for group_id, ids in wanted.items():
            place = self._groups.find(group_id)
            if place is not None and near:
                self._groups.rows["reads"][place] += 1
            missing = [block_id for block_id in ids if block_id not in found]
            if not missing:
                continue
            try:
                body = Body.from_bytes(self.store.body(group_id))
            except (StorageError, RecallError):
                with suppress(StorageError):  # where nothing can be noted it is left out all the same
                    self._forget_group(group_id)
                continue
            for block in body.blocks([self._entry(one) for one in missing], self.codec_of(body), device):
                found[block.block_id] = block
                if near:
                    self.working.put(block)
        return [found[block_id] for block_id in block_ids if block_id in found]

    def thumbnail(self, block_id: int) -> bytes:
        """Read a block's thumbnail, JPEG or empty.

        Raises RecallError when it was forgotten or never stored, StorageError when it is damaged.
        """
        entry = self._entry(block_id)
        if not entry["picture_bytes"]:
            return b""
        group_id = self._group_id(block_id)
        place = int(np.searchsorted(self._inside(group_id)["id"], block_id))
        return Body.from_bytes(self.store.body(group_id)).pictures[place]

    def span_of(self, block_id: int) -> tuple[int, int]:
        """Give a block's span.  Raises RecallError when it was forgotten or never stored."""
        entry = self._entry(block_id)
        return int(entry["start_us"]), int(entry["end_us"])

    def size(self, block_id: int) -> int | None:
        """Give a block's number of tokens, None when it is not remembered."""
        place = self._blocks.find(block_id)
        return None if place is None else int(self._blocks.rows["tokens"][place])

    def between(self, since_us: int | None = None, until_us: int | None = None) -> tuple[int, ...]:
        """List the blocks whose span meets [since_us, until_us), in time order.

        A block without duration counts as its one moment.
        """
        rows = self._blocks.rows
        return tuple(rows["id"][meets(rows, since_us, until_us)].tolist())

    def span(self) -> tuple[int, int] | None:
        """Give the stretch of stream time remembered, None when nothing is."""
        rows = self._blocks.rows
        return (int(rows["start_us"][0]), int(rows["end_us"][-1])) if len(rows) else None

    def forget(self, since_us: int | None = None, until_us: int | None = None) -> tuple[int, ...]:
        """Forget every block whose span meets [since_us, until_us); give their ids.

        What the store holds of them is dead then, and gone for good after its reclaim().
        """
        self._carry_out()
        return self._forget_ids(self.between(since_us, until_us))

    def make_room(self, need: int) -> list[int]:
        """Free disk until need bytes more stay within its cap; give the ids that were forgotten for it.

        Raises StorageError where that cannot be.
        """
        store, cap = self.store, self.disk_cap_bytes
        dropped: list[int] = []
        while cap and store.disk_bytes + need + store.reserve_bytes > cap:
            hopeless = need + store.noted_bytes + store.reserve_bytes > cap  # then nothing is given up for it
            wanted = max(need, cap // 32)
            while not hopeless and len(self._groups) and store.dead_bytes < wanted:
                dropped += self._step()
            if store.reclaim() > 0:
                continue
            if hopeless or not len(self._groups):
                raise StorageError(
                    f"{need} bytes do not fit into the {cap} that the memory may take on disk, "
                    f"{store.reserve_bytes} of them for rewriting; raise the cap"
                )
            dropped += self._step()
        return dropped

    def _ended(self, until_us: int) -> tuple[int, ...]:
        """List the blocks that ended at a time or before it."""
        rows = self._blocks.rows
        return tuple(rows["id"][: np.searchsorted(rows["end_us"], until_us, side="right")].tolist())

    def _forget_ids(self, gone: tuple[int, ...]) -> tuple[int, ...]:
        for group_id in sorted({self._group_id(block_id) for block_id in gone}):
            inside = self._inside(group_id)
            ids = set(inside["id"].tolist())
            going = ids.intersection(gone)
            if going == ids:
                self._forget_group(group_id)
            else:
                self._rewrite(group_id, inside, going)
        return gone

    def stats(self) -> ArchiveStats:
        """Count what is held."""
        rows = self._groups.rows
        levels = np.bincount(rows["level"], minlength=len(LEVEL_NAMES) - 1)
        return ArchiveStats(
            blocks=len(self._blocks),
            tokens=int(rows["tokens"].sum()),
            cap_bytes=self.cap_bytes,
            used_bytes=self.nbytes,
            body_bytes=int(rows["body_bytes"].sum()),
            trace_bytes=self.traces.nbytes,
            table_bytes=self._blocks.nbytes + self._groups.nbytes,
            disk_bytes=self.store.disk_bytes,
            disk_cap_bytes=self.disk_cap_bytes,
            working_bytes=self.working.nbytes,
            working_cap_bytes=self.working.cap_bytes,
            levels=tuple(levels.tolist()),
            forgotten=self.forgotten,
        )

    def _check(self, blocks: Sequence[KVBlock]) -> None:
        """Raise RecallError unless blocks follow the last one, and each other, in id and time."""
        last = self._last
        for block in blocks:
            start, end = block.span_us
            if end < start:
                raise RecallError(f"block {block.block_id} ends at {end} us, before its start at {start} us")
            if last is not None and block.block_id <= last.block_id:
                raise RecallError(
                    f"block {block.block_id} came after block {last.block_id}; blocks are appended in order"
                )
            if last is not None and (start < last.start_us or end < last.end_us):
                raise RecallError(
                    f"block {block.block_id} spans {block.span_us} us, before the last one's "
                    f"{(last.start_us, last.end_us)}; blocks are appended in time order"
                )
            last = Last(block.block_id, start, end, 0)

    def _take_in(self, head: Head, body_bytes: int) -> list[int]:
        """Count a stored group in and keep to the caps; give the ids that were forgotten.  May be done twice."""
        self._carry_out()
        if self._last is None or self._last.block_id < head.table["id"][-1]:
            self._take(head, body_bytes)
        dropped: list[int] = []
        if self.keep_us is not None:
            dropped += self._forget_ids(self._ended(int(self._blocks.rows["end_us"][-1]) - self.keep_us))
        self._share_host_memory()  # a store's cache gives way before anything is given up
        while len(self._groups) and self.nbytes > self.cap_bytes:
            # What is on disk takes no room here: coding it more coarsely would free none.
            dropped += self._forget_group(self.group_ids[0]) if self.disk_cap_bytes else self._step()
        while (
            len(self._groups)
            and self._inside(oldest := int(self._groups.rows["id"][0]))["id"][-1] < self.traces.first_id
        ):
            dropped += self._forget_group(oldest)  # no index had room for it: no question would find it
        self._share_host_memory()
        return dropped

    def _take(self, head: Head, body_bytes: int) -> None:
        """Put a stored group into the indexes, then into the tables; what an interrupted call did is not done again."""
        index_group(self.traces, head)
        table = head.table
        if self._groups.find(head.group_id) is None:
            group = np.zeros(1, dtype=GROUP)
            group["id"], group["level"], group["blocks"] = head.group_id, head.level, len(table)
            group["start_us"], group["end_us"] = table["start_us"][0], table["end_us"][-1]
            group["tokens"], group["body_bytes"] = table["tokens"].sum(), body_bytes
            group["codec"] = head.codec.encode("ascii")
            self._groups.append(group)
        if self._blocks.find(int(table["id"][0])) is None:
            self._blocks.append(table)
        self._last = Last.of(table[-1])
        self.traces.maintain(0.0)

    def _entry(self, block_id: int) -> np.void:
        place = self._blocks.find(block_id)
        if place is None:
            ids = self._blocks.rows["id"]
            known = f"{ids[0]} to {ids[-1]}" if len(ids) else "none"
            raise RecallError(f"block {block_id} is not remembered (remembered: {known}); a larger cap keeps more")
        entry: np.void = self._blocks.rows[place]
        return entry

    def _group_id(self, block_id: int) -> int:
        """Name the group that a remembered block is in: the last one that begins at it or before it."""
        ids = self._groups.rows["id"]
        return int(ids[np.searchsorted(ids, block_id, side="right") - 1])

    def _inside(self, group_id: int) -> NDArray[np.void]:
        """Give the rows of a group's blocks; a copy."""
        ids = self._groups.rows["id"]
        place = int(np.searchsorted(ids, group_id))
        block_ids = self._blocks.rows["id"]
        last = len(block_ids)
        if place + 1 < len(ids):
            last = int(np.searchsorted(block_ids, ids[place + 1]))
        return self._blocks.rows[int(np.searchsorted(block_ids, group_id)) : last].copy()

    def _step(self) -> tuple[int, ...]:
        """Consolidate one group by one step; give the ids that were forgotten for it."""
        place = next_group(self._groups.rows)
        group_id, level = int(self._groups.rows["id"][place]), int(self._groups.rows["level"][place])
        if self.ladder is None or level >= GIST:
            return self._forget_group(group_id)
        try:
            body = Body.from_bytes(self.store.body(group_id))
        except (StorageError, RecallError):
            return self._forget_group(group_id)
        body, table = consolidate(body, self._inside(group_id), self.ladder)
        self._replace(group_id, body, table, set())
        return ()

    def _rewrite(self, group_id: int, table: NDArray[np.void], block_ids: set[int]) -> None:
        """Store a group anew without some of its blocks."""
        try:
            body = Body.from_bytes(self.store.body(group_id))
        except (StorageError, RecallError):
            self._forget_group(group_id)
            return
        self._replace(group_id, body.without(self.codec_of(body), table, block_ids), table, block_ids)

    def _replace(self, group_id: int, body: Body, table: NDArray[np.void], without: set[int]) -> None:
        """Put a changed group in its own place.  table: its blocks, those that go included."""
        stored = self.store.head(group_id)
        head = Head(group_id, body.level, body.codec, table, {}, b"")
        if stored is not None:
            before = Head.from_bytes(stored)
            head = Head(group_id, body.level, body.codec, table, before.keys, before.features)
        head = head.without(without) if without else head
        gone = np.isin(table["id"], list(without))
        record = (head, head.to_bytes(), body.to_bytes())
        self._carry_out(_Change(group_id, table, gone, self._with_stretches(table[gone]), record))

    def _forget_group(self, group_id: int) -> tuple[int, ...]:
        table = self._inside(group_id)
        gone = np.ones(len(table), dtype=np.bool_)
        self._carry_out(_Change(group_id, table, gone, self._with_stretches(table)))
        return tuple(table["id"].tolist())

    def _carry_out(self, change: _Change | None = None) -> None:
        """Carry a change out, or what is left of one that was interrupted; each step may be done twice.

        Raises StorageError where the disk fails; nothing has changed here then.
        """
        self._change = change = change or self._change
        if change is None:
            return
        try:
            self._apply(change)
        except StorageError:
            self._change = None
            raise
        except BaseException:
            self._apply(change)  # a signal must not leave the tables at odds with the store
            self._change = None
            raise
        self._change = None

    def _apply(self, change: _Change) -> None:
        """Bring the store, then indexes and tables to what a change says."""
        if change.gone.any():
            self.store.note(FORGOTTEN, self._told(change.stretches, Last.of(change.table[-1])))
        if change.record is None:
            self.store.drop([change.group_id])
        else:
            self.store.put(change.group_id, *change.record[1:])
        self._stretches = change.stretches
        ids: list[int] = change.table["id"].tolist()
        going = change.table["id"][change.gone].tolist()
        self.working.drop(ids)
        for block_id in going:
            self.traces.forget(block_id)
        self._blocks.remove([place for one in going if (place := self._blocks.find(one)) is not None])
        place = self._groups.find(change.group_id)
        if change.record is None:
            self._groups.remove([] if place is None else [place])
            return
        head, _, data = change.record
        first = self._blocks.find(int(head.table["id"][0]))
        assert first is not None
        assert place is not None
        self._blocks.rows[first : first + len(head.table)] = head.table
        row = self._groups.rows[place]
        row["level"], row["blocks"], row["body_bytes"] = head.level, len(head.table), len(data)
        row["codec"] = head.codec.encode("ascii")
        row["tokens"] = head.table["tokens"].sum()
        row["start_us"], row["end_us"] = head.table["start_us"][0], head.table["end_us"][-1]

    def _with_stretches(self, table: NDArray[np.void]) -> Stretches:
        """Add what will not be remembered: a stretch for each run of blocks that follow each other."""
        stretches = Stretches(self.forgotten)
        runs = np.split(table, np.flatnonzero(np.diff(table["id"]) > 1) + 1) if len(table) else []
        for run in runs:
            stretches.add(Forgotten(int(run["start_us"][0]), int(run["end_us"].max()), len(run)))
        return stretches

    def _told(self, stretches: Stretches, last: Last) -> bytes:
        """Write the note of what is gone.  last: the newest block, where none is known yet."""
        facts = {
            "stretches": [[one.start_us, one.end_us, one.count] for one in stretches.all],
            "last": astuple(self._last or last),
        }
        return json.dumps(facts).encode()

    def _with_keys(self, head: Head, missing: Sequence[KeyHead]) -> Head:
        body = Body.from_bytes(self.store.body(head.group_id))
        keys, _ = self.codec_of(body).decode(body.codes)
        return with_keys(head, keys, missing)

    def _share_host_memory(self) -> None:
        """Leave the store what the indexes and tables do not need."""
        self.store.limit(max(0, self.cap_bytes - self.nbytes + self.store.host_bytes))
