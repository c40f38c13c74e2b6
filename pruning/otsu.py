"""Otsu's threshold: where a frame's cells fall into two classes."""

import torch
from torch import Tensor


def otsu_threshold(scores: Tensor, bins: int = 128, top: float = 2.0) -> Tensor:
    """Find the score that splits a frame's cells into two classes best (Otsu 1979), float32 [].

    Takes the lower edge of the upper class, on a histogram over [0, top], where the variance between the classes is
    largest; the lowest of equals.  A frame that does not split (all in one bin) gives 0: novel as a whole or not.
    scores: [N].  Counts and sums are integers, so the result is the same on every device.
    """
    place = (scores * (bins / top)).long().clamp_(0, bins - 1)
    histogram = torch.zeros(bins, dtype=torch.int64, device=scores.device)
    histogram.scatter_add_(0, place, torch.ones_like(place))
    below = histogram.cumsum(0)  # cells in the lower class when it ends with this bin
    mass = (histogram * torch.arange(bins, device=scores.device)).cumsum(0)
    above = below[-1] - below
    gap = (mass * below[-1] - mass[-1] * below).double()
    variance = gap * gap / (below * above).clamp(min=1).double()
    edge = (variance.argmax() + 1).float() * (top / bins)
    return torch.where(variance.max() > 0, edge, torch.zeros_like(edge))
