"""A recipe: four stages that prune a stream, frame by frame."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import SettingsError
from ..models.tokens import VisualTokens
from .stages import Budget, Cells, Reduce, Score, Select, Stage, check_ingest
from .state import State


@dataclass(frozen=True, slots=True, eq=False)
class Pruned:
    """Hold what pruning left of T frames, and how it came to that.

    index: int64 [m], the surviving rows, sorted.  counts: int64 [T], survivors per frame.  scores: float32 [T, N].
    state: what the next frames need.
    """

    tokens: VisualTokens
    index: Tensor
    counts: Tensor
    scores: Tensor
    state: State


@dataclass(frozen=True, slots=True)
class Recipe:
    """Prune visual tokens as they come in: Score → Budget → Select → Reduce.

    A recipe holds settings only; the stream's memory is the State that goes in and comes out. Frames are settled one
    after the other, so feeding them one by one or all at once gives the same.  grid: (h, w) of a whole frame.
    Raises SettingsError when a stage cannot work at ingest: it needs the question, attention, or later frames.
    """

    name: str
    grid: tuple[int, int]
    scorer: Score
    budget: Budget
    selector: Select
    reducer: Reduce

    def __post_init__(self) -> None:
        if min(self.grid) < 1:
            raise SettingsError(f"a grid needs at least one row and one column, not {self.grid}")
        check_ingest(self.stages)

    @property
    def stages(self) -> dict[str, Stage]:
        """Give the stages by name, in order."""
        return {"score": self.scorer, "budget": self.budget, "select": self.selector, "reduce": self.reducer}

    def step(self, tokens: VisualTokens, state: State) -> tuple[VisualTokens, State]:
        """Prune T whole frames: give the surviving tokens (coords and order kept) and the next state.

        Raises SettingsError as prune() does.
        """
        pruned = self.prune(tokens, state)
        return pruned.tokens, pruned.state

    def prune(self, tokens: VisualTokens, state: State) -> Pruned:
        """Prune T whole frames and say what was kept of each.

        tokens: every cell of every frame, T * h * w rows in order.
        Raises SettingsError for another grid, for missing rows, or when a plane that a stage needs is not in extras.
        """
        cells = self.grid[0] * self.grid[1]
        frames = len(tokens.times_us)
        self._check(tokens, frames * cells)
        features, kept, scores = [], [], []
        for t in range(frames):
            rows = slice(t * cells, (t + 1) * cells)
            extras = {name: plane[rows] for name, plane in tokens.extras.items()}
            frame = Cells(tokens.features[rows], self.grid, state.frames, state.refresh, extras)
            score, mask, state = self._settle(frame, state)
            scores.append(score)
            kept.append(mask)
            if self.reducer.traits.changes_features:
                features.append(self.reducer.reduce(frame, mask))
        if not frames:
            device = tokens.features.device
            nothing = torch.zeros(0, dtype=torch.int64, device=device)
            return Pruned(tokens, nothing, nothing, torch.zeros(0, cells, device=device), state)
        masks = torch.stack(kept)
        index = masks.flatten().nonzero().squeeze(1)
        if features:
            tokens = replace(tokens, features=torch.cat(features))
        survivors = tokens if len(index) == len(tokens) else tokens.select(index)
        return Pruned(survivors, index, masks.sum(1), torch.stack(scores), state)

    def _settle(self, frame: Cells, state: State) -> tuple[Tensor, Tensor, State]:
        memory = state.part("score")
        scores = self.scorer.score(frame, memory)
        count, account = self.budget.grant(scores, frame, state.part("budget"))
        kept = self.selector.select(scores, count, frame)
        memory = dict(self.scorer.learn(frame, kept, memory))
        after = {f"score/{name}": value for name, value in memory.items()}
        after |= {f"budget/{name}": value for name, value in account.items()}
        return scores, kept, State(state.frames + 1, False, after)

    def _check(self, tokens: VisualTokens, rows: int) -> None:
        if tokens.grid != self.grid:
            raise SettingsError(
                f"recipe {self.name!r} was built for a grid of {self.grid} cells, and these frames have {tokens.grid}; "
                "build a recipe for each grid, with its own state"
            )
        if len(tokens) != rows:
            raise SettingsError(
                f"{len(tokens.times_us)} frames of {self.grid} cells are {rows} tokens, not {len(tokens)}; "
                "pruning starts from whole frames, so do not prune twice"
            )
        for name, stage in self.stages.items():
            missing = sorted(stage.traits.needs - tokens.extras.keys())
            if missing:
                raise SettingsError(
                    f"the {name} stage of recipe {self.name!r} needs the plane(s) {', '.join(missing)}, which this "
                    "model's tokens do not carry in extras; choose another recipe or model"
                )
