"""Fixed memories: what a method that may hold only so many tokens, ever, would have left of a stream.

The stream is taken in once with every token (recipe "none"); then each method goes through what was stored, in the
order in which it came, and what it would still hold at the end makes an archive of its own.  The blocks themselves
were prefilled over whole windows: so what is compared is what was kept, not what prefilling over less would have made.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from ..errors import SettingsError
from ..memory.block import KVBlock
from ..memory.kv_eviction import InfiniPotV, Rows, SinkBuckets, thinned_block, visual_count
from ..pruning.evict import Age, Buffer, Evict, Keeper, Residual, Span
from ..stream.holding import archive_of
from ..stream.ingest import Ingest
from .moment import Moment

Features = Mapping[int, Tensor]
"""By block id, the features [v, D] of a block's visual tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class Survivors:
    """Hold what a method has left.

    rows: by block id, which of the block's visual tokens are held, int64, rising, counted among its visual tokens;
    a block of which nothing is held is not there.  state_bytes: the most that the method held besides the tokens'
    own keys and values.  most_tokens: the most visual tokens that it held at the end of any frame.
    """

    rows: Mapping[int, Tensor]
    state_bytes: int
    most_tokens: int


class FixedMemory(Protocol):
    """Say what is left of a stream of blocks in a memory of at most cap_tokens visual tokens."""

    def survivors(self, blocks: Iterable[KVBlock], features: Features, cap_tokens: int) -> Survivors:
        """Go through blocks in time order, each seen once; features of each are read only where scores need them."""
        ...


@dataclass(frozen=True, slots=True)
class FeatureMemory:
    """Evict by the features of the tokens."""

    stage: Evict

    def survivors(self, blocks: Iterable[KVBlock], features: Features, cap_tokens: int) -> Survivors:
        """Push block after block."""
        keeper, buffer, most = Keeper(self.stage, cap_tokens), Buffer(), 0
        ids, counts = list[int](), list[int]()
        for block in blocks:
            shown = _features_of(block, features)
            buffer, _ = keeper.push([shown], buffer)
            ids.append(block.block_id)
            counts.append(len(shown))
            most = max(most, buffer.used)
        ends = torch.tensor(counts, dtype=torch.int64).cumsum(0)
        held = buffer.survivors.cpu()
        owner = torch.searchsorted(ends, held, right=True)
        rows = {ids[place]: held[owner == place] - (ends[place] - counts[place]) for place in owner.unique().tolist()}
        return Survivors(rows, buffer.nbytes, most)


class KVMethod(Protocol):
    """Choose among the visual tokens of blocks.  target: share of the cap that a full memory is brought down to."""

    @property
    def target(self) -> float:
        """Give the share."""
        ...

    def keep(self, blocks: list[KVBlock], room: int) -> Rows:
        """Choose at most `room` of them."""
        ...


@dataclass(frozen=True, slots=True)
class KVMemory:
    """Evict by keys and values; nothing is held but the blocks."""

    method: KVMethod

    def survivors(self, blocks: Iterable[KVBlock], features: Features, cap_tokens: int) -> Survivors:
        """Take block after block in; where one is too many, bring all down to the target."""
        if cap_tokens < 1:
            raise SettingsError(f"a memory of {cap_tokens} tokens holds nothing; give a cap of at least 1")
        held: dict[int, KVBlock] = {}
        rows: dict[int, Tensor] = {}
        used = most = 0
        for block in blocks:
            count = visual_count(block)
            if not count:
                continue
            held[block.block_id], rows[block.block_id] = block, torch.arange(count)
            used += count
            if used > cap_tokens:
                kept = self.method.keep(list(held.values()), max(1, int(self.method.target * cap_tokens)))
                held = {one: thinned_block(held[one], left) for one, left in kept.items() if len(left)}
                rows = {one: rows[one][kept[one]] for one in held}
                used = sum(len(left) for left in rows.values())
            most = max(most, used)
        return Survivors(rows, 0, most)


