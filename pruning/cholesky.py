"""Pivoted Cholesky: greedy choice of vectors that span much and matter much.

One kernel for two published methods.  ResPrune (arXiv 2603.21105) takes the token with the largest residual energy
times relevance^alpha; CDPruner (arXiv 2506.10967) takes the greedy MAP of a determinantal process with the kernel
diag(r) L diag(r), L the cosines.  The conditional variance of token i there is r_i^2 times its residual energy, so
CDPruner is ResPrune with alpha = 2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NOTHING_LEFT = 1e-5
"""Residual energy of a vector of length 1 below which it counts as spanned: float32 leaves about a tenth of that."""


@dataclass(frozen=True, slots=True, eq=False)
class Pivots:
    """Hold what was taken.  order: int64 [B, count].  energy: float32 [B, count], the residual energy of each then."""

    order: Tensor
    energy: Tensor


def pivots_of(
    vectors: Tensor,
    weight: Tensor,
    count: int,
    *,
    first: Tensor | None = None,
    first_count: Tensor | None = None,
    valid: Tensor | None = None,
) -> Pivots:
    """Take count vectors one after the other, each of the largest residual energy |v - P v|^2 times weight.

    P projects on the span of those taken before; of equals the first is taken.  When nothing is left that is not
    spanned, or has no weight, the rest goes by weight alone.  vectors: float32 [B, N, D] of length 1, or blank.
    weight: float32 [B, N], not negative.  first: int64 [B, m], taken before all others in this order; first_count:
    int64 [B], how many of them (all m when left out).  valid: bool [B, N], rows that may be taken; count is at most
    their number in every batch.  Takes count steps without a wait for the host, each N x D and N x count
    multiply-adds; holds float32 [B, count, N] besides.
    """
    batches, rows, _ = vectors.shape
    device = vectors.device
    batch = torch.arange(batches, device=device)
    residual = vectors.square().sum(-1)  # [B, N]
    open_rows = torch.ones(batches, rows, dtype=torch.bool, device=device) if valid is None else valid.clone()
    factor = vectors.new_zeros(batches, count, rows)
    order = torch.zeros(batches, count, dtype=torch.int64, device=device)
    energy = vectors.new_zeros(batches, count)
    forced = 0 if first is None else min(first.shape[1], count)
    for step in range(count):
        gain = torch.where(residual > NOTHING_LEFT, residual * weight, 0.0).masked_fill(~open_rows, -1.0)
        more = gain.amax(dim=1, keepdim=True) > 0
        pivot = torch.where(more, gain, weight.masked_fill(~open_rows, -1.0)).argmax(dim=1)  # [B]
        if first is not None and step < forced:
            asked = first[:, step]
            pivot = asked if first_count is None else torch.where(step < first_count, asked, pivot)
        left = residual[batch, pivot]
        order[:, step], energy[:, step] = pivot, left
        row = (vectors @ vectors[batch, pivot][:, :, None])[:, :, 0]  # [B, N]
        if step:
            row = row - (factor[batch, :step, pivot][:, None] @ factor[:, :step])[:, 0]
        spans = left > NOTHING_LEFT
        scaled = torch.where(spans[:, None], row / torch.where(spans, left, 1.0).sqrt()[:, None], 0.0)
        factor[:, step] = scaled
        residual = (residual - scaled.square()).clamp(min=0.0)
        open_rows[batch, pivot] = False
    return Pivots(order, energy)
