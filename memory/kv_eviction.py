"""Pruning of blocks already made: which visual tokens of a full memory stay, by their raw keys and values alone.

A block has one set of rows for all layers and heads, because positions, coordinates and the context's assembly are
shared by them.  So where a method scores each head on its own, its scores are averaged over layers and heads, and one
selection is made of the mean.  Text rows are no visual tokens; they always stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import SettingsError
from .block import KVBlock

Rows = dict[int, Tensor]
"""By block id, which of the block's visual tokens stay: int64, rising, counted among its visual tokens alone."""


@dataclass(frozen=True, slots=True)
class InfiniPotV:
    """Keep what is new in time and what has large values (InfiniPot-V, arXiv 2506.15745).

    Half of the room (temporal_share) goes to TaR: the newest frames whole, then older tokens with the lowest mean
    cosine of their keys to the keys at the same cell in those frames.  The rest goes to VaN: the largest lengths of
    values.  The newest frames are those that hold recent_share of the tokens: a quarter of the frames, where
    older ones are thin already.  target: share of the cap that a full memory is brought down to (the paper's example
    takes 32 frames down to 24).

    Unlike the paper: one selection for all heads (see above); a token without any recent one at its cell is taken
    first; VaN draws from what TaR left, so that all the room is used; each head's value lengths are divided by their
    mean, else the layer with the longest would decide the average alone; keys are raw, before rotation; the paper's
    optional smoothing over neighbours is left out.
    """

    target: float = 0.75
    temporal_share: float = 0.5
    recent_share: float = 0.25

    def __post_init__(self) -> None:
        _check_shares(self.target, self.temporal_share, self.recent_share)

    def keep(self, blocks: Sequence[KVBlock], room: int) -> Rows:
        """Choose at most `room` visual tokens of one or more blocks in time order."""
        keys, values, cell, owner = _visual(blocks)
        total = len(owner)
        if total <= room:
            return _by_block(blocks, owner, torch.ones(total, dtype=torch.bool))
        quota = round(self.temporal_share * room)
        after = torch.arange(total, 0, -1)  # tokens from each on
        first = torch.searchsorted(owner, owner)  # where each token's frame begins
        held = after[first]  # tokens from each token's frame on
        recent = (held <= self.recent_share * total) | (owner == owner[-1])
        chosen = recent & (held <= quota)
        likeness = _likeness(keys, cell, recent).masked_fill(recent, torch.inf)
        older = likeness.argsort(stable=True)[: min(quota - int(chosen.sum()), total - int(recent.sum()))]
        chosen[older] = True
        lengths = values.norm(dim=3)  # [layers, kv_heads, n]
        lengths = (lengths / lengths.mean(dim=2, keepdim=True).clamp(min=1e-12)).mean(dim=(0, 1))
        rest = lengths.masked_fill(chosen, -torch.inf).argsort(descending=True, stable=True)
        chosen[rest[: room - int(chosen.sum())]] = True
        return _by_block(blocks, owner, chosen)


@dataclass(frozen=True, slots=True)
class SinkBuckets:
    """Keep the tokens that others attend to most, so many of every stretch of the stream (after LiveVLM).

    LiveVLM (arXiv 2505.15269, second version) takes importance from the attention of visual tokens to visual tokens
    and spreads it over buckets, so that a few sinks do not take all.  Its formula could not be verified, and queries
    are not kept with blocks; what stands in for them is our own: softmax of key · key / sqrt(head_dim) within a bucket,
    a token's own left out, averaged over who attends, layers and heads; raw keys, before rotation.  A bucket is one of
    `buckets` equal stretches of block ids; room that one cannot fill goes to the others.  target: as InfiniPotV's.
    """

    buckets: int = 16
    target: float = 0.75

    def __post_init__(self) -> None:
        _check_shares(self.target)
        if self.buckets < 1:
            raise SettingsError(f"give at least 1 bucket, not {self.buckets}")

    def keep(self, blocks: Sequence[KVBlock], room: int) -> Rows:
        """Choose at most `room` visual tokens of one or more blocks in time order."""
        keys, _, _, owner = _visual(blocks)
        total = len(owner)
        if total <= room:
            return _by_block(blocks, owner, torch.ones(total, dtype=torch.bool))
        ids = torch.tensor([block.block_id for block in blocks])[owner]
        bucket = (ids - ids[0]) * self.buckets // (ids[-1] - ids[0] + 1)
        counts = torch.bincount(bucket, minlength=self.buckets).tolist()
        chosen = torch.zeros(total, dtype=torch.bool)
        start = 0
        for count, share in zip(counts, shared(counts, room), strict=True):
            if share:
                weight = received(keys[:, :, start : start + count])
                chosen[start + weight.argsort(descending=True, stable=True)[:share]] = True
            start += count
        return _by_block(blocks, owner, chosen)


