"""Positions: where the blocks of a context stand, whole streams and re-assembled ones alike.

Two kinds of model.  On most, 1-D (LLaVA-OneVision) or M-RoPE with text time stamps (Qwen3-VL), blocks stand end to
end on every axis.  Under absolute time (Qwen2.5-VL, M-RoPE of arXiv 2502.13923, section 2.1.2) all frames of a video
share the h and w positions of its start, and t follows the clock; the text behind a video starts one past the largest
position in it.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from .block import KVBlock, KVLayout

Gaps = Literal["contiguous", "capped", "kept"]
"""What becomes of the positions between blocks that did not follow each other in the stream: none of them stay, at
most CAPPED_GAP, or all."""

CAPPED_GAP = 64
"""Also the most that t moves from a frame to the next one under absolute time: a camera that was off for a night must
not put its frames a hundred thousand positions apart.  Half a minute at Qwen2.5-VL's rate."""


def clock_place(layout: KVLayout, time_us: int, origin_us: int) -> int:
    """Give the t position of a frame under absolute time, counted from the stream's first frame, rounded down."""
    return (time_us - origin_us) * layout.ids_per_second // 1_000_000


def clock_extent(layout: KVLayout, place: int, next_us: int, origin_us: int) -> int:
    """Say how far the next frame moves what follows a frame that starts at place, under absolute time."""
    return min(clock_place(layout, next_us, origin_us) - place, CAPPED_GAP)


def text_positions(count: int, start: int, axes: int, device: torch.device | None = None) -> Tensor:
    """Number text tokens from a position on, alike on every axis: int64 [count, axes]."""
    return torch.arange(start, start + count, device=device)[:, None].expand(count, axes)


def cell_positions(coords: Tensor, axes: int) -> Tensor:
    """Place the cells of one frame relative to its start: int64 [n, axes] of coords int32 [n, 3] = (t, h, w).

    Cells that pruning dropped leave holes; the others keep their places.  On one axis cells just follow each other.
    """
    if axes == 1:
        return torch.arange(len(coords), device=coords.device)[:, None]
    return torch.stack((torch.zeros_like(coords[:, 0]), coords[:, 1], coords[:, 2]), dim=1).long()


def starts_of(
    layout: KVLayout, parts: Sequence[KVBlock], start_position: int = 0, gaps: Gaps = "contiguous"
) -> tuple[list[tuple[int, ...]], int, tuple[int, ...]]:
    """Say where each part of a context starts, on each axis, when they are laid out in this order.

    gaps: see Gaps; only between parts that have a place.  Returns the starts, the position of text that follows, and
    the start of a block that would follow.
    """
    axes = layout.rotary.axes
    start = [start_position] * axes
    starts: list[tuple[int, ...]] = []
    reach = start_position
    before: KVBlock | None = None
    for part in parts:
        video = layout.ids_per_second > 0 and part.place is not None
        moved = range(1) if video else range(axes)
        gap = _gap(before, part, gaps)
        if gap == 0 and video and before is not None and before.place is not None:
            # Frames closer than a position stand at one t, but never what the stream had apart.
            gap = int(part.place != before.place + before.extent and before.extent == 0)
        for axis in moved:
            start[axis] += gap
        starts.append(tuple(start))
        if len(part) and layout.ids_per_second:
            reach = max(reach, int((part.positions.amax(dim=0).cpu() + torch.tensor(start)).max()) + 1)
        for axis in moved:
            start[axis] += part.extent
        before = part
    if not layout.ids_per_second:
        reach = start[0]
    return starts, reach, tuple(start)


def _gap(before: KVBlock | None, part: KVBlock, gaps: Gaps) -> int:
    """Count the positions that are left free between two parts."""
    if gaps == "contiguous" or before is None or before.place is None or part.place is None:
        return 0
    gap = max(0, part.place - (before.place + before.extent))
    return min(gap, CAPPED_GAP) if gaps == "capped" else gap
