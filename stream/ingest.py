"""Ingest: from frames to remembered blocks, causal and in constant working memory.

A keyframe's block is complete when the next keyframe comes, because only then its span is known. Keyframes wait until
`chunk_frames` of them are complete; their border is a count of keyframes, so it does not matter how frames are handed
over, and a question in between changes nothing that is stored.
"""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import SettingsError
from ..frame import Frame
from ..memory.archive import Archive
from ..memory.block import KVBlock
from ..memory.positions import clock_place
from ..memory.window import Window
from ..models.backbone import Backbone, HeadId
from ..models.rows import lay
from ..models.tokens import TOWER_PLANES, VisualTokens
from ..pruning import Recipe, State, build_recipe
from ..settings import Settings
from .checkpoint import Checkpoint
from .chunk import Chunk, blocks_of, prefill, sink_of
from .holding import archive_of
from .keyframes import GateSettings, KeyframeGate
from .seen import Seen, alone, thumbnail, within

RECENT = -1  # id of parts of a context that are no block of the archive
STREAM = "stream"  # the note that says what a stream's first frame settled
STAMP_TOKENS = 24  # room in the window for each keyframe's time stamp and markers, of clocks since 1970 too


@dataclass(frozen=True, slots=True)
class IngestReport:
    """Count what was taken in.  tokens: visual tokens that pruning left, of cells seen by the tower."""

    frames: int
    keyframes: int
    cells: int
    tokens: int
    now_us: int


