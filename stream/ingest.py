"""Ingest: from frames to remembered blocks, causal and in constant working memory.

A keyframe's block is complete when the next keyframe comes, because only then its span is known. Keyframes wait until
`chunk_frames` of them are complete; their border is a count of keyframes, so it does not matter how frames are handed
over, and a question in between changes nothing that is stored.
"""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..frame import Frame
from ..memory.archive import Archive
from ..memory.block import KVBlock
from ..memory.context import assemble
from ..memory.traces import Traces
from ..memory.window import Window
from ..models.backbone import Backbone, HeadId
from ..models.tokens import VisualTokens
from ..pruning import State, build_recipe
from ..settings import Settings
from .keyframes import GateSettings, KeyframeGate

SINK = RECENT = -1


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Hold a keyframe's whole visual features [cells, D], for reading it again when it is recent.

    block_id: its block's number, whether that is stored yet or not.
    """

    block_id: int
    time_us: int
    features: Tensor
    thumbnail: bytes


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Hold what became of a chunk of keyframes.  state: pruning's, after it.  cells: seen by the tower."""

    blocks: list[KVBlock]
    parts: list[VisualTokens]
    seen: list[Seen]
    state: State
    cells: int


@dataclass(frozen=True, slots=True)
class IngestReport:
    """Count what was taken in.  tokens: visual tokens that pruning left, of cells seen by the tower."""

    frames: int
    keyframes: int
    cells: int
    tokens: int
    now_us: int


