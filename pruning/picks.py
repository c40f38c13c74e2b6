"""Picks: which remembered tokens a question reads, by their features and the question's words."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .candidates import Candidates
from .cholesky import pivots_of
from .relevance import best_cosine, block_softmax, by_block, relevance, spread, unit_rows
from .stages import PLAIN, Need, Traits

TEXT: frozenset[Need] = frozenset({"text"})


def top_rows(scores: Tensor, count: int) -> Tensor:
    """Give the rows of the count highest of scores [n], of equal ones the first: int64 [count], rising."""
    return scores.argsort(descending=True, stable=True)[:count].sort().values


@dataclass(frozen=True, slots=True)
class Drawn:
    """Draw rows at random, by the seed alone."""

    seed: int = 0
    traits: Traits = PLAIN

    def pick(self, candidates: Candidates, count: int) -> Tensor:
        """Choose."""
        raw = np.random.Philox(key=self.seed).random_raw(len(candidates))
        draws = torch.from_numpy((raw >> np.uint64(1)).astype(np.int64))
        return top_rows(draws.to(candidates.features.device), count)


@dataclass(frozen=True, slots=True)
class Even:
    """Take rows evenly over all that was recalled, whatever they show."""

    traits: Traits = PLAIN

    def pick(self, candidates: Candidates, count: int) -> Tensor:
        """Choose."""
        numbers = torch.arange(count, device=candidates.features.device)
        return (2 * numbers + 1) * len(candidates) // (2 * count)


@dataclass(frozen=True, slots=True)
class Relevant:
    """Take the tokens that are most like a word of the question, and nothing else."""

    traits: Traits = field(default=Traits(needs=TEXT))

    def pick(self, candidates: Candidates, count: int) -> Tensor:
        """Choose."""
        return top_rows(best_cosine(candidates), count)


@dataclass(frozen=True, slots=True)
class Residual:
    """Take tokens greedily by residual energy times relevance^alpha.

    alpha 1 is ResPrune, 2 is CDPruner (see cholesky), 0 does not read the question.
    """

    alpha: float = 1.0
    traits: Traits = field(default=Traits(needs=TEXT, per_pair=1))

    def pick(self, candidates: Candidates, count: int) -> Tensor:
        """Choose."""
        vectors = unit_rows(candidates.features)
        weight = relevance(candidates).pow(self.alpha)
        return pivots_of(vectors[None], weight[None], count).order[0].sort().values


@dataclass(frozen=True, slots=True)
class Anchored:
    """Take the most relevant tokens while they are new, then the rest greedily by residual energy times importance.

    After AnchorPrune (arXiv 2607.07033), of which only the outline is known: the anchor is what ranks first by
    relevance until a token adds less than `least` of residual energy, at most `share` of all that is kept.  Both
    numbers are ours, and so is the importance (Candidates.importance).
    """

    least: float = 0.1
    share: float = 0.5
    traits: Traits = field(default=Traits(needs=TEXT, per_pair=2))

    def pick(self, candidates: Candidates, count: int) -> Tensor:
        """Choose."""
        vectors = unit_rows(candidates.features)[None]
        most = max(1, int(self.share * count))
        ranked = best_cosine(candidates).argsort(descending=True, stable=True)[None, :most]
        weight = spread(candidates.importance)[None]
        new = pivots_of(vectors, weight, most, first=ranked).energy >= self.least
        length = new.long().cumprod(dim=1).sum(dim=1).clamp(min=1)  # the most relevant one always counts
        chosen = pivots_of(vectors, weight, count, first=ranked, first_count=length)
        return chosen.order[0].sort().values


@dataclass(frozen=True, slots=True)
class Unlike:
    """Take a few pivots, then what is least like any of them (DART, arXiv 2502.11494).

    Pivots are the tokens of the greatest L1 length: of their values, as features are stored at length 1.  DART's text
    pivots are left out: they drop just what is like the question, which here was searched for by that likeness.
    """

    pivots: int = 4
    traits: Traits = field(default=Traits(per_cell=4))

    def pick(self, candidates: Candidates, count: int) -> Tensor:
        """Choose."""
        vectors = unit_rows(candidates.features)
        pivots = top_rows(spread(candidates.importance), min(self.pivots, count))
        likeness = (vectors @ vectors[pivots].T).amax(dim=1)
        return top_rows((-likeness).index_fill(0, pivots, torch.inf), count)


@dataclass(frozen=True, slots=True)
class Regions:
    """Share the tokens out over keyframes, each its share; within a keyframe the best go first.

    HERO's split (arXiv 2509.13067): a region's share is `area` times its share of all tokens and the rest a softmax of
    its likeness to the text, both as mean features; within it tokens go by importance.  Its likeness to the whole
    picture needs the tower's CLS token and is left out, its saliency is stood in for (Candidates.importance), and its
    temperature is not known: ours is 0.1.  instructed: PTP's order (arXiv 2509.15704), whose weights are not published:
    regions by their mean saliency, tokens by saliency and relevance in equal parts.
    """

    instructed: bool = False
    area: float = 0.2
    temperature: float = 0.1
    traits: Traits = field(default=Traits(needs=TEXT, per_cell=2))

    def pick(self, candidates: Candidates, count: int) -> Tensor:
        """Choose."""
        block, importance = candidates.block, spread(candidates.importance)
        if self.instructed:
            region, order = by_block(importance, block), importance + relevance(candidates)
        else:
            words = unit_rows(unit_rows(candidates.words).mean(dim=0))
            region = unit_rows(by_block(unit_rows(candidates.features), block)) @ words
            order = importance
        sizes = torch.zeros_like(importance).index_add_(0, block, torch.ones_like(importance))[block]
        shares = self.area * sizes / len(candidates)
        shares = shares + (1.0 - self.area) * block_softmax(region, block, self.temperature)
        # The k-th of a block stands at (k + 1/2) / share: the first count of all are shared out in proportion, and a
        # block that runs out leaves its part to the others (Sainte-Laguë's divisors).
        stand = (_ranks(order, block) + 0.5) / shares.clamp(min=1e-9)
        return top_rows(-stand, count)


def _ranks(scores: Tensor, block: Tensor) -> Tensor:
    """Rank each token within its block from 0, the highest score first, of equal ones the first: int64 [n].

    block: int64 [n], rising.
    """
    order = scores.argsort(descending=True, stable=True)
    order = order[block[order].argsort(stable=True)]  # by block, then by score
    numbers = torch.arange(len(block), device=block.device)
    start = torch.full_like(block, len(block)).scatter_reduce_(0, block, numbers, "amin")[block]
    return torch.empty_like(numbers).scatter_(0, order, numbers) - start
