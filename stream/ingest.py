"""Ingest: from frames to remembered blocks, causal and in constant working memory.

A keyframe's block is complete when the next keyframe comes, because only then its span is known. Keyframes wait until
`chunk_frames` of them are complete; their border is a count of keyframes, so it does not matter how frames are handed
over, and a question in between changes nothing that is stored.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..frame import Frame
from ..memory.archive import Archive
from ..memory.block import Context, KVBlock
from ..memory.context import assemble
from ..memory.traces import Traces
from ..memory.window import Window
from ..models.backbone import Backbone, HeadId
from ..models.tokens import VisualTokens
from ..pruning import State, build_recipe
from ..settings import Settings
from .keyframes import GateSettings, KeyframeGate

SINK = RECENT = -1  # ids of parts of a context that are no block of the archive
STAMP_TOKENS = 16  # room in the window for each keyframe's time stamp


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Hold a keyframe's whole visual features [cells, D], for reading it again when it is recent.

    block_id: its block's number, whether that is stored yet or not.  end_us: time of the next keyframe; None while
    there is none.
    """

    block_id: int
    time_us: int
    features: Tensor
    thumbnail: bytes
    end_us: int | None = None


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
    """Take frames of one stream in, in order of time.  Not safe for use by several threads at once."""

    def __init__(self, backbone: Backbone, settings: Settings, heads: tuple[HeadId, ...]) -> None:
        self.backbone, self.settings = backbone, settings
        layout = backbone.layout
        self.archive = Archive(settings.archive_bytes, Traces(layout, heads, backbone.hidden_size))
        height, width = backbone.grid
        self.window = Window(settings.window_frames, settings.window_frames * (height * width + STAMP_TOKENS))
        self._grid = torch.cartesian_prod(torch.arange(1), torch.arange(height), torch.arange(width))
        self._gate = KeyframeGate(GateSettings(heartbeat_us=round(settings.heartbeat_s * 1e6)))
        self._recipe = build_recipe(settings.recipe, grid=backbone.grid, rate=settings.prune_rate)
        self._state = State()
        self._pending: list[Frame] = []  # keyframes not yet prefilled; the last one's span is still open
        self._aside: list[Seen] | None = None  # those, encoded for a question; None when they changed
        self._encoded: deque[Seen] = deque(maxlen=settings.recent_frames)
        self._frames = self._keyframes = self._cells = self._tokens = 0
        self.now_us = 0
        self.start_us = 0
        opening = backbone.opening()
        self.sink = self._block(SINK, opening, [], _coords(len(opening)), (0, 0))

    @property
    def report(self) -> IngestReport:
        """What was taken in so far."""
        return IngestReport(self._frames, self._keyframes, self._cells, self._tokens, self.now_us)

    def see(self, frame: Frame) -> bool:
        """Take in the next frame; say whether it became a keyframe.  Its time must be later than the last one's.

        When this fails or is interrupted, the frame was not taken in and the next one can be.
        """
        before = self._gate.state
        kept = self.settings.keyframes == "all" or self._gate.decide(frame).kept
        if kept:
            if len(self._pending) == self.settings.chunk_frames:
                try:
                    self._keep(self._chunk(frame.time_us))
                except BaseException:
                    self._gate.state = before
                    raise
            # It waits here while the caller may draw the next picture into the same array.
            self._pending.append(replace(frame, image=frame.image.copy()))
            self._aside = None
            self._keyframes += 1
        if not self._frames:
            self.start_us = frame.time_us
        self._frames += 1
        self.now_us = frame.time_us
        return kept

    def recent(self) -> list[Seen]:
        """Give the newest keyframes with whole features: all that wait, and more up to `recent_frames`.

        Waiting frames are encoded here, on the side and once for all questions until the next keyframe: what is
        stored later does not depend on it.
        """
        if self._aside is None:
            self._aside = self._look(None)[1] if self._pending else []
        missing = self.settings.recent_frames - len(self._aside)
        return [*(list(self._encoded)[-missing:] if missing > 0 else []), *self._aside]

    def waiting(self) -> list[KVBlock]:
        """Give the blocks that the waiting keyframes would become if the stream ended here; nothing is stored."""
        return self._chunk(self.now_us).blocks if self._pending else []

    def prefill_frames(self, seen: Sequence[Seen]) -> KVBlock | None:
        """Encode recent keyframes over the sink alone, as one part of a context (DSCache's clean recent window)."""
        if not seen:
            return None
        rows = [self._with_stamp(item.features, item.time_us) for item in seen]
        coords = torch.cat([_coords(len(row), self._grid) for row in rows])
        return self._block(RECENT, torch.cat(rows), [self.sink], coords, (seen[0].time_us, self.now_us))

    def length(self, item: Seen) -> int:
        """Count the tokens of a keyframe in prefill_frames: its time stamp's and its cells."""
        stamp = self.backbone.stamp(item.time_us)
        return len(item.features) + (len(self.backbone.tokenize(stamp)) if stamp else 0)

    def _look(self, next_us: int | None) -> tuple[VisualTokens, list[Seen]]:
        """Encode the waiting keyframes whole.  next_us: time of the keyframe after them, None while there is none."""
        frames = self._pending
        times_us = [frame.time_us for frame in frames]
        tokens = self.backbone.encode([frame.image for frame in frames], times_us)
        whole = tokens.features.reshape(len(frames), -1, tokens.features.shape[-1])  # [frames, cells, D]
        first = self._keyframes - len(frames)
        seen = []
        for number, (frame, end_us) in enumerate(zip(frames, [*times_us[1:], next_us], strict=True)):
            features = whole[number].clone()  # a view would keep the features of all the chunk alive
            picture = thumbnail(frame.image, self.settings.thumbnail_px)
            seen.append(Seen(first + number, frame.time_us, features, picture, end_us))
        return tokens, seen

    def _chunk(self, next_us: int) -> _Chunk:
        """Prefill the waiting keyframes over [sink | window] into blocks; changes nothing here."""
        tokens, seen = self._look(next_us)
        kept, state = self._recipe.step(tokens, self._state)
        parts = [kept.frame(t) for t in range(len(seen))]
        rows = [self._with_stamp(part.features, item.time_us) for part, item in zip(parts, seen, strict=True)]
        context = assemble(self.backbone.layout, [self.sink, *self.window.blocks], device=self.backbone.device)
        keys, values = self._prefill(torch.cat(rows), context)
        blocks, start = [], 0
        for item, part, row in zip(seen, parts, rows, strict=True):
            stop = start + len(row)
            blocks.append(
                KVBlock(
                    block_id=item.block_id,
                    keys=keys[:, :, start:stop].clone(),
                    values=values[:, :, start:stop].clone(),
                    positions=self._positions(len(row), 0),
                    extent=len(row),
                    coords=_coords(len(row), part.coords),
                    span_us=(item.time_us, next_us if item.end_us is None else item.end_us),
                )
            )
            start = stop
        return _Chunk(blocks, parts, seen, state, len(tokens))

    def _keep(self, chunk: _Chunk) -> None:
        """Hand a chunk to the window and the archive, in place of the frames that waited.

        Blocks that an interrupted call stored already are not stored twice.
        """
        stored = self.archive.last_id
        for block, part, item in zip(chunk.blocks, chunk.parts, chunk.seen, strict=True):
            if stored is not None and block.block_id <= stored:
                continue
            self.archive.append(block, part.features, item.thumbnail)
        self.window.push(chunk.blocks)
        self._encoded.extend(chunk.seen)
        self._state = chunk.state
        self._cells += chunk.cells
        self._tokens += sum(len(part) for part in chunk.parts)
        self._pending, self._aside = [], None

    def _with_stamp(self, features: Tensor, time_us: int) -> Tensor:
        stamp = self.backbone.stamp(time_us)
        if not stamp:
            return features
        return torch.cat((self.backbone.embed(self.backbone.tokenize(stamp)), features))

    def _positions(self, count: int, start: int) -> Tensor:
        axes = self.backbone.layout.rotary.axes
        return torch.arange(start, start + count, device=self.backbone.device)[:, None].expand(count, axes)

    def _prefill(self, features: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """Run features over the context: keys and values; none for none, as pruning may leave nothing of a chunk."""
        if not len(features):
            layout = self.backbone.layout
            shape = (layout.layers, layout.kv_heads, 0, layout.head_dim)
            nothing = torch.empty(shape, dtype=layout.dtype, device=self.backbone.device)
            return nothing, nothing
        done = self.backbone.prefill(features, self._positions(len(features), context.next_position), context)
        return done.keys, done.values

    def _block(
        self, block_id: int, features: Tensor, before: list[KVBlock], coords: Tensor, span_us: tuple[int, int]
    ) -> KVBlock:
        """Run features over the parts before them and keep what they leave behind as one part of a context."""
        context = assemble(self.backbone.layout, before, device=self.backbone.device)
        keys, values = self._prefill(features, context)
        return KVBlock(block_id, keys, values, self._positions(len(features), 0), len(features), coords, span_us)


def _coords(length: int, cells: Tensor | None = None) -> Tensor:
    """Make a part's coords int32 [length, 3]: text tokens, then the cells [n, 3] of one frame, if any."""
    coords = torch.full((length, 3), -1, dtype=torch.int32)
    if cells is not None:
        coords[length - len(cells) :] = cells.to("cpu", torch.int32)
    return coords


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
