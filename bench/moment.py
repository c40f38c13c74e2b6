"""A moment at which questions are asked: everything a policy may read, shared by all of them."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

from torch import Tensor

from ..frame import Frame
from ..memory.block import Context, KVBlock
from ..memory.context import assemble
from ..memory.positions import clock_extent, text_positions
from ..models.backbone import Backbone
from ..stream.ingest import Ingest
from ..stream.seen import Seen

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
        return self.ingest.cells

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
        whole = self.ingest.run(waiting, [self.ingest.sink, *self.ingest.window.blocks], NO_BLOCK)
        layout, blocks, start, place = self.backbone.layout, [], 0, waiting[0].place
        ends = [*(item.time_us for item in waiting[1:]), self.now_us]
        for item, end_us in zip(waiting, ends, strict=True):
            rows = self.backbone.frame(item.tokens)
            part = slice(start, start + len(rows))
            start += len(rows)
            keys, values = whole.keys[:, :, part].cpu(), whole.values[:, :, part].cpu()
            extent = rows.extent
            if layout.ids_per_second:
                place = item.place
                extent = clock_extent(layout, place, end_us, self.ingest.start_us)
            span_us, coords = (item.time_us, end_us), whole.coords[part]
            blocks.append(KVBlock(item.block_id, keys, values, rows.positions, extent, coords, span_us, place))
            place += extent
        return blocks

    @cached_property
    def blocks(self) -> list[KVBlock]:
        """Every remembered block up to now, in time order."""
        archive = self.ingest.archive
        return [*(archive.get(block_id) for block_id in archive.block_ids), *self.waiting]

    @cached_property
    def recent(self) -> KVBlock:
        """The newest keyframes, encoded over the sink alone."""
        return self.ingest.run(self.seen, [self.ingest.sink], NO_BLOCK)

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
        return text_positions(count, start, self.backbone.layout.rotary.axes, self.backbone.device)

    def _reencoded(self, frames: Sequence[Frame]) -> tuple[Context, tuple[int, ...], int]:
        """Encode whole frames and run them over the sink in one causal pass."""
        seen = self.ingest.look(frames)
        block = self.ingest.run(seen, [self.ingest.sink], NO_BLOCK)
        context = self.assemble([self.ingest.sink, block])
        return context, tuple(item.time_us for item in seen), sum(item.tokens.nbytes for item in seen)