FIXED_MEMORIES: Mapping[str, Callable[[], FixedMemory]] = MappingProxyType(
    {
        # 64 directions, as its authors set it for OVO-Bench: their usual 256 span all that a small model's tokens have.
        "causalmem": lambda: FeatureMemory(Residual(most=64)),
        "infinipot-v": lambda: KVMemory(InfiniPotV()),
        "last-n": lambda: FeatureMemory(Age()),
        "livevlm-buckets": lambda: KVMemory(SinkBuckets()),
        "span": lambda: FeatureMemory(Span()),
    }
)


def survivors_of(method: str, blocks: Iterable[KVBlock], features: Features, cap_tokens: int) -> Survivors:
    """Work out what a method of FIXED_MEMORIES, with its published settings, has left of blocks in time order.

    Raises SettingsError for a method that is not there, a cap below 1, or features that do not fit a block.
    """
    if method not in FIXED_MEMORIES:
        raise SettingsError(f"there is no fixed memory {method!r}; choose one of {', '.join(FIXED_MEMORIES)}")
    return FIXED_MEMORIES[method]().survivors(blocks, features, cap_tokens)


def stored_blocks(ingest: Ingest) -> Iterator[KVBlock]:
    """Read every stored block in time order, a group at a time."""
    archive = ingest.archive
    for group_id in archive.group_ids:
        yield from archive.read(archive.blocks_of(group_id), near=False)


def encoded_features(moment: Moment, batch: int = 8) -> dict[int, Tensor]:
    """Encode the frames of every stored block again, whole: their features as they were before they were coded.

    Raises SettingsError when the moment cannot draw one of them again.
    """
    archive, found = moment.ingest.archive, dict[int, Tensor]()
    ids = archive.block_ids
    for first in range(0, len(ids), batch):
        times = {archive.span_of(one)[0]: one for one in ids[first : first + batch]}
        frames = list(moment.redraw(times))
        if sorted(frame.time_us for frame in frames) != sorted(times):
            raise SettingsError(
                f"the frames at {sorted(times)} us cannot be drawn again; feed the stream at times that can"
            )
        for item in moment.ingest.look(frames):
            found[times[item.time_us]] = item.features.cpu()
    return found


def thinned(ingest: Ingest, survivors: Mapping[int, Tensor], features: Features) -> Ingest:
    """Give a view of an ingest whose archive holds these visual tokens of its blocks alone.  `ingest` is left as it is.

    survivors: as Survivors.rows has them; a block that has none is left out, with its time stamp.  features: of all
    visual tokens of those blocks, for the index.  Blocks keep id, span, place and picture, and groups stay together;
    codes are made anew, from decoded keys and values (with codec "raw" nothing changes by that).  What has not left
    the ingest yet, the newest keyframes, is shared.  The view is for reading.
    """
    archive = ingest.archive
    settings = replace(ingest.settings, keep_s=None)
    small = archive_of(ingest.backbone, settings, archive.traces.heads)
    for group_id in archive.group_ids:
        ids = [one for one in archive.blocks_of(group_id) if len(survivors.get(one, ()))]
        blocks = archive.read(ids, near=False)
        parts = [_features_of(block, features)[survivors[block.block_id]] for block in blocks]
        pictures = [archive.thumbnail(block.block_id) for block in blocks]
        small.extend([thinned_block(block, survivors[block.block_id]) for block in blocks], parts, pictures)
    view = copy.copy(ingest)
    view.archive = small
    return view


def _features_of(block: KVBlock, features: Features) -> Tensor:
    shown = features.get(block.block_id)
    if shown is None or len(shown) != visual_count(block):
        raise SettingsError(
            f"block {block.block_id} has {visual_count(block)} visual tokens, and features of "
            f"{0 if shown is None else len(shown)} came with it; give those of every visual token"
        )
    return shown