class Ingest:
    """Take frames of one stream in, in order of time."""

    def __init__(self, backbone: Backbone, settings: Settings, heads: tuple[HeadId, ...]) -> None:
        self.backbone, self.settings = backbone, settings
        layout = backbone.layout
        self.sink = self._sink()
        self.archive = Archive(settings.archive_bytes, Traces(layout, heads, backbone.hidden_size))
        cells = backbone.grid[0] * backbone.grid[1]
        self.window = Window(settings.window_frames, settings.window_frames * (cells + 16))
        self._gate = KeyframeGate(GateSettings(heartbeat_us=round(settings.heartbeat_s * 1e6)))
        self._recipe = build_recipe(settings.recipe, grid=backbone.grid, rate=settings.prune_rate)
        self._state = State()
        self._pending: list[Frame] = []  # keyframes not yet prefilled; the last one's span is still open
        self._encoded: deque[Seen] = deque(maxlen=settings.recent_frames)
        self._aside: tuple[int, list[Seen]] | None = None  # waiting keyframes encoded for a question, and of when
        self._frames = self._keyframes = self._cells = self._tokens = 0
        self.now_us = 0
        self.start_us = 0

    @property
    def report(self) -> IngestReport:
        """What was taken in so far."""
        return IngestReport(self._frames, self._keyframes, self._cells, self._tokens, self.now_us)

    def see(self, frame: Frame) -> bool:
        """Take in the next frame; say whether it became a keyframe.  Its time must be later than the last one's."""
        if not self._frames:
            self.start_us = frame.time_us
        self._frames += 1
        self.now_us = frame.time_us
        if self.settings.keyframes == "gate" and not self._gate.decide(frame).kept:
            return False
        self._keyframes += 1
        if len(self._pending) == self.settings.chunk_frames:
            self._store(self._pending, frame.time_us)
            self._pending = []
        self._pending.append(frame)
        return True

    def recent(self) -> list[Seen]:
        """Give the newest keyframes with whole features: all that wait, and more up to `recent_frames`.

        Waiting frames are encoded here, on the side: what is stored later does not depend on it.
        """
        if self._aside is None or self._aside[0] != self._keyframes:
            first = self._keyframes - len(self._pending)
            self._aside = (self._keyframes, self._see_again(self._pending, first))
        waiting = self._aside[1]
        missing = self.settings.recent_frames - len(waiting)
        return [*(list(self._encoded)[-missing:] if missing > 0 else []), *waiting]

    def waiting(self) -> list[KVBlock]:
        """Give the blocks that the waiting keyframes would become if the stream ended here; nothing is stored."""
        if not self._pending:
            return []
        first = self._keyframes - len(self._pending)
        return self._prefill_chunk(self._pending, first, self.now_us).blocks

    def prefill_frames(self, seen: list[Seen]) -> KVBlock | None:
        """Encode recent keyframes over the sink alone, as one part of a context (DSCache's clean recent window)."""
        if not seen:
            return None
        rows = [self._with_stamp(item.features, item.time_us) for item in seen]
        features = torch.cat(rows)
        return self._block(RECENT, features, [self.sink], (seen[0].time_us, self.now_us))

    def _see_again(self, frames: list[Frame], first_block: int) -> list[Seen]:
        if not frames:
            return []
        tokens = self.backbone.encode([f.image for f in frames], [f.time_us for f in frames])
        return self._remember_features(frames, tokens, first_block)

    def _remember_features(self, frames: list[Frame], tokens: VisualTokens, first_block: int) -> list[Seen]:
        grid = tokens.features.reshape(len(frames), -1, tokens.features.shape[-1])
        return [
            Seen(first_block + n, frame.time_us, grid[n].clone(), thumbnail(frame.image, self.settings.thumbnail_px))
            for n, frame in enumerate(frames)
        ]

    def _store(self, frames: list[Frame], next_us: int) -> None:
        """Prefill a chunk over [sink | window] and hand its blocks to the window and the archive."""
        self._keep(self._prefill_chunk(frames, self._keyframes - 1 - len(frames), next_us))

    def _prefill_chunk(self, frames: list[Frame], first_block: int, next_us: int) -> "_Chunk":
        """Make keyframes into blocks, the first of them numbered first_block; changes nothing here."""
        tokens = self.backbone.encode([f.image for f in frames], [f.time_us for f in frames])
        seen = self._remember_features(frames, tokens, first_block)
        kept, state = self._recipe.step(tokens, self._state)
        parts = [kept.frame(t) for t in range(len(frames))]
        rows = [self._with_stamp(part.features, frame.time_us) for part, frame in zip(parts, frames, strict=True)]
        context = assemble(self.backbone.layout, [self.sink, *self.window.blocks], device=self.backbone.device)
        features = torch.cat(rows)
        positions = self._positions(len(features), context.next_position)
        done = self.backbone.prefill(features, positions, context)
        start = 0
        blocks = []
        ends = [frame.time_us for frame in frames[1:]] + [next_us]
        for number, (frame, part, row, end_us) in enumerate(zip(frames, parts, rows, ends, strict=True)):
            stop = start + len(row)
            text = len(row) - len(part)
            coords = torch.full((len(row), 3), -1, dtype=torch.int32)
            coords[text:] = part.coords.cpu()
            coords[text:, 0] = 0
            blocks.append(
                KVBlock(
                    block_id=first_block + number,
                    keys=done.keys[:, :, start:stop].clone(),
                    values=done.values[:, :, start:stop].clone(),
                    positions=self._positions(len(row), 0),
                    extent=len(row),
                    coords=coords,
                    span_us=(frame.time_us, end_us),
                )
            )
            start = stop
        return _Chunk(blocks, parts, seen, state, len(tokens))

    def _keep(self, chunk: "_Chunk") -> None:
        """Hand a chunk to the window and the archive."""
        for block, part, item in zip(chunk.blocks, chunk.parts, chunk.seen, strict=True):
            self.window.push([block])
            self.archive.append(block, part.features, item.thumbnail)
        self._encoded.extend(chunk.seen)
        self._state = chunk.state
        self._cells += chunk.cells
        self._tokens += sum(len(part) for part in chunk.parts)

    def _with_stamp(self, features: Tensor, time_us: int) -> Tensor:
        stamp = self.backbone.stamp(time_us)
        if not stamp:
            return features
        return torch.cat((self.backbone.embed(self.backbone.tokenize(stamp)), features))

    def _positions(self, count: int, start: int) -> Tensor:
        axes = self.backbone.layout.rotary.axes
        return torch.arange(start, start + count, device=self.backbone.device)[:, None].expand(count, axes)

    def _block(self, block_id: int, features: Tensor, parts: list[KVBlock], span_us: tuple[int, int]) -> KVBlock:
        """Run features over the parts and keep what they leave behind as one part."""
        context = assemble(self.backbone.layout, parts, device=self.backbone.device) if parts else None
        positions = self._positions(len(features), context.next_position if context else 0)
        done = self.backbone.prefill(features, positions, context)
        coords = torch.full((len(features), 3), -1, dtype=torch.int32)
        relative = self._positions(len(features), 0)
        return KVBlock(block_id, done.keys, done.values, relative, len(features), coords, span_us)

    def _sink(self) -> KVBlock:
        return self._block(SINK, self.backbone.opening(), [], (0, 0))


def thumbnail(image: NDArray[np.uint8], longer_px: int) -> bytes:
    """Shrink a picture to JPEG bytes; longer_px 0 gives none."""
    if longer_px == 0:
        return b""
    height, width = image.shape[:2]
    scale = min(1.0, longer_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if size != (width, height) else image
    done, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return bytes(data.tobytes()) if done else b""
