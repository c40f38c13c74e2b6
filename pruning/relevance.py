"""Relevance: how much a remembered token, or a whole keyframe, has to do with the words of a question."""

import torch
from torch import Tensor

from .candidates import Candidates
from .similarity import tame


def unit_rows(rows: Tensor) -> Tensor:
    """Scale rows [..., D] to length 1 in float32; blank rows, and what is not finite in others, stay 0."""
    tamed = tame(rows)
    length = tamed.norm(dim=-1, keepdim=True)
    return tamed / torch.where(length > 0, length, 1.0)


def spread(values: Tensor) -> Tensor:
    """Bring values [n] to 0..1, the least to 0 and the greatest to 1; where all are alike, all are 1."""
    tamed = tame(values)
    if not len(tamed):
        return tamed
    low, high = tamed.min(), tamed.max()
    width = high - low
    return torch.where(width > 0, (tamed - low) / torch.where(width > 0, width, 1.0), torch.ones_like(tamed))


def best_cosine(candidates: Candidates) -> Tensor:
    """Give each token's cosine with the word that it is most like, float32 [n]; 1 for all where there are no words.

    The best word and not the mean of all: most words of a question name nothing that can be seen.  ResPrune takes
    the question's nouns for that reason, which needs a tagger of its language.
    """
    if not len(candidates.words):
        return candidates.features.new_ones(len(candidates), dtype=torch.float32)
    return (unit_rows(candidates.features) @ unit_rows(candidates.words).T).amax(dim=1)


def relevance(candidates: Candidates) -> Tensor:
    """Give the relevance of each token within 0..1, float32 [n]: best cosines, spread (CDPruner's min-max)."""
    return spread(best_cosine(candidates))


def by_block(values: Tensor, block: Tensor) -> Tensor:
    """Average values [n] or [n, D] over each token's block, float32 of the same shape as given: every token gets it."""
    rows = tame(values)
    total = torch.zeros_like(rows).index_add_(0, block, rows)  # as many rows as tokens are always enough
    count = torch.zeros(len(rows), device=rows.device).index_add_(0, block, torch.ones(len(rows), device=rows.device))
    mean = total / count.clamp(min=1.0).view(-1, *[1] * (rows.ndim - 1))
    return mean[block]


def block_softmax(scores: Tensor, block: Tensor, temperature: float) -> Tensor:
    """Turn the scores of blocks into shares that add up to 1 over the blocks: float32 [n], every token its block's.

    scores: [n], alike within a block.
    """
    if not len(scores):
        return tame(scores)
    weight = torch.exp((scores - scores.max()) / temperature)
    first = torch.ones_like(block, dtype=torch.bool)
    first[1:] = block[1:] != block[:-1]
    return weight / (weight * first).sum()
