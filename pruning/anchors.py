"""Segments and anchor frames: where context is kept in a stretch of frames that look alike (FastVID 2025)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .credit import SCALE
from .density import density_peaks
from .select import top
from .similarity import cosines, paired_cosines, tame
from .stages import Cells, Choice, Memory, Traits


def salient_cells(refill: int, number: int, floor: int, share: float) -> int:
    """Count the cells that a frame keeps for their saliency, so that over many frames it is `share` of the refill."""
    part = round(refill * share)
    return max((number + 1) * part // SCALE - number * part // SCALE, floor)


@dataclass(frozen=True, slots=True)
class AnchorFrames:
    """Pay for salient cells in every frame, and save up the rest for every fourth frame of a segment.

    A segment starts where the cosine of a frame's mean token to the last one's is below tau; its first frame is an
    anchor frame, and every `every`-th after it. (Published, anchors are counted back from the segment's end, which is
    not known yet.)  share: of the refill, for salient cells.  refill: credit per frame, in 1/SCALE tokens.  Credit for
    more than one whole frame cannot be saved and is spent at once.  The first n frames keep at most n * refill, any
    n in a row at most N + n * refill, but for frames that are whole by order, which leave up to depth * N of debt.
    floor: cells that survive in any case, at most the refill.

    Memory: mean float32 [D] (the last frame's mean token), age int64 [] (frames since the segment's start), credit
    int64 [].
    """

    refill: int
    floor: int
    tau: float = 0.9
    every: int = 4
    share: float = 0.6
    depth: int = 8
    traits: Traits = field(default=Traits(remembers=True, per_cell=1))

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give the count."""
        total = len(cells)
        mean = tame(cells.features).mean(0)
        age = torch.zeros((), dtype=torch.int64, device=scores.device)
        credit = age + self.refill
        if "mean" in memory:
            goes_on = paired_cosines(mean[None], memory["mean"][None])[0] >= self.tau
            age = (memory["age"] + 1) * goes_on
            credit = memory["credit"] + self.refill
        salient = salient_cells(self.refill, cells.number, self.floor, self.share)
        spilled = (credit - total * SCALE + SCALE - 1) // SCALE
        count = torch.where(age % self.every == 0, total, spilled.clamp(min=salient))
        count = torch.minimum(count, credit // SCALE).clamp(self.floor, total)
        if cells.whole:
            count = torch.full_like(count, total)
        if cells.open is not None:
            count = count * cells.open
        credit = (credit - count * SCALE).clamp(-self.depth * total * SCALE, total * SCALE)
        return count, {"mean": mean, "age": age, "credit": credit}

    def still(self, cells: int) -> float:
        """Give the refill: anchor frames come also while nothing changes."""
        return max(self.refill / SCALE, self.floor)


@dataclass(frozen=True, slots=True)
class SalientAndContext:
    """Keep the highest scores, and density peaks of the frame that stand for what is left of it.

    Up to salient_cells() are kept by score; what the count has above them goes to anchors, the density peaks (k
    nearest, over the whole frame) among the other cells. The rest belongs to the anchor with the highest cosine (of
    equal ones the first), or is dropped where there is none.  refill, floor, share: those of AnchorFrames.
    """

    refill: int
    floor: int
    share: float = 0.6
    k: int = 4
    traits: Traits = field(default=Traits(per_pair=2))

    def select(self, scores: Tensor, count: Tensor, cells: Cells, memory: Memory) -> Choice:
        """Choose."""
        salient_count = count.clamp(max=salient_cells(self.refill, cells.number, self.floor, self.share))
        salient = top(scores, salient_count)
        peaks = density_peaks(cells.features, self.k).masked_fill(salient, -1.0)
        anchors = top(peaks, count - salient_count)
        kept = salient | anchors
        tokens = tame(cells.features)
        alike = cosines(tokens, tokens).masked_fill(~anchors, -2.0).argmax(1)
        owner = torch.where(anchors.any(), alike, -1)
        return Choice(kept, torch.where(kept, torch.arange(len(cells), device=kept.device), owner))
