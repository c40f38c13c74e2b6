"""Context assembly: raw blocks laid out in order and rotated once, ready for a model to continue from."""

from collections.abc import Sequence

import torch

from ..errors import RecallError
from .block import Context, KVBlock, KVLayout
from .positions import Gaps, starts_of
from .rotary import angle_table, rotate


def assemble(
    layout: KVLayout,
    parts: Sequence[KVBlock],
    start_position: int = 0,
    device: torch.device | None = None,
    gaps: Gaps = "contiguous",
) -> Context:
    """Lay raw parts out in order and rotate their keys.

    parts: the sink, the recalled blocks in time order, the recent blocks; a part that is no block of the archive has
    block_id -1.  gaps: whether a gap in time costs positions.  device: where the context goes; by default where the
    first part is.  The parts are left as they are, and the context shares no memory with them.  Raises RecallError for
    a part of another shape than the layout's.
    """
    for part in parts:
        _check(layout, part)
    if device is None:
        device = parts[0].keys.device if parts else torch.device("cpu")
    length = sum(len(part) for part in parts)
    shape = (layout.layers, layout.kv_heads, length, layout.head_dim)
    keys = torch.empty(shape, dtype=layout.dtype, device=device)
    values = torch.empty(shape, dtype=layout.dtype, device=device)
    positions = torch.empty((length, layout.rotary.axes), dtype=torch.int64, device=device)
    starts, next_position, next_start = starts_of(layout, parts, start_position, gaps)
    row = 0
    for part, start in zip(parts, starts, strict=True):
        end = row + len(part)
        keys[:, :, row:end].copy_(part.keys)
        values[:, :, row:end].copy_(part.values)
        positions[row:end].copy_(part.positions)
        positions[row:end] += torch.tensor(start, device=device)
        row = end
    cos, sin = angle_table(positions, layout.rotary, layout.dtype)  # [length, head_dim]
    for layer in keys:  # one layer at a time, so that the temporaries stay a layer's size
        layer.copy_(rotate(layer, cos, sin))
    return Context(keys, values, next_position, tuple(part.block_id for part in parts), next_start)


def _check(layout: KVLayout, part: KVBlock) -> None:
    wanted = (layout.layers, layout.kv_heads, len(part), layout.head_dim)
    if tuple(part.keys.shape) != wanted or part.values.shape != part.keys.shape:
        raise RecallError(
            f"block {part.block_id} has keys {list(part.keys.shape)} and values {list(part.values.shape)}, but this "
            f"model's cache is {list(wanted)}; read it with the model that wrote it"
        )
    if tuple(part.positions.shape) != (len(part), layout.rotary.axes):
        raise RecallError(
            f"block {part.block_id} has positions {list(part.positions.shape)}, but this model needs "
            f"{[len(part), layout.rotary.axes]}; read it with the model that wrote it"
        )
