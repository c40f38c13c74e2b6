"""The stages of pruning: what each gets, gives back and must declare.

A recipe is Gate → Score → Budget → Select → Reduce.  (The keyframe gate that spares the vision tower stands before
it, in stream/; the gate here may still refuse a frame by what the tower made of it.)
A stage is a frozen value that holds settings only. Its methods are pure: what it remembers of the stream goes in as
`memory`, a mapping of named tensors whose shapes never change, and comes back as a new mapping.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from ..errors import SettingsError

Need = Literal["saliency", "values", "pixels", "text", "attention"]
Memory = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Traits:
    """Declare what a stage needs and does.

    needs: planes of the tokens' extras: "saliency" [n, layers], the attention that a cell gets in each layer of the
    vision tower; "values" [n, layers], the length of its values there; "pixels" [n, 48], 4 x 4 mean colours of its
    part of the picture.  "text" is the question, "attention" the language model's.  lag: how many later frames must be
    seen first.  changes_features: whether it rewrites features.  placed: whether a cell's place in the picture
    matters, beyond being the same from frame to frame.  remembers: whether it keeps a memory of the stream.
    per_cell, per_pair: multiply-adds a frame for each cell and channel, and for each pair of cells and channel.
    """

    needs: frozenset[Need] = frozenset()
    lag: int = 0
    changes_features: bool = False
    placed: bool = False
    remembers: bool = False
    per_cell: float = 0.0
    per_pair: float = 0.0


PLAIN = Traits()


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Hold one whole frame's tokens, one row per cell of the grid, row by row.

    features: [N, D] with N = h * w.  extras: other planes [N, ...].  number: frames seen before this one.
    whole: the caller wants all of this frame (a segment starts here).  open: bool [], whether the gate let the frame
    in; None before it was asked.
    """

    features: Tensor
    grid: tuple[int, int]
    number: int
    whole: bool = False
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    open: Tensor | None = None

    def __len__(self) -> int:
        return self.features.shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Hold which cells survive, and which survivor stands for each cell.

    kept: bool [N].  owner: int64 [N], the kept cell that each cell is merged into, itself for the kept ones and -1 for
    those that are dropped; None where nothing is merged.
    """

    kept: Tensor
    owner: Tensor | None = None


class Stage(Protocol):
    """Say what every stage declares."""

    @property
    def traits(self) -> Traits:
        """Give the needs, the lag, the costs and whether features change."""
        ...


class Gate(Stage, Protocol):
    """Decide whether anything of a frame may survive."""

    def admit(self, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give bool [] on the features' device, and what to remember."""
        ...


class Score(Stage, Protocol):
    """Rate how much each cell is worth keeping."""

    def score(self, cells: Cells, memory: Memory) -> Tensor:
        """Rate the cells: float32 [N], non-negative, comparable over time."""
        ...

    def learn(self, cells: Cells, kept: Tensor, memory: Memory) -> Memory:
        """Remember this frame, now that kept (bool [N]) is settled."""
        ...


class Stateless:
    """Remember nothing of the stream: what scores of a frame alone have in common."""

    __slots__ = ()

    def learn(self, cells: Cells, kept: Tensor, memory: Memory) -> Memory:
        """Give back what came."""
        return memory


class Budget(Stage, Protocol):
    """Decide how many cells survive."""

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give the count, int64 [] within 0..N, on the scores' device; 0 is taken where the frame is not open."""
        ...

    def still(self, cells: int) -> float:
        """Say how many of a frame's cells it grants at most, on average, while every frame equals the last one."""
        ...


class Select(Stage, Protocol):
    """Decide which cells survive."""

    def select(self, scores: Tensor, count: Tensor, cells: Cells, memory: Memory) -> Choice:
        """Choose exactly count cells.  memory: the scorer's, of the frames before, to be read."""
        ...


class Reduce(Stage, Protocol):
    """Decide what the survivors take over from the cells that do not survive."""

    def reduce(self, plane: Tensor, choice: Choice) -> Tensor:
        """Give a plane [N, ...] of features anew; only the kept rows are read."""
        ...


def check_ingest(stages: Mapping[str, Stage]) -> None:
    """Refuse stages that cannot work while the stream comes in.

    stages: by name, for the message.  Raises SettingsError for a stage that needs the question's text, the language
    model's attention, or frames that have not come yet.
    """
    for name, stage in stages.items():
        traits = stage.traits
        label = f"the {name} stage {type(stage).__name__}"
        if "text" in traits.needs:
            raise SettingsError(
                f"{label} needs the question's text, and ingest must not know a question: what is stored would depend "
                "on it and other questions would find it gone; use this stage on recalled blocks at question time"
            )
        if "attention" in traits.needs:
            raise SettingsError(
                f"{label} needs the language model's attention, which does not exist before the tokens are prefilled; "
                "use it at question time, or a stage that reads the vision tower's 'saliency' plane"
            )
        if traits.lag > 0:
            raise SettingsError(
                f"{label} looks {traits.lag} frame(s) ahead, and ingest settles each frame when it comes (lag 0), so "
                "that memory at a moment does not depend on what follows; use a causal form of this stage"
            )
