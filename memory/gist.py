"""Gist: a block as its time stamp and a few pooled tokens, for the story around what a question needs.

Training-free form of bi-level reading (Video-XL-2, arXiv 2506.19225): relevant blocks are read dense, others as gist.
Raw keys are pooled before rotation, so that a pooled token has one position of its own.
"""

from dataclasses import replace

import torch
from torch import Tensor

from .block import KVBlock

SIDE = 2
"""Pooled tokens along each side of a frame: at most SIDE * SIDE a block."""


def gist_of(block: KVBlock, side: int = SIDE) -> KVBlock:
    """Pool a block's visual tokens over side x side parts of the frame: means of raw keys and of values.

    Text tokens stay as they are.  A part without tokens leaves none.  Positions: on one axis the tokens just follow
    each other; with more axes a pooled token stands at the mean of its tokens' places, rounded.
    """
    visual = block.coords[:, 0] >= 0
    if not bool(visual.any()):
        return block
    owner = _owners(block.coords[visual], side)
    count = int(owner.max()) + 1
    share = torch.zeros((count, len(owner)))
    share[owner, torch.arange(len(owner))] = 1.0
    share /= share.sum(dim=1, keepdim=True)
    rows = visual.nonzero().squeeze(1)
    head, tail = _split(visual)
    positions = (share.double() @ block.positions[rows].double()).round().long()
    coords = (share.double() @ block.coords[rows].double()).round().int()
    positions = torch.cat((block.positions[:head], positions, block.positions[tail:]))
    extent = block.extent
    if positions.shape[1] == 1:
        extent = len(positions)
        positions = torch.arange(extent)[:, None]
    return replace(
        block,
        keys=_pooled(block.keys, rows, share, head, tail),
        values=_pooled(block.values, rows, share, head, tail),
        positions=positions,
        coords=torch.cat((block.coords[:head], coords, block.coords[tail:])),
        extent=extent,
    )


def _owners(coords: Tensor, side: int) -> Tensor:
    """Say which pooled token each visual token of coords int32 [n, 3] goes to, numbered without holes: int64 [n]."""
    cells = coords[:, 1:].long()
    low, high = cells.amin(dim=0), cells.amax(dim=0)
    part = (cells - low) * side // (high - low + 1)  # [n, 2], 0..side-1
    owner: Tensor = torch.unique(part[:, 0] * side + part[:, 1], sorted=True, return_inverse=True)[1]
    return owner


def _split(visual: Tensor) -> tuple[int, int]:
    """Give how many tokens stand before the first visual one, and where those behind the last one begin."""
    rows = visual.nonzero().squeeze(1)
    return int(rows[0]), int(rows[-1]) + 1


def _pooled(cache: Tensor, rows: Tensor, share: Tensor, head: int, tail: int) -> Tensor:
    """Pool a cache [layers, kv_heads, n, head_dim] to [layers, kv_heads, head + pooled + rest, head_dim]."""
    weights = share.to(cache.device, torch.float32)
    pooled: Tensor = torch.einsum("pn,lhnd->lhpd", weights, cache[:, :, rows.to(cache.device)].float())
    return torch.cat((cache[:, :, :head], pooled.to(cache.dtype), cache[:, :, tail:]), dim=2)
