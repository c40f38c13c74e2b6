"""The archive: raw blocks of everything that left the window, up to a cap on all the bytes held."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import RecallError, SettingsError
from .block import KVBlock
from .traces import Traces

ENTRY_BYTES = 2_560
"""Bytes of Python objects and tensor headers that a block costs besides its data (measured: 2,390, CPython 3.11)."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Name what had to be dropped: the oldest blocks, so one stretch.  count: how many blocks."""

    start_us: int
    end_us: int
    count: int


@dataclass(frozen=True, slots=True)
class ArchiveStats:
    """Count what the archive holds, in true bytes.  used_bytes is the sum of the other three."""

    blocks: int
    tokens: int
    cap_bytes: int
    used_bytes: int
    kv_bytes: int
    trace_bytes: int
    entry_bytes: int
    forgotten: Forgotten | None


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    block: KVBlock
    thumbnail: bytes
    tokens: int

    @property
    def overhead(self) -> int:
        return ENTRY_BYTES + len(self.thumbnail)


class Archive:
    """Keep raw blocks in time order, with their traces and thumbnails, in at most cap_bytes.

    The cap covers tensors, index vectors, moments, thumbnails and the objects around them.  When it is passed, the
    oldest blocks are forgotten, and `forgotten` says which stretch that was.  Blocks are copied to host memory when
    they are elsewhere or share a larger tensor's storage.  Not safe for use by several threads at once.
    """

    def __init__(self, cap_bytes: int, traces: Traces) -> None:
        if cap_bytes < traces.fixed_bytes:
            raise SettingsError(
                f"an archive of {cap_bytes} bytes cannot hold even the {traces.fixed_bytes} bytes that recall needs "
                "before the first block; raise the cap"
            )
        self.cap_bytes = cap_bytes
        self.traces = traces
        self._entries: dict[int, _Entry] = {}
        self._ids: list[int] = []  # with the two below: in time order, the first _head of them forgotten
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._head = 0
        self._kv_bytes = 0
        self._entry_bytes = 0
        self._tokens = 0
        self._forgotten: Forgotten | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, block_id: object) -> bool:
        return block_id in self._entries

    @property
    def nbytes(self) -> int:
        """True bytes held."""
        return self._kv_bytes + self._entry_bytes + self.traces.nbytes

    @property
    def forgotten(self) -> Forgotten | None:
        """The stretch of stream that had to be forgotten so far."""
        return self._forgotten

    @property
    def last_id(self) -> int | None:
        """Id of the newest block that was taken in, None before the first."""
        return self._ids[-1] if self._ids else None

    @property
    def block_ids(self) -> tuple[int, ...]:
        """Ids of all remembered blocks, in time order."""
        return tuple(self._entries)

    def append(self, block: KVBlock, features: Tensor | None = None, thumbnail: bytes = b"") -> tuple[int, ...]:
        """Take in the next block, with its visual features [v, D] and a JPEG; give the ids that were forgotten for it.

        Raises RecallError for a block that does not follow the last one in id and time.
        """
        start, end = block.span_us
        if end < start:
            raise RecallError(f"block {block.block_id} ends at {end} us, before its start at {start} us")
        if self._ids and block.block_id <= self._ids[-1]:
            raise RecallError(f"block {block.block_id} came after block {self._ids[-1]}; blocks are appended in order")
        if self._ids and (start < self._starts[-1] or end < self._ends[-1]):
            raise RecallError(
                f"block {block.block_id} spans {block.span_us} us, before the last one's "
                f"{(self._starts[-1], self._ends[-1])}; blocks are appended in time order"
            )
        entry = _Entry(_owned(block), thumbnail, len(block))
        self.traces.add(block, features)
        self._entries[block.block_id] = entry
        self._ids.append(block.block_id)
        self._starts.append(start)
        self._ends.append(end)
        self._kv_bytes += entry.block.nbytes
        self._entry_bytes += entry.overhead
        self._tokens += len(block)
        dropped: list[int] = []
        while self._entries and self.nbytes > self.cap_bytes:
            dropped.append(self._forget_oldest())
        return tuple(dropped)

    def get(self, block_id: int) -> KVBlock:
        """Read a block.  Raises RecallError when it was forgotten or never stored."""
        return self._entry(block_id).block

    def thumbnail(self, block_id: int) -> bytes:
        """Read a block's thumbnail, JPEG or empty.  Raises RecallError when it was forgotten or never stored."""
        return self._entry(block_id).thumbnail

    def size(self, block_id: int) -> int | None:
        """Give a block's number of tokens, None when it is not remembered."""
        entry = self._entries.get(block_id)
        return None if entry is None else entry.tokens

    def between(self, since_us: int | None = None, until_us: int | None = None) -> tuple[int, ...]:
        """List the blocks whose span meets [since_us, until_us), in time order.

        A block without duration counts as its one moment.
        """
        first, last = self._head, len(self._ids)
        if until_us is not None:
            last = bisect_left(self._starts, until_us, lo=first)
        if since_us is not None:
            past = bisect_right(self._ends, since_us, lo=first)  # these end at since_us or before it
            first = min(bisect_left(self._starts, since_us, lo=first), past)
        return tuple(self._ids[first:last])

    def span(self) -> tuple[int, int] | None:
        """Give the stretch of stream time remembered, None when nothing is."""
        return (self._starts[self._head], self._ends[-1]) if self._entries else None

    def stats(self) -> ArchiveStats:
        """Count what is held."""
        return ArchiveStats(
            blocks=len(self._entries),
            tokens=self._tokens,
            cap_bytes=self.cap_bytes,
            used_bytes=self.nbytes,
            kv_bytes=self._kv_bytes,
            trace_bytes=self.traces.nbytes,
            entry_bytes=self._entry_bytes,
            forgotten=self._forgotten,
        )

    def _entry(self, block_id: int) -> _Entry:
        entry = self._entries.get(block_id)
        if entry is None:
            known = f"{self._ids[self._head]} to {self._ids[-1]}" if self._entries else "none"
            raise RecallError(f"block {block_id} is not remembered (remembered: {known}); a larger cap keeps more")
        return entry

    def _forget_oldest(self) -> int:
        block_id, start, end = self._ids[self._head], self._starts[self._head], self._ends[self._head]
        entry = self._entries.pop(block_id)
        self.traces.forget(block_id)
        self._kv_bytes -= entry.block.nbytes
        self._entry_bytes -= entry.overhead
        self._tokens -= len(entry.block)
        before = self._forgotten
        self._forgotten = Forgotten(start, end, 1)
        if before is not None:
            self._forgotten = Forgotten(before.start_us, max(before.end_us, end), before.count + 1)
        self._head += 1
        if self._head > 64 and self._head * 2 > len(self._ids):
            for column in (self._ids, self._starts, self._ends):
                del column[: self._head]
            self._head = 0
        return block_id


def _owned(block: KVBlock) -> KVBlock:
    """Give the block with tensors in host memory that share no larger storage."""
    keys, values, positions, coords = map(_own, (block.keys, block.values, block.positions, block.coords))
    return replace(block, keys=keys, values=values, positions=positions, coords=coords)


def _own(tensor: Tensor) -> Tensor:
    here = tensor.detach().to("cpu")
    if here.untyped_storage().nbytes() > here.numel() * here.element_size():
        return here.clone(memory_format=torch.contiguous_format)
    return here
