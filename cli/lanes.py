"""Lanes: several recipes over the same stream, side by side, each with a state of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from ..bench.timing import Stopwatch
from ..frame import Frame
from ..models.backbone import Backbone
from ..models.tokens import TOWER_PLANES, VisualTokens
from ..pruning import Recipe, State
from ..stream.keyframes import GateSettings, KeyframeGate
from .sheet import Shown
from .thinning import EvenSample, ShareOverTime
from .tile import Survivors, shrink


class Lane:
    """Run one recipe over a stream, and count.

    tokens: kept so far, of cells.  empty: keyframes of which nothing was kept.
    """

    def __init__(self, name: str, recipe: Recipe, start_us: int, watch: Stopwatch) -> None:
        self.name, self.recipe = name, recipe
        self.shares = ShareOverTime(start_us)
        self.tokens = self.cells = self.empty = 0
        self._state, self._watch = State(), watch

    @property
    def share(self) -> float:
        """Share of the cells that was kept so far."""
        return self.tokens / max(1, self.cells)

    @property
    def seconds(self) -> float:
        """Time spent pruning, until what is left is known on the host."""
        return self._watch.seconds.get(self.name, 0.0)

    def prune(self, tokens: VisualTokens) -> list[Survivors]:
        """Prune the next frames; say what is left of each."""
        began = self._watch.now()
        pruned = self.recipe.prune(tokens, self._state)
        self._state = pruned.state
        frames = len(tokens.times_us)
        kept = torch.zeros(len(tokens), dtype=torch.bool, device=pruned.index.device)
        kept[pruned.index] = True
        masks = kept.view(frames, -1).cpu().numpy()
        owners = None if pruned.owners is None else pruned.owners.cpu().numpy()
        self._watch.add(self.name, began)
        survivors = [Survivors(mask, None if owners is None else owners[t]) for t, mask in enumerate(masks)]
        for time_us, one in zip(tokens.times_us, survivors, strict=True):
            self.shares.add(time_us, one.count, len(one.kept))
            self.tokens += one.count
            self.cells += len(one.kept)
            self.empty += one.count == 0
        return survivors


@dataclass(frozen=True, slots=True)
class Keyframe:
    """Say what was kept of one keyframe.

    number: counted from 0.  action, reason: the keyframe gate's word, "all" and nothing where it was not asked.
    kept: cells by recipe, of `cells`.
    """

    number: int
    time_us: int
    action: str
    reason: str
    cells: int
    kept: Mapping[str, int]

    @property
    def why(self) -> str:
        """The gate's word in one line."""
        if not self.reason:
            return ""
        return f"{'gate' if self.action == 'keep' else self.action}: {self.reason}"


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    frame: Frame
    action: str
    reason: str


class Lanes:
    """Take a stream's frames in: gate, encode in chunks, prune under every recipe, hold the frames to be shown.

    Chunks are those of a session, so that features are the same to the last bit.  gate: None takes every frame as a
    keyframe.  tile: (height, width) in px of the frames that are held.  told: is told of every keyframe.
    """

    def __init__(
        self,
        backbone: Backbone,
        recipes: Mapping[str, Recipe],
        sample: EvenSample[Shown],
        tile: tuple[int, int],
        *,
        gate: GateSettings | None,
        chunk_frames: int,
        start_us: int = 0,
        told: Callable[[Keyframe], None] | None = None,
    ) -> None:
        watch = Stopwatch(backbone.device)
        self.lanes = [Lane(name, recipe, start_us, watch) for name, recipe in recipes.items()]
        self.grid = next(iter(recipes.values())).grid
        self.sample = sample
        self.frames = self.keyframes = 0
        self.first_us = self.last_us = start_us
        self._backbone, self._tile, self._chunk_frames, self._told = backbone, tile, chunk_frames, told
        self._gate = None if gate is None else KeyframeGate(gate)
        self._planes = frozenset[str]().union(*(recipe.planes for recipe in recipes.values())) & TOWER_PLANES
        self._waiting: list[_Waiting] = []

    def see(self, frame: Frame) -> None:
        """Take in the next frame."""
        if not self.frames:
            self.first_us = frame.time_us
        self.frames += 1
        self.last_us = frame.time_us
        action, reason = "all", ""
        if self._gate is not None:
            decision = self._gate.decide(frame)
            if not decision.kept:
                return
            action, reason = decision.action, decision.reason
        self._waiting.append(_Waiting(frame, action, reason))
        if len(self._waiting) >= self._chunk_frames:
            self.finish()

    def finish(self) -> None:
        """Encode and prune what waits."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        images = [item.frame.image for item in waiting]
        times_us = [item.frame.time_us for item in waiting]
        tokens = self._backbone.encode(images, times_us, self.grid, planes=self._planes)
        left = {lane.name: lane.prune(tokens) for lane in self.lanes}
        for t, item in enumerate(waiting):
            self._hold(item, {name: survivors[t] for name, survivors in left.items()})

    def _hold(self, item: _Waiting, survivors: Mapping[str, Survivors]) -> None:
        cells = self.grid[0] * self.grid[1]
        kept = {name: one.count for name, one in survivors.items()}
        keyframe = Keyframe(self.keyframes, item.frame.time_us, item.action, item.reason, cells, kept)
        self.keyframes += 1
        if self._told is not None:
            self._told(keyframe)
        if self.sample.wants(keyframe.number):
            # A view of a chunk's masks would keep all of them alive.
            own = {name: _copied(one) for name, one in survivors.items()}
            picture = shrink(item.frame.image, self._tile)
            self.sample.add(keyframe.number, Shown(keyframe.time_us, picture, keyframe.why, own))


def _copied(survivors: Survivors) -> Survivors:
    owners = survivors.owners
    return Survivors(survivors.kept.copy(), None if owners is None else owners.copy())
