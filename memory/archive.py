"""The archive: coded blocks of everything that left the window, within caps on all the bytes held.

Whatever is read from it, now or after a restart, is what was stored: blocks are decoded from their codes, and the
indexes hold the vectors as the store has them, so a memory that is opened again answers as if it had never stopped.
"""

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import RecallError, SettingsError, StorageError
from .archive_stats import ArchiveStats
from .block import KVBlock
from .codecs.codec import Codec
from .coding import code_group
from .consolidation import LEVEL_NAMES, Ladder
from .forgotten import Forgotten
from .forgotten_note import Last, check_order
from .group import Body, Head
from .log.errors import DamagedError
from .store import RamStore, Store
from .timeline import Stretch, timeline_of
from .traces import Traces
from .upkeep import Upkeep
from .working_set import WorkingSet


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
        codecs = {codec.name: codec, **(ladder.codecs if ladder else {})}
        self._upkeep = Upkeep(self.store, traces, self.working, codecs, ladder)
        self._holdings = self._upkeep.holdings

    def __len__(self) -> int:
        return len(self._holdings.blocks)

    def __contains__(self, block_id: object) -> bool:
        return isinstance(block_id, int) and self._holdings.blocks.find(block_id) is not None

    @property
    def nbytes(self) -> int:
        """True bytes of host memory held, without the working set."""
        return self._holdings.nbytes + self.traces.nbytes + self.store.host_bytes

    @property
    def forgotten(self) -> tuple[Forgotten, ...]:
        """The stretches of stream that are not remembered any more."""
        return self._upkeep.forgotten.all

    @property
    def last_id(self) -> int | None:
        """Id of the newest block that was taken in, None before the first."""
        return None if self.last is None else self.last.block_id

    @property
    def last(self) -> Last | None:
        """The newest block that was taken in, remembered or not."""
        return self._upkeep.last

    @property
    def block_ids(self) -> tuple[int, ...]:
        """Ids of all remembered blocks, in time order."""
        return self._holdings.block_ids

    @property
    def group_ids(self) -> tuple[int, ...]:
        """Ids of all groups, in time order."""
        return self._holdings.group_ids

    def blocks_of(self, group_id: int) -> tuple[int, ...]:
        """Ids of a remembered group's blocks, in time order."""
        return tuple(self._holdings.inside(group_id)["id"].tolist())

    def codec_counts(self) -> dict[str, int]:
        """Count groups by the codec of their body."""
        names, counts = np.unique(self._holdings.groups.rows["codec"], return_counts=True)
        return {name.decode("ascii"): int(count) for name, count in zip(names, counts, strict=True)}

    def codec_of(self, body: Body) -> Codec:
        """Give the codec of a body.  Raises RecallError for one that is not known here."""
        return self._upkeep.codec_of(body)

    def over(self, store: Store) -> "Archive":
        """Give the same blocks as another store has their bodies, to be read only; none of them is near the model."""
        other = copy.copy(self)
        other.store, other.working = store, WorkingSet(0)
        other._upkeep = self._upkeep.over(store, other.working)
        return other

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
        self._upkeep.carry_out()
        check_order(blocks, self.last)
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
        self._upkeep.load()
        while not self.store.writable and len(self._holdings.groups) and self.nbytes > self.cap_bytes:
            self._upkeep.forget(self.group_ids[0])  # here alone: a reader leaves the folder as it is
        self._share_host_memory()

    def freeze(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Write down what load() cannot know: the moments, which count what is forgotten too, and who was read."""
        facts["moments"] = {}
        for name, trace in self.traces.named():
            count, mean, scatter = trace.moments.state()
            facts["moments"][name] = count
            tensors[f"moments/{name}/mean"] = torch.from_numpy(mean)
            tensors[f"moments/{name}/scatter"] = torch.from_numpy(scatter)
        rows = self._holdings.groups.rows
        tensors["reads"] = torch.from_numpy(np.stack((rows["id"], rows["reads"].astype(np.int64))))

    def thaw(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take over what freeze() wrote of the groups that are loaded."""
        for name, trace in self.traces.named():
            if name in facts["moments"]:
                mean, scatter = (tensors[f"moments/{name}/{part}"].numpy() for part in ("mean", "scatter"))
                trace.moments.restore(facts["moments"][name], mean, scatter)
        ids, reads = tensors["reads"].numpy()
        rows = self._holdings.groups.rows
        _, here, there = np.intersect1d(rows["id"], ids, assume_unique=True, return_indices=True)
        rows["reads"][here] = reads[there]

    def get(self, block_id: int) -> KVBlock:
        """Read a block into host memory.

        Raises RecallError when it was forgotten or never stored, StorageError when it is damaged.
        """
        entry = self._holdings.entry(block_id)
        body = Body.from_bytes(self.store.body(self._holdings.group_of(block_id)))
        return body.block(entry, self.codec_of(body))

    def read(self, block_ids: Sequence[int], device: torch.device | None = None, *, near: bool = True) -> list[KVBlock]:
        """Read blocks for a question, decoded on the device; what cannot be read is left out.

        They stay in the working set, and count as read when old groups are consolidated, unless near is False.
        """
        self._upkeep.carry_out()
        found = {block_id: block for block_id in block_ids if (block := self.working.get(block_id)) is not None}
        wanted: dict[int, list[int]] = {}
        for block_id in block_ids:
            self._holdings.entry(block_id)
            wanted.setdefault(self._holdings.group_of(block_id), []).append(block_id)
        self.store.fetch([group_id for group_id, ids in wanted.items() if any(one not in found for one in ids)])
        for group_id, ids in wanted.items():
            if near:
                self._holdings.read(group_id)
            missing = [block_id for block_id in ids if block_id not in found]
            if not missing:
                continue
            entries = [self._holdings.entry(one) for one in missing]
            for block in self._decoded(group_id, entries, device):
                found[block.block_id] = block
                if near:
                    self.working.put(block)
        return [found[block_id] for block_id in block_ids if block_id in found]

    def _decoded(self, group_id: int, entries: Sequence[np.void], device: torch.device | None) -> list[KVBlock]:
        """Decode blocks of a group; none where that cannot be.  Only what is damaged for good is forgotten for it."""
        try:
            body = Body.from_bytes(self.store.body(group_id))
        except (DamagedError, RecallError):
            with suppress(StorageError):  # where nothing can be noted it is left out all the same
                self._upkeep.forget(group_id)
            return []
        except StorageError:
            return []
        try:
            return body.blocks(entries, self.codec_of(body), device)
        except RecallError:  # the codec's tables are missing, or a writer has changed the group since
            return []

    def thumbnail(self, block_id: int) -> bytes:
        """Read a block's thumbnail, JPEG or empty.

        Raises RecallError when it was forgotten or never stored, StorageError when it is damaged.
        """
        entry = self._holdings.entry(block_id)
        if not entry["picture_bytes"]:
            return b""
        group_id = self._holdings.group_of(block_id)
        place = int(np.searchsorted(self._holdings.inside(group_id)["id"], block_id))
        return Body.from_bytes(self.store.body(group_id)).pictures[place]

    def span_of(self, block_id: int) -> tuple[int, int]:
        """Give a block's span.  Raises RecallError when it was forgotten or never stored."""
        entry = self._holdings.entry(block_id)
        return int(entry["start_us"]), int(entry["end_us"])

    def size(self, block_id: int) -> int | None:
        """Give a block's number of tokens, None when it is not remembered."""
        return self._holdings.size(block_id)

    def between(self, since_us: int | None = None, until_us: int | None = None) -> tuple[int, ...]:
        """List the blocks whose span meets [since_us, until_us), in time order.

        A block without duration counts as its one moment.
        """
        return self._holdings.between(since_us, until_us)

    def sizes(
        self, since_us: int | None = None, until_us: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Give the ids of the blocks whose span meets [since_us, until_us), and how many tokens each has."""
        return self._holdings.sizes(since_us, until_us)

    def span(self) -> tuple[int, int] | None:
        """Give the stretch of stream time remembered, None when nothing is."""
        return self._holdings.span()

    def timeline(self) -> tuple[Stretch, ...]:
        """Lay out what is remembered and what was given up, in time order."""
        return timeline_of(self._holdings.blocks.rows, self._holdings.groups.rows, self.forgotten)

    def forget(self, since_us: int | None = None, until_us: int | None = None) -> tuple[int, ...]:
        """Forget every block whose span meets [since_us, until_us); give their ids.

        What the store holds of them is dead then, and gone for good after its reclaim().
        """
        self._upkeep.carry_out()
        return self._upkeep.forget_blocks(self.between(since_us, until_us))

    def make_room(self, need: int) -> list[int]:
        """Free disk until need bytes more stay within its cap; give the ids that were forgotten for it.

        Raises StorageError where that cannot be.
        """
        return self._upkeep.make_room(need, self.disk_cap_bytes)

    def stats(self) -> ArchiveStats:
        """Count what is held."""
        rows = self._holdings.groups.rows
        levels = np.bincount(rows["level"], minlength=len(LEVEL_NAMES) - 1)
        return ArchiveStats(
            blocks=len(self),
            tokens=int(rows["tokens"].sum()),
            cap_bytes=self.cap_bytes,
            used_bytes=self.nbytes,
            body_bytes=int(rows["body_bytes"].sum()),
            trace_bytes=self.traces.nbytes,
            table_bytes=self._holdings.nbytes,
            disk_bytes=self.store.disk_bytes,
            disk_cap_bytes=self.disk_cap_bytes,
            working_bytes=self.working.nbytes,
            working_cap_bytes=self.working.cap_bytes,
            levels=tuple(levels.tolist()),
            forgotten=self.forgotten,
        )

    def _take_in(self, head: Head, body_bytes: int) -> list[int]:
        """Count a stored group in and keep to the caps; give the ids that were forgotten.  May be done twice."""
        self._upkeep.carry_out()
        if self.last is None or self.last.block_id < head.table["id"][-1]:
            self._upkeep.take(head, body_bytes)
        groups = self._holdings.groups
        dropped: list[int] = []
        if self.keep_us is not None:
            newest_us = int(self._holdings.blocks.rows["end_us"][-1])
            dropped += self._upkeep.forget_blocks(self._holdings.ended(newest_us - self.keep_us))
        self._share_host_memory()  # a store's cache gives way before anything is given up
        while len(groups) and self.nbytes > self.cap_bytes:
            # What is on disk takes no room here: coding it more coarsely would free none.
            dropped += self._upkeep.forget(self.group_ids[0]) if self.disk_cap_bytes else self._upkeep.step()
        while (
            len(groups) and self._holdings.inside(oldest := int(groups.rows["id"][0]))["id"][-1] < self.traces.first_id
        ):
            dropped += self._upkeep.forget(oldest)  # no index had room for it: no question would find it
        if dropped and self.store.dead_bytes > max(self.store.reserve_bytes, self.store.disk_bytes // 4):
            self.store.reclaim()  # what is forgotten is not to lie about until the disk is full
        self._share_host_memory()
        return dropped

    def _share_host_memory(self) -> None:
        """Leave the store what the indexes and tables do not need."""
        self.store.limit(max(0, self.cap_bytes - self.nbytes + self.store.host_bytes))
