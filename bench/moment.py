"""A moment at which questions are asked: everything a policy may read, shared by all of them."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from ..frame import Frame
from ..memory.block import Context, KVBlock
from ..memory.context import assemble
from ..models.backbone import Backbone
from ..stream.ingest import Ingest, Seen

CLEAN_FRAMES = 4
UNIFORM_FRAMES = 64
NO_BLOCK = -1

# Draws the stream's frames at given stream times again.
Redraw = Callable[[Iterable[int]], Iterable[Frame]]


class Moment:
    """Hold one stream as it is now.  Nothing here changes it, and what several questions need is made once.

    ingest: the stream's memory; not fed while the moment is in use.  newest: the last frames as they came, whether the
    gate kept them or not.  redraw: shows frames of the past again, for the controls that re-encode them.
    """

    def __init__(self, ingest: Ingest, newest: Sequence[Frame], redraw: Redraw) -> None:
        self.ingest, self.newest, self.redraw = ingest, tuple(newest), redraw
        self.now_us = ingest.now_us

    @property
    def backbone(self) -> Backbone:
        """The model that everything was and is read with."""
        return self.ingest.backbone

    @property
    def cells(self) -> int:
        """Visual tokens of a whole frame."""
        return self.backbone.grid[0] * self.backbone.grid[1]

    @cached_property
    def seen(self) -> list[Seen]:
        """The newest keyframes with whole features; all that are not in the archive yet are among them."""
        return self.ingest.recent()

    @cached_property
    def waiting(self) -> list[KVBlock]:
        """The keyframes that the archive does not have yet, as blocks of whole frames over [sink | window]."""
        waiting = [item for item in self.seen if item.block_id not in self.ingest.archive]
        if not waiting:
            return []
        rows = [self._with_stamp(item.features, item.time_us) for item in waiting]
        whole = self._prefill(rows, [self.ingest.sink, *self.ingest.window.blocks], (waiting[0].time_us, self.now_us))
        blocks, start = [], 0
        ends = [*(item.time_us for item in waiting[1:]), self.now_us]
        for item, row, end_us in zip(waiting, rows, ends, strict=True):
            part = slice(start, start + len(row))
            start += len(row)
            keys, values = whole.keys[:, :, part].cpu(), whole.values[:, :, part].cpu()
            positions = self.positions(len(row), 0)
            span_us = (item.time_us, end_us)
            blocks.append(KVBlock(item.block_id, keys, values, positions, len(row), whole.coords[part], span_us))
        return blocks

    @cached_property
    def blocks(self) -> list[KVBlock]:
        """Every remembered block up to now, in time order."""
        archive = self.ingest.archive
        return [*(archive.get(block_id) for block_id in archive.block_ids), *self.waiting]

    @cached_property
    def recent(self) -> KVBlock:
        """The newest keyframes, encoded over the sink alone."""
        rows = [self._with_stamp(item.features, item.time_us) for item in self.seen]
        return self._prefill(rows, [self.ingest.sink], (self.seen[0].time_us, self.now_us))

    @cached_property
    def all_blocks(self) -> Context:
        """The context that holds everything remembered."""
        return self.assemble([self.ingest.sink, *self.blocks])

    @cached_property
    def clean(self) -> tuple[Context, tuple[int, ...], int]:
        """The last CLEAN_FRAMES frames over the sink: context, their times, bytes of their features."""
        return self._reencoded(self.newest[-CLEAN_FRAMES:])

    @cached_property
    def uniform(self) -> tuple[Context, tuple[int, ...], int]:
        """UNIFORM_FRAMES frames, evenly over the stream, over the sink with full attention, likewise."""
        start = self.ingest.start_us
        length = self.now_us - start
        times = [start + round(length * (n + 0.5) / UNIFORM_FRAMES) for n in range(UNIFORM_FRAMES)]
        return self._reencoded(list(self.redraw(times)))

    def assemble(self, parts: Sequence[KVBlock]) -> Context:
        """Lay parts end to end on the model's device."""
        return assemble(self.backbone.layout, parts, device=self.backbone.device)

    def positions(self, count: int, start: int) -> Tensor:
        """Number `count` tokens from a position on, on every axis."""
        rows = torch.arange(start, start + count, device=self.backbone.device)
        return rows[:, None].expand(count, self.backbone.layout.rotary.axes)

    def _reencoded(self, frames: Sequence[Frame]) -> tuple[Context, tuple[int, ...], int]:
        """Encode whole frames and run them over the sink in one causal pass."""
        times = tuple(frame.time_us for frame in frames)
        features = self.backbone.encode([frame.image for frame in frames], times).features
        grid = features.reshape(len(frames), -1, features.shape[-1])
        rows = [self._with_stamp(whole, time_us) for whole, time_us in zip(grid, times, strict=True)]
        block = self._prefill(rows, [self.ingest.sink], (times[0], self.now_us))
        return self.assemble([self.ingest.sink, block]), times, features.numel() * features.element_size()

    def _with_stamp(self, features: Tensor, time_us: int) -> Tensor:
        stamp = self.backbone.stamp(time_us)
        return torch.cat((self.backbone.embed(self.backbone.tokenize(stamp)), features)) if stamp else features

    def _prefill(self, rows: Sequence[Tensor], over: Sequence[KVBlock], span_us: tuple[int, int]) -> KVBlock:
        """Run frames, each with its stamp, in one causal pass over parts that come before them."""
        features = torch.cat(list(rows))
        context = self.assemble(over)
        done = self.backbone.prefill(features, self.positions(len(features), context.next_position), context)
        coords = torch.full((len(features), 3), -1, dtype=torch.int32)
        relative = self.positions(len(features), 0)
        return KVBlock(NO_BLOCK, done.keys, done.values, relative, len(features), coords, span_us)
