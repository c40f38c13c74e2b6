"""Density peaks: cells that have many others like them, and none better nearby."""

import torch
from torch import Tensor

from .similarity import distances, tame


def density_peaks(features: Tensor, k: int) -> Tensor:
    """Rate how well each cell serves as the centre of a cluster, float32 [N], non-negative.

    Density x delta (DPC-KNN: Du, Ding and Jia 2016).  Distance: |xi - xj| / sqrt(D).  Density: exp(-mean squared
    distance to the k nearest), the cell itself among them as in the public codes, over the largest density of the
    frame, so that it does not vanish.  Delta: distance to the nearest denser cell, and for the densest the
    largest distance there is; of equally dense cells the first counts as denser, so a cell that repeats an earlier
    one gets 0.  features: [N, D]; NaN and infinity count as 0.
    """
    apart = distances(tame(features))  # [N, N]
    rank = torch.arange(len(apart), device=apart.device)
    sparseness = apart.square().topk(min(k, len(apart)), largest=False).values.mean(1)
    ahead, behind = sparseness[None, :], sparseness[:, None]
    denser = (ahead < behind) | ((ahead == behind) & (rank[None, :] < rank[:, None]))
    delta = apart.masked_fill(~denser, torch.inf).amin(1)
    delta = torch.where(denser.any(1), delta, apart.max())
    return torch.exp(sparseness.min() - sparseness) * delta


def assign(features: Tensor, centres: Tensor) -> Tensor:
    """Give each cell its nearest centre, of equally near ones the first: int64 [N].

    Centres get themselves; without any centre all get -1.  features: [N, D], centres: bool [N].
    """
    apart = distances(tame(features)).masked_fill(~centres[None, :], torch.inf)
    cells = torch.arange(len(apart), device=apart.device)
    nearest = torch.where(centres, cells, apart.argmin(1))
    return nearest.masked_fill(~centres.any(), -1)
