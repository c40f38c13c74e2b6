"""A recipe: five stages that prune a stream, frame by frame."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import SettingsError
from ..models.tokens import VisualTokens
from .gate import Open
from .stages import Budget, Cells, Choice, Gate, Need, Reduce, Score, Select, Stage, check_ingest
from .state import State

FEATURE_PLANES = ("deepstack",)  # extras that the language model reads: they are merged as the features are


@dataclass(frozen=True, slots=True, eq=False)
class Pruned:
    """Hold what pruning left of T frames, and how it came to that.

    index: int64 [m], the surviving rows, sorted.  counts: int64 [T], survivors per frame.  scores: float32 [T, N].
    state: what the next frames need.  owners: int64 [T, N], the cell of its frame that each cell was merged into, as in
    Choice.owner; None where features are not merged.
    """

    tokens: VisualTokens
    index: Tensor
    counts: Tensor
    scores: Tensor
    state: State
    owners: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """Prune visual tokens as they come in: Gate → Score → Budget → Select → Reduce.

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
    gate: Gate = field(default=Open())

    def __post_init__(self) -> None:
        if min(self.grid) < 1:
            raise SettingsError(f"a grid needs at least one row and one column, not {self.grid}")
        check_ingest(self.stages)

    @property
    def stages(self) -> dict[str, Stage]:
        """Give the stages by name, in order."""
        return {
            "gate": self.gate,
            "score": self.scorer,
            "budget": self.budget,
            "select": self.selector,
            "reduce": self.reducer,
        }

    @property
    def planes(self) -> frozenset[Need]:
        """Name the planes of the vision tower that the stages read, to be asked of Backbone.encode."""
        return frozenset[Need]().union(*(stage.traits.needs for stage in self.stages.values()))

    def cost(self, dim: int) -> float:
        """Count the multiply-adds of one frame whose tokens have `dim` channels, as the stages declare them."""
        cells = self.grid[0] * self.grid[1]
        traits = [stage.traits for stage in self.stages.values()]
        return sum(t.per_cell * cells * dim + t.per_pair * cells * cells * dim for t in traits)

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
        choices, scores = [], []
        for t in range(frames):
            rows = slice(t * cells, (t + 1) * cells)
            extras = {name: plane[rows] for name, plane in tokens.extras.items()}
            frame = Cells(tokens.features[rows], self.grid, state.frames, state.refresh, extras)
            score, choice, state = self._settle(frame, state)
            scores.append(score)
            choices.append(choice)
        if not frames:
            device = tokens.features.device
            nothing = torch.zeros(0, dtype=torch.int64, device=device)
            return Pruned(tokens, nothing, nothing, torch.zeros(0, cells, device=device), state)
        masks = torch.stack([choice.kept for choice in choices])
        index = masks.flatten().nonzero().squeeze(1)
        owners = None
        if self.reducer.traits.changes_features:
            tokens = self._merged(tokens, choices)
            owners = torch.stack([_owner_of(choice) for choice in choices])
        survivors = tokens if len(index) == len(tokens) else tokens.select(index)
        return Pruned(survivors, index, masks.sum(1), torch.stack(scores), state, owners)

    def _settle(self, frame: Cells, state: State) -> tuple[Tensor, Choice, State]:
        admitted, seen = self.gate.admit(frame, state.part("gate"))
        frame = replace(frame, open=admitted)
        memory = state.part("score")
        scores = self.scorer.score(frame, memory)
        count, account = self.budget.grant(scores, frame, state.part("budget"))
        choice = self.selector.select(scores, count * admitted, frame, memory)
        learned = self.scorer.learn(frame, choice.kept, memory)
        after = {f"gate/{name}": value for name, value in seen.items()}
        after |= {f"score/{name}": value for name, value in learned.items()}
        after |= {f"budget/{name}": value for name, value in account.items()}
        return scores, choice, State(state.frames + 1, False, after)

    def _merged(self, tokens: VisualTokens, choices: list[Choice]) -> VisualTokens:
        """Reduce the features, and the planes that are features too, frame by frame."""
        cells = self.grid[0] * self.grid[1]

        def reduced(plane: Tensor) -> Tensor:
            frames = plane.split(cells)
            return torch.cat([self.reducer.reduce(*pair) for pair in zip(frames, choices, strict=True)])

        extras = {n: reduced(p) if n in FEATURE_PLANES else p for n, p in tokens.extras.items()}
        return replace(tokens, features=reduced(tokens.features), extras=extras)

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


def _owner_of(choice: Choice) -> Tensor:
    """Give each cell's owner, int64 [N]; where nothing is merged, itself for the kept ones and -1 for the others."""
    if choice.owner is not None:
        return choice.owner
    own = torch.arange(len(choice.kept), device=choice.kept.device)
    return torch.where(choice.kept, own, -1)