class Ingest:
    """Take frames of one stream in, in order of time.  Not safe for use by several threads at once.

    archive: where blocks go, by default an empty one in host memory.
    """

    def __init__(
        self, backbone: Backbone, settings: Settings, heads: tuple[HeadId, ...], archive: Archive | None = None
    ) -> None:
        self.backbone, self.settings = backbone, settings
        self.archive = archive_of(backbone, settings, heads) if archive is None else archive
        self.window = Window(0, 0)  # until the first frame shows how large one is
        self._grid: tuple[int, int] | None = None
        self._gate = KeyframeGate(GateSettings(heartbeat_us=round(settings.heartbeat_s * 1e6)))
        self._recipe = self._recipe_for((1, 1))  # as the window; what is wrong with the settings shows at once
        self._state = State()
        self._pending: list[Frame] = []  # keyframes not yet prefilled; the last one's span is still open
        self._cut: dict[int, int] = {}  # by their times, the ends of those that a gap came after
        self._aside: list[Seen] = []  # the first of those, encoded to be read before they are stored
        self._encoded: deque[Seen] = deque(maxlen=settings.recent_frames)
        self._frames = self._keyframes = self._cells = self._tokens = 0
        self._changes = 0
        self._place = 0  # where the next block starts
        self.now_us = 0
        self.start_us = 0
        self.sink = sink_of(backbone)

    @property
    def report(self) -> IngestReport:
        """What was taken in so far."""
        return IngestReport(self._frames, self._keyframes, self._cells, self._tokens, self.now_us)

    @property
    def changes(self) -> int:
        """How many keyframes this process kept because something had changed, and not for the time that had passed."""
        return self._changes

    def see(self, frame: Frame, after_gap: bool = False) -> bool:
        """Take in the next frame; say whether it became a keyframe.  Its time must be later than the last one's.

        after_gap: the stream was away before it.  It becomes a keyframe, and the one before it ends where frames did.
        When this fails or is interrupted, the frame was not taken in and the next one can be.
        """
        if self._grid is None:
            self._settle(self.backbone.grid_of(*frame.image.shape[:2]))
            if self._frames:
                self._tell()
        if not self._frames:
            self.start_us = frame.time_us
            self._tell()
        before = self._gate.state
        end_us = frame.time_us
        if after_gap and self._frames:
            self._gate.state, end_us = None, self.now_us + 1
        action = "keep" if self.settings.keyframes == "all" else self._gate.decide(frame).action
        kept = action != "skip"
        if kept:
            if len(self._pending) >= self.settings.chunk_frames:
                try:
                    self._keep(self._chunk(end_us))
                except BaseException:
                    self._gate.state = before
                    raise
            if end_us != frame.time_us and self._pending:
                self._cut[self._pending[-1].time_us] = end_us
            # It waits here while the caller may draw the next picture into the same array.
            self._pending.append(replace(frame, image=frame.image.copy()))
            self._keyframes += 1
            self._changes += action != "heartbeat"
        self._frames += 1
        self.now_us = frame.time_us
        return kept

    def recent(self) -> list[Seen]:
        """Give the newest keyframes with whole features: all that wait, and more up to `recent_frames`.

        Waiting frames are encoded here, on the side and each once for all who read them.  The batch that a frame is
        encoded in may change its features' last bits, and nothing may depend on who had looked before: so each is
        encoded alone, and their chunk encodes them anew, all at once.
        """
        for frame in self._pending[len(self._aside) :]:
            if self._aside:  # the keyframe after it has come, so its end is known
                before = self._aside[-1]
                self._aside[-1] = replace(before, end_us=self._cut.get(before.time_us, frame.time_us))
            number = self._keyframes - len(self._pending) + len(self._aside)
            self._aside += self._look([frame], number, None)[1]
        missing = self.settings.recent_frames - len(self._aside)
        return [*(list(self._encoded)[-missing:] if missing > 0 else []), *self._aside]

    def waiting(self) -> list[KVBlock]:
        """Give the blocks that the waiting keyframes would become if the stream ended here; nothing is stored."""
        return self._chunk(self.now_us).blocks if self._pending else []

    def prefill_frames(self, seen: Sequence[Seen]) -> KVBlock | None:
        """Encode recent keyframes over the sink alone, as one part of a context (DSCache's clean recent window)."""
        if not seen:
            return None
        return self.run(seen, [self.sink], RECENT)

    def run(self, seen: Sequence[Seen], over: Sequence[KVBlock], block_id: int) -> KVBlock:
        """Run whole keyframes over parts that come before them; what they leave behind is one part of a context."""
        places = [item.place for item in seen]
        rows = lay(self.backbone.layout, [self.backbone.frame(item.tokens) for item in seen], places)
        keys, values = prefill(self.backbone, rows, over)
        span_us = (seen[0].time_us, self.now_us)
        return KVBlock(block_id, keys, values, rows.positions, rows.extent, rows.coords, span_us, places[0])

    def look(self, frames: Sequence[Frame]) -> list[Seen]:
        """Encode pictures whole, as keyframes of this stream that are not stored."""
        times_us = [frame.time_us for frame in frames]
        tokens = self.backbone.encode([frame.image for frame in frames], times_us, self.grid)
        return [
            Seen(RECENT, alone(tokens, number), b"", self._place_of(time_us)) for number, time_us in enumerate(times_us)
        ]

    def length(self, item: Seen) -> int:
        """Count the tokens of a keyframe in prefill_frames: its time stamp's, its markers' and its cells."""
        return len(self.backbone.frame(item.tokens))

    @property
    def waits_us(self) -> list[tuple[int, int]]:
        """The stretches of the keyframes that wait for their chunk, up to now."""
        ends = self._ends(self._pending, self.now_us + 1)
        return [(frame.time_us, end_us or 0) for frame, end_us in zip(self._pending, ends, strict=True)]

    @property
    def grid(self) -> tuple[int, int]:
        """The (h, w) cells of every frame of this stream: those of its first one.  Raises SettingsError before that."""
        if self._grid is None:
            raise SettingsError("no frame was seen yet, so there is no grid of cells; see one first")
        return self._grid

    @property
    def cells(self) -> int:
        """Visual tokens of a whole frame; 0 before the first one."""
        return 0 if self._grid is None else self._grid[0] * self._grid[1]

    def forget(self, since_us: int | None, until_us: int | None) -> int:
        """Forget every keyframe that was the newest one at some time in [since_us, until_us); say how many.

        Keyframes that wait go whole, as do those of the window: what comes next is prefilled without them.  Those that
        wait before them are stored first, so that none spans what is forgotten.
        """
        count = len(self.archive.forget(since_us, until_us)) + self._forget_waiting(since_us, until_us)
        # By their times: a cap may have taken their blocks before, and they would outlive them here.
        window = [block for block in self.window.blocks if not within(*block.span_us, since_us, until_us)]
        self.window = Window(self.window.max_blocks, self.window.max_tokens)
        self.window.push(window)
        encoded = [item for item in self._encoded if not within(item.time_us, _end_of(item), since_us, until_us)]
        self._encoded = deque(encoded, self._encoded.maxlen)
        self._aside = []
        # Both hold pictures, or cells, of frames that may have gone; the next frame is a keyframe, and kept whole.
        self._state, self._gate.state = State(), None
        return count

    def _forget_waiting(self, since_us: int | None, until_us: int | None) -> int:
        """Forget keyframes that wait for their chunk; say how many."""
        frames = self._pending
        goes = [
            within(frame.time_us, self.now_us + 1 if end_us is None else end_us, since_us, until_us)
            for frame, end_us in zip(frames, self._ends(frames, self.now_us + 1), strict=True)
        ]
        if not any(goes):
            return 0
        first, count = goes.index(True), len(frames)
        if first:
            self._pending, self._keyframes = frames[:first], self._keyframes - (count - first)
            try:
                self._keep(self._chunk(self._cut.get(frames[first - 1].time_us, frames[first].time_us)))
            except BaseException:
                self._pending = frames
                raise
            finally:
                self._keyframes += count - first
        self._pending = [frame for frame, gone in zip(frames[first:], goes[first:], strict=True) if not gone]
        return sum(goes)

    def freeze(self) -> Checkpoint:
        """Write down all that a restored archive lacks to go on as if nothing had been."""
        point = Checkpoint()
        point.facts.update(
            {
                "grid": self._grid,
                "counts": [self._frames, self._keyframes, self._cells, self._tokens, self._place],
                "clock": [self.now_us, self.start_us],
                "recipe": repr(self._recipe),
                "window": len(self.window),
                "pending": len(self._pending),
                "cut": list(self._cut.items()),
                "encoded": [[item.block_id, item.place, item.end_us] for item in self._encoded],
            }
        )
        point.put_gate(self._gate.state)
        point.put_pruning(self._state)
        for number, block in enumerate(self.window.blocks):
            point.put_block(f"window/{number}", block)
        for number, frame in enumerate(self._pending):
            point.put_frame(f"pending/{number}", frame)
        for number, item in enumerate(self._encoded):
            point.put_tokens(f"encoded/{number}", item.tokens)
            point.put_bytes(f"encoded/{number}/thumbnail", item.thumbnail)
        self.archive.freeze(point.facts, point.tensors)
        return point

    def thaw(self, point: Checkpoint) -> None:
        """Go on where a checkpoint of the archive that is loaded here was taken."""
        facts, device = point.facts, self.backbone.device
        if facts["grid"] is not None:
            self._settle((facts["grid"][0], facts["grid"][1]))
        self._frames, self._keyframes, self._cells, self._tokens, self._place = facts["counts"]
        self.now_us, self.start_us = facts["clock"]
        self._gate.state = point.gate()
        if facts["recipe"] == repr(self._recipe):
            self._state = point.pruning(device)
        self.window.push(point.block(f"window/{number}", device) for number in range(facts["window"]))
        self._pending = [point.frame(f"pending/{number}") for number in range(facts["pending"])]
        self._cut = dict(facts.get("cut", ()))
        self._aside = []
        for number, (block_id, place, end_us) in enumerate(facts["encoded"]):
            tokens = point.tokens(f"encoded/{number}", device)
            self._encoded.append(Seen(block_id, tokens, point.bytes(f"encoded/{number}/thumbnail"), place, end_us))
        self.archive.thaw(facts, point.tensors)

    def pick_up(self) -> None:
        """Go on behind the newest block of the archive that is loaded here, where there is no checkpoint of it.

        What was at hand besides is lost: keyframes that waited, and what gate and pruning remembered.  The window is
        made of stored blocks.
        """
        told, span, last = self.archive.store.noted(STREAM), self.archive.span(), self.archive.last
        if told is not None:
            facts = json.loads(told)
            self.start_us = self.now_us = facts["start_us"]
            self._settle((facts["grid"][0], facts["grid"][1]))
        elif span is not None:
            self.start_us = span[0]  # the note is damaged; the next frame settles the grid anew
        if last is None:
            return
        self._frames = self._keyframes = last.block_id + 1
        self._tokens = self.archive.stats().tokens
        self._cells = self._keyframes * self.cells
        self._place, self.now_us = last.next_place, last.end_us - 1  # the frame that ended it was not stored
        newest = self.archive.block_ids[-self.settings.window_frames :] if self.settings.window_frames else ()
        self.window.push(self.archive.read(newest, self.backbone.device))

    def _tell(self) -> None:
        """Note with the archive what pick_up() needs."""
        facts = {"start_us": self.start_us, "grid": self._grid}
        self.archive.store.note(STREAM, json.dumps(facts).encode())

    def _settle(self, grid: tuple[int, int]) -> None:
        """Settle what depends on the size of a frame.  Frames of other sizes are brought to the grid of the first."""
        self._grid = grid
        self._recipe = self._recipe_for(self._grid)
        most = self.settings.window_frames
        self.window = Window(most, most * (self.cells + STAMP_TOKENS))

    def _recipe_for(self, grid: tuple[int, int]) -> Recipe:
        return build_recipe(self.settings.recipe, grid=grid, rate=self.settings.prune_rate)

    def _place_of(self, time_us: int) -> int:
        """Say where a keyframe's block starts: by the clock under absolute time, else behind all that is stored."""
        layout = self.backbone.layout
        return clock_place(layout, time_us, self.start_us) if layout.ids_per_second else self._place

    def _look(
        self, frames: Sequence[Frame], first: int, next_us: int | None, planes: frozenset[str] = frozenset()
    ) -> tuple[VisualTokens, list[Seen]]:
        """Encode waiting keyframes whole, as one batch.

        first: number of the first one.  next_us: time of the keyframe after them, None while there is none.
        planes: what the tokens carry besides, and what is seen does not.
        """
        times_us = [frame.time_us for frame in frames]
        tokens = self.backbone.encode([frame.image for frame in frames], times_us, self.grid, planes)
        whole = tokens.without(planes)
        seen = []
        for number, (frame, end_us) in enumerate(zip(frames, self._ends(frames, next_us), strict=True)):
            picture = thumbnail(frame.image, self.settings.thumbnail_px)
            place = self._place_of(frame.time_us)
            seen.append(Seen(first + number, alone(whole, number), picture, place, end_us))
        return tokens, seen

    def _ends(self, frames: Sequence[Frame], next_us: int | None) -> list[int | None]:
        """Say until when each waiting keyframe was the newest one; next_us for the last, where no gap cut it short."""
        ends = [*(frame.time_us for frame in frames[1:]), next_us][: len(frames)]
        return [self._cut.get(frame.time_us, end_us) for frame, end_us in zip(frames, ends, strict=True)]

    def _chunk(self, next_us: int) -> Chunk:
        """Prefill the waiting keyframes over [sink | window] into blocks; changes nothing here."""
        planes = self._recipe.planes & TOWER_PLANES
        tokens, seen = self._look(self._pending, self._keyframes - len(self._pending), next_us, planes)
        kept, state = self._recipe.step(tokens, self._state)
        kept = kept.without(planes)
        parts = [kept.frame(t) for t in range(len(seen))]
        over = [self.sink, *self.window.blocks]
        blocks, placed, place = blocks_of(self.backbone, parts, seen, over, next_us, self.start_us)
        return Chunk(blocks, parts, placed, state, len(tokens), place)

    def _keep(self, chunk: Chunk) -> None:
        """Hand a chunk to the window and the archive, in place of the frames that waited.

        What an interrupted call stored already is not stored twice.
        """
        stored = self.archive.last_id
        if stored is None or stored < chunk.blocks[-1].block_id:
            pictures = [item.thumbnail for item in chunk.seen]
            self.archive.extend(chunk.blocks, [part.features for part in chunk.parts], pictures)
        self.window.push(chunk.blocks)
        self._encoded.extend(chunk.seen)
        self._state, self._place = chunk.state, chunk.place
        self._cells += chunk.cells
        self._tokens += sum(len(part) for part in chunk.parts)
        self._pending, self._aside, self._cut = [], [], {}


def _end_of(item: Seen) -> int:
    """Give the time of the keyframe after one; of the newest one, only its own moment is known."""
    return item.time_us + 1 if item.end_us is None else item.end_us
