"""The sieve: what one question reads of the blocks that were recalled for it.

Nothing is written back: blocks are copied, not changed, and the next question is given them whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..memory.archive import Archive
from ..memory.block import Context, KVBlock, KVLayout
from ..pruning.candidates import Candidates
from ..pruning.inner import InnerReading, Scene, Selector
from ..pruning.readings import OuterReading


@dataclass(frozen=True, slots=True)
class Asking:
    """Hold a question as the sieve reads it.

    rows: its embeddings [m, D].  words: bool [m], its own words among them.  keys: gives its rows' raw keys [layers,
    kv_heads, m, head_dim] of a pass over what is at hand anyway.
    """

    rows: Tensor
    words: Tensor
    keys: Callable[[], Tensor]


def is_visual(block: KVBlock) -> Tensor:
    """Say which of a block's tokens are visual: bool [n], in host memory."""
    return (block.coords[:, 0] >= 0).cpu()


def visual_tokens(blocks: Sequence[KVBlock]) -> int:
    """Count the visual tokens of blocks."""
    return sum(int(is_visual(block).sum()) for block in blocks)


def thinned(blocks: Sequence[KVBlock], asked: Asking, archive: Archive, reading: OuterReading) -> list[KVBlock]:
    """Leave out what a reading drops: copies of the blocks that lack tokens, the others as they are.

    Text tokens stay, and every token keeps its position: pruning leaves holes, as if those tokens were not attended to.
    """
    if not visual_tokens(blocks):
        return list(blocks)
    candidates = candidates_of(blocks, asked, archive)
    chosen = torch.zeros(len(candidates), dtype=torch.bool)
    chosen[reading.keep(candidates).cpu()] = True
    found, start = [], 0
    for block in blocks:
        visual = is_visual(block)
        stop = start + int(visual.sum())
        kept = ~visual
        kept[visual] = chosen[start:stop]
        found.append(block if bool(kept.all()) else rows_of(block, kept.nonzero().squeeze(1)))
        start = stop
    return found


def rows_of(block: KVBlock, rows: Tensor) -> KVBlock:
    """Copy a block with only these tokens, int64 [m] in host memory; what follows it stays where it was."""
    index = rows.to(block.keys.device)
    return replace(
        block,
        keys=block.keys[:, :, index],
        values=block.values[:, :, index],
        positions=block.positions[rows],
        coords=block.coords[rows],
    )


def candidates_of(blocks: Sequence[KVBlock], asked: Asking, archive: Archive) -> Candidates:
    """List the visual tokens of blocks, one or more, by the visual features that the archive has of them.

    Where it has none of a token (a block that was thinned or pooled since, features that an index's cap took), all are
    told by their raw keys of the middle layer, and the words by theirs, less the tokens' mean: a key bias would make
    all alike.
    """
    visual = [is_visual(block) for block in blocks]
    device = blocks[0].keys.device
    counts = torch.tensor([int(rows.sum()) for rows in visual], dtype=torch.int64)
    features, words = _features(blocks, counts.tolist(), archive), asked.rows[asked.words]
    if features is None:
        layer = blocks[0].keys.shape[0] // 2
        keys = [block.keys[layer][:, rows.to(device)] for block, rows in zip(blocks, visual, strict=True)]
        features = torch.cat(keys, dim=1).transpose(0, 1).flatten(1).float()  # [n, kv_heads * head_dim]
        words = asked.keys()[layer].transpose(0, 1).flatten(1)[asked.words].float()
        mean = features.mean(dim=0)
        features, words = features - mean, words.to(device) - mean
    return Candidates(
        features=features.to(device),
        coords=_joined([block.coords.cpu()[rows] for block, rows in zip(blocks, visual, strict=True)]).to(device),
        block=torch.repeat_interleave(torch.arange(len(blocks)), counts).to(device),
        words=words.to(device),
        importance=torch.cat([_importance(block, rows.to(device)) for block, rows in zip(blocks, visual, strict=True)]),
    )


def inner_selector(
    reading: InnerReading,
    layout: KVLayout,
    context: Context,
    parts: Sequence[KVBlock],
    droppable: set[int],
    asked: Asking,
    positions: Tensor,
) -> Selector:
    """Make what gives each layer its context.  droppable: ids of the blocks whose visual tokens may be dropped."""
    rows, coords, start = list[Tensor](), list[Tensor](), 0
    for part in parts:
        if part.block_id in droppable:
            visual = is_visual(part)
            rows.append(visual.nonzero().squeeze(1) + start)
            coords.append(part.coords.cpu()[visual])
        start += len(part)
    device = context.keys.device
    index = torch.cat([torch.empty(0, dtype=torch.int64), *rows]).to(device)
    scene = Scene(layout, context, parts, index, _joined(coords).to(device), positions, asked.words, asked.keys)
    return reading.selector(scene)


def _features(blocks: Sequence[KVBlock], counts: Sequence[int], archive: Archive) -> Tensor | None:
    """Read the visual features [n, D] of blocks; None unless there is one for each of their visual tokens."""
    found = []
    for block, count in zip(blocks, counts, strict=True):
        if count:
            vectors = archive.traces.features_of(block.block_id)
            if vectors is None or len(vectors) != count:
                return None
            found.append(torch.from_numpy(vectors))
    return torch.cat(found)


def _joined(coords: Sequence[Tensor]) -> Tensor:
    return torch.cat([torch.empty((0, 3), dtype=torch.int32), *coords])


def _importance(block: KVBlock, visual: Tensor) -> Tensor:
    """Average the L1 length of each visual token's values over layers and key heads: float32 [v]."""
    return block.values[:, :, visual].float().abs().sum(dim=-1).mean(dim=(0, 1))
