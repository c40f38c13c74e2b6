"""Consolidation: what survives of a frame falls into pieces of like cells, and one cell stands for each."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .credit import Account
from .otsu import otsu_threshold
from .select import top
from .similarity import paired_cosines, tame
from .stages import Cells, Choice, Memory, Traits

_CHECK = 4  # rounds of label propagation between two looks at whether anything changed: a look waits for the device


def split_at(scores: Tensor) -> Tensor:
    """Find the Otsu threshold of scores [N], or their (lower) median where they do not split, float32 []."""
    if not len(scores):
        return torch.zeros((), device=scores.device)
    threshold = otsu_threshold(scores)
    return torch.where(threshold > 0, threshold, scores.median())


def neighbours(grid: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """List the pairs of cells that touch, also at a corner, each pair once: int64 [E] and [E]."""
    places = torch.arange(grid[0] * grid[1], device=device).view(grid)
    pairs = (
        (places[:, :-1], places[:, 1:]),
        (places[:-1], places[1:]),
        (places[:-1, :-1], places[1:, 1:]),
        (places[:-1, 1:], places[1:, :-1]),
    )
    first, second = zip(*((one.flatten(), other.flatten()) for one, other in pairs), strict=True)
    return torch.cat(first), torch.cat(second)


def connected(first: Tensor, second: Tensor, linked: Tensor, cells: int) -> Tensor:
    """Label each cell with the first cell of its component, int64 [N].

    first, second: int64 [E], pairs of cells; linked: bool [E], which of them are edges.
    Every round gives each cell, and the cell that it is labelled with, the lowest label of its neighbours, and then
    the label of its label.  A round moves the lowest label on by at least one edge, so N rounds settle any picture;
    a few do for all but contrived ones.
    """
    label = torch.arange(cells, device=first.device)
    for _ in range(0, cells, _CHECK):
        before = label
        for _ in range(_CHECK):
            low = torch.minimum(label[first], label[second])
            offers = torch.where(linked, low, cells)
            lowest = label.scatter_reduce(0, first, offers, "amin").scatter_reduce(0, second, offers, "amin")
            label = lowest.scatter_reduce(0, label, lowest, "amin")
            label = label[label]
        if torch.equal(before, label):
            break
    return label


@dataclass(frozen=True, slots=True)
class Pieces:
    """Find a frame's survivors, their pieces and the cell that stands for each.

    After FluxMem (CVPR 2026).  A cell survives when its distance to the frame before is at least the Otsu threshold of
    the frame's distances, and not vetoed: its cosine is at most `veto`.  (Published, distances to the frame after
    count as well and the veto looks there; this is the half that needs no later frame.)  Neighbours among the
    survivors (8 around) are joined when their distance, 1 - cosine, is at most the Otsu threshold of all such
    distances in the frame; the median stands in for either threshold where a histogram does not split.  The member
    nearest to the mean of its piece is its anchor, of equally near ones the first.
    """

    veto: float = 0.8

    def find(self, scores: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
        """Give each survivor the anchor of its piece, -1 to others, int64 [N]; and mark the anchors, bool [N].

        Waits for the device twice or more: for the edges' number, and to see that the labels are settled.
        """
        survives = scores >= split_at(scores).clamp(min=1.0 - self.veto)
        features = tame(cells.features)
        first, second = neighbours(cells.grid, scores.device)
        both = survives[first] & survives[second]
        apart = 1.0 - paired_cosines(features[first], features[second])
        label = connected(first, second, both & (apart <= split_at(apart[both])), len(cells))
        anchor = _nearest_to_mean(features, label)[label]
        places = torch.arange(len(cells), device=scores.device)
        return torch.where(survives, anchor, -1), survives & (anchor == places)


def _nearest_to_mean(features: Tensor, label: Tensor) -> Tensor:
    """Find the member nearest to the mean of each label's cells, of equals the first: int64 [N], read at labels."""
    # In double precision, and compared in single, so that neither the order of summing nor rounding breaks ties.
    rows = features.double()
    size = torch.zeros_like(rows[:, 0]).index_add_(0, label, torch.ones_like(rows[:, 0]))
    mean = torch.zeros_like(rows).index_add_(0, label, rows) / size.clamp(min=1.0)[:, None]
    apart = (rows - mean[label]).square().sum(1).float()
    least = torch.full_like(apart, torch.inf).scatter_reduce(0, label, apart, "amin")
    places = torch.arange(len(label), device=label.device)
    candidates = torch.where(apart <= least[label], places, len(label))
    return torch.full_like(label, len(label) - 1).scatter_reduce(0, label, candidates, "amin")


@dataclass(frozen=True, slots=True)
class OnePerPiece:
    """Ask for one cell for each piece, the first frame whole, and let the account pay.

    FluxMem has no budget: what its thresholds leave is kept.  Memory: the account's.
    """

    pieces: Pieces
    account: Account
    traits: Traits = field(default=Traits(placed=True, remembers=True, per_cell=16))

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give the count and what is left."""
        if cells.number:
            wanted = self.pieces.find(scores, cells)[1].sum()
        else:
            wanted = torch.tensor(len(cells), device=scores.device)
        return self.account.pay(wanted, cells, memory)

    def still(self, cells: int) -> float:
        """Give what the account pays while nothing is asked for."""
        return self.account.still(cells)


@dataclass(frozen=True, slots=True)
class Anchors:
    """Keep the pieces' anchors, which stand for their pieces.

    When the count is short, the pieces with the largest distance in them win, and the others are dropped.  When it
    goes beyond the pieces, the cells of the largest distance that are no anchors are kept as well, for themselves.
    """

    pieces: Pieces
    traits: Traits = field(default=Traits(placed=True, per_cell=16))

    def select(self, scores: Tensor, count: Tensor, cells: Cells, memory: Memory) -> Choice:
        """Choose."""
        anchor, anchors = self.pieces.find(scores, cells)
        member, into = anchor >= 0, anchor.clamp(min=0)
        # Above every distance stand the anchors, by the largest distance of their piece.
        peaks = torch.zeros_like(scores).scatter_reduce(0, into, torch.where(member, scores, 0.0), "amax")
        kept = top(torch.where(anchors, 4.0 + peaks, scores), count)
        places = torch.arange(len(cells), device=scores.device)
        owner = torch.where(member & kept[into], anchor, -1)
        return Choice(kept, torch.where(kept, places, owner))