def received(keys: Tensor) -> Tensor:
    """Say how much attention each token gets from the others, by keys [layers, kv_heads, n, head_dim]: float32 [n]."""
    layers, _, count, dim = keys.shape
    if count < 2:
        return torch.zeros(count)
    itself = torch.eye(count, dtype=torch.bool, device=keys.device)
    total = torch.zeros(count, device=keys.device)
    for layer in keys.float():  # [kv_heads, n, head_dim]; one at a time, for n * n scores of each
        scores = layer @ layer.transpose(1, 2) / dim**0.5
        total += scores.masked_fill(itself, -torch.inf).softmax(dim=2).mean(dim=(0, 1))
    return total / layers


def shared(counts: Sequence[int], room: int) -> list[int]:
    """Share room among buckets of these sizes alike; what one cannot use goes to the others."""
    order = sorted(range(len(counts)), key=lambda place: counts[place])
    shares = [0] * len(counts)
    for number, place in enumerate(order):
        shares[place] = min(counts[place], room // (len(order) - number))
        room -= shares[place]
    return shares


def thinned_block(block: KVBlock, rows: Tensor) -> KVBlock:
    """Keep a block's text and these of its visual tokens (int64, rising, counted among its visual tokens).

    On one axis the tokens follow each other without holes, as in a block that pruning thinned before it was made; on
    several they keep their places, and the block its extent.
    """
    stays = block.coords[:, 0] < 0
    stays[(~stays).nonzero().squeeze(1)[rows]] = True
    index = stays.nonzero().squeeze(1)
    positions, extent = block.positions[index], block.extent
    if positions.shape[1] == 1:
        extent = len(index)
        positions = torch.arange(extent)[:, None]
    there = index.to(block.keys.device)
    return replace(
        block,
        keys=block.keys[:, :, there],
        values=block.values[:, :, there],
        positions=positions,
        extent=extent,
        coords=block.coords[index],
    )


def visual_count(block: KVBlock) -> int:
    """Count a block's visual tokens."""
    return int((block.coords[:, 0] >= 0).sum())


def _visual(blocks: Sequence[KVBlock]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gather the visual tokens of blocks.

    Gives keys and values, float32 [layers, kv_heads, n, head_dim], what is not a number as 0; cell int64 [n], the same
    number for the same place; owner int64 [n], the place in `blocks` of each one's block.
    """
    rows = [(block.coords[:, 0] >= 0).nonzero().squeeze(1) for block in blocks]
    keys = torch.cat([block.keys[:, :, row].float() for block, row in zip(blocks, rows, strict=True)], dim=2)
    values = torch.cat([block.values[:, :, row].float() for block, row in zip(blocks, rows, strict=True)], dim=2)
    coords = torch.cat([block.coords[row] for block, row in zip(blocks, rows, strict=True)]).long()
    width = int(coords[:, 2].max()) + 1 if len(coords) else 1
    owner = torch.repeat_interleave(torch.tensor([len(row) for row in rows]))
    return keys.nan_to_num(0.0, 0.0, 0.0), values.nan_to_num(0.0, 0.0, 0.0), coords[:, 1] * width + coords[:, 2], owner


def _likeness(keys: Tensor, cell: Tensor, recent: Tensor) -> Tensor:
    """Give each token's mean cosine to the recent tokens (bool [n]) at its cell, over layers and heads: float32 [n].

    -2 where there are none.
    """
    keys = torch.nn.functional.normalize(keys, dim=3)
    cells = int(cell.max()) + 1
    total = keys.new_zeros(*keys.shape[:2], cells, keys.shape[3])
    total.index_add_(2, cell[recent], keys[:, :, recent])
    count = torch.bincount(cell[recent], minlength=cells)
    mean = total / count.clamp(min=1)[:, None]
    likeness = (keys * mean[:, :, cell]).sum(3).mean(dim=(0, 1))
    return likeness.masked_fill(count[cell] == 0, -2.0)


def _by_block(blocks: Sequence[KVBlock], owner: Tensor, chosen: Tensor) -> Rows:
    sizes: Mapping[int, int] = dict(enumerate(torch.bincount(owner, minlength=len(blocks)).tolist()))
    parts = chosen.split([sizes[place] for place in range(len(blocks))])
    return {block.block_id: part.nonzero().squeeze(1) for block, part in zip(blocks, parts, strict=True)}


def _check_shares(*shares: float) -> None:
    if not all(0.0 < share <= 1.0 for share in shares):
        raise SettingsError(f"shares must be above 0 and at most 1, not {shares}")
