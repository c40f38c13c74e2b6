"""Leaders: frames that stand for all those like them (KTV 2026, made causal)."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .credit import Account
from .similarity import cosines, tame
from .stages import Cells, Choice, Memory, Traits

_FREE = 1 << 40  # the age of a place that no leader has had yet: older than any stream
_WIDEST = (
    1e-4,
    1.0,
)  # limits of the distance that makes a leader: noise stays within the first, all is new at the other


@dataclass(frozen=True, slots=True)
class Leaders:
    """Let in the frames that are unlike all remembered leaders; each becomes a leader itself.

    A frame is its mean token. One whose cosine to every leader is below the threshold becomes a leader in the
    place of the one that was matched longest ago; any other frame matches the leader most like it. Published, k-means
    over the whole video chooses the frames.  threshold: that cosine; None adapts it: the distance 1 - cosine that makes
    a leader, 0.1 at first, grows by exp(step (1 - often)) with each leader and shrinks by exp(-step often) with each
    other frame, within 0.0001..1, so that a share `often` of the frames become leaders where the stream has as many.
    The first frame, and one that the caller wants whole, are always let in.

    Memory: leaders float32 [places, D], age int64 [places] in frames, distance float32 [].
    """

    often: float
    threshold: float | None = None
    places: int = 16
    step: float = 0.2
    traits: Traits = field(default=Traits(remembers=True, per_cell=2))

    def admit(self, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Say whether the frame became a leader."""
        mean = tame(cells.features).mean(0)
        if not memory:
            leaders = torch.zeros(self.places, len(mean), device=mean.device)
            age = torch.full((self.places,), _FREE, dtype=torch.int64, device=mean.device)
            distance = torch.tensor(0.1, device=mean.device)
        else:
            leaders, age, distance = memory["leaders"], memory["age"], memory["distance"]
        free = age >= _FREE
        alike = cosines(mean[None], leaders)[0].masked_fill(free, -1.0)
        apart = 1.0 - alike.max()
        new = apart > (distance if self.threshold is None else 1.0 - self.threshold)
        new = new | free.all() | cells.whole
        place = torch.where(new, age.argmax(), alike.argmax())
        here = torch.arange(self.places, device=mean.device) == place
        growth = torch.where(new, math.exp(self.step * (1.0 - self.often)), math.exp(-self.step * self.often))
        return new, {
            "leaders": torch.where((here & new)[:, None], mean, leaders),
            "age": torch.where(free, age, (age + 1).clamp(max=_FREE - 1)).masked_fill(here, 0),
            "distance": (distance * growth).clamp(*_WIDEST),
        }


@dataclass(frozen=True, slots=True)
class Savings:
    """Spend on a frame that is let in all that was saved while none was, at most N tokens; the first frame is whole.

    Memory: the account's.
    """

    account: Account
    traits: Traits = field(default=Traits(remembers=True))

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give the count and what is left."""
        wanted = torch.full((), len(cells), dtype=torch.int64, device=scores.device)
        return self.account.pay(wanted, cells, memory)

    def still(self, cells: int) -> float:
        """Give nothing: a frame that repeats the last one is not let in."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Diverse:
    """Keep one cell after the other, each time the one with the highest score x (1 - likeness to what is kept).

    Likeness: the largest cosine to a kept cell, at least 0.  Of equal ones the first is taken.
    """

    traits: Traits = field(default=Traits(per_pair=1))

    def select(self, scores: Tensor, count: Tensor, cells: Cells, memory: Memory) -> Choice:
        """Choose; reads the count on the host, so that nothing is computed for frames of which nothing is kept."""
        kept = torch.zeros_like(scores, dtype=torch.bool)
        steps = int(count)
        if steps == 0 or steps == len(cells):
            return Choice(kept | (count > 0))
        tokens = tame(cells.features)
        alike = cosines(tokens, tokens)
        likeness = torch.zeros_like(scores)
        for _ in range(steps):
            worth = (scores * (1.0 - likeness)).masked_fill(kept, -1.0)
            best = worth.argmax(0, keepdim=True)
            kept = kept.scatter(0, best, True)
            likeness = torch.maximum(likeness, alike.index_select(0, best)[0])
        return Choice(kept)
