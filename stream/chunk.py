"""A chunk: keyframes that are prefilled together, behind the sink and the window, and become a block each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..memory.block import KVBlock
from ..memory.context import assemble
from ..memory.positions import clock_extent, text_positions
from ..models.backbone import Backbone
from ..models.rows import Rows, lay, no_cells
from ..models.tokens import VisualTokens
from ..pruning import State
from .seen import Seen

SINK = -1  # its id: it is no block of the archive


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Hold what became of a chunk of keyframes.

    parts: what pruning left of each.  seen: each whole.  state: pruning's, after it.  cells: seen by the tower.
    place: where the block after them starts.
    """

    blocks: list[KVBlock]
    parts: list[VisualTokens]
    seen: list[Seen]
    state: State
    cells: int
    place: int


def blocks_of(
    backbone: Backbone,
    parts: Sequence[VisualTokens],
    seen: Sequence[Seen],
    over: Sequence[KVBlock],
    next_us: int,
    start_us: int,
) -> tuple[list[KVBlock], list[Seen], int]:
    """Prefill what is left of keyframes behind the parts of a context; give their blocks and where the next one starts.

    parts: what pruning left of each keyframe.  seen: each whole; what is given back has its own block's place.
    next_us: time of the keyframe after them.  start_us: time of the stream's first frame.
    """
    layout = backbone.layout
    rows = [backbone.frame(part) for part in parts]
    laid = lay(layout, rows, [item.place for item in seen])
    keys, values = prefill(backbone, laid, over)
    blocks, placed, start, place = [], [], 0, seen[0].place
    for item, row in zip(seen, rows, strict=True):
        stop = start + len(row)
        end_us = next_us if item.end_us is None else item.end_us
        if layout.ids_per_second:
            place = item.place
            extent = clock_extent(layout, place, end_us, start_us)
        else:
            extent = row.extent
        placed.append(replace(item, place=place))
        blocks.append(
            KVBlock(
                block_id=item.block_id,
                keys=keys[:, :, start:stop].clone(),
                values=values[:, :, start:stop].clone(),
                positions=row.positions,
                extent=extent,
                coords=row.coords,
                span_us=(item.time_us, end_us),
                place=place,
            )
        )
        start, place = stop, place + extent
    return blocks, placed, place


def prefill(backbone: Backbone, rows: Rows, over: Sequence[KVBlock]) -> tuple[Tensor, Tensor]:
    """Run rows behind parts; keys and values, none for none, as pruning may leave nothing of a chunk."""
    layout = backbone.layout
    if not len(rows):
        shape = (layout.layers, layout.kv_heads, 0, layout.head_dim)
        nothing = torch.empty(shape, dtype=layout.dtype, device=backbone.device)
        return nothing, nothing
    context = assemble(layout, over, device=backbone.device)
    positions = rows.positions + torch.tensor(context.next_start)
    done = backbone.prefill(rows.features, positions, context, planes=rows.planes)
    return done.keys, done.values


def sink_of(backbone: Backbone) -> KVBlock:
    """Run the prompt's part before the first frame."""
    features = backbone.opening()
    count = len(features)
    positions = text_positions(count, 0, backbone.layout.rotary.axes)
    coords = no_cells(count)
    keys, values = prefill(backbone, Rows(features, positions, count, coords), [])
    return KVBlock(SINK, keys, values, positions, count, coords, (0, 0))
