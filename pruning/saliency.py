"""Scores from the vision tower's own attention.

The published methods read the row of a class token. SigLIP's and Qwen's towers have none: here the attention that a
cell receives, averaged over heads and queries, stands in for it everywhere.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .similarity import tame
from .stages import Cells, Memory, Need, Stateless, Traits

_SALIENCY = frozenset[Need]({"saliency"})


def plane(cells: Cells, name: Need) -> Tensor:
    """Read a plane of the frame, float32 [N, L], finite and non-negative."""
    return tame(cells.extras[name]).clamp(min=0.0)


@dataclass(frozen=True, slots=True)
class Received(Stateless):
    """Rate a cell by the attention that it receives, summed over some layers of the vision tower.

    start: share of the depth where the sum begins, 0 <= start < 1; None takes the last layer alone.
    """

    start: float | None = None
    traits: Traits = field(default=Traits(needs=_SALIENCY))

    def score(self, cells: Cells, memory: Memory) -> Tensor:
        """Rate the cells, float32 [N]; 1 for each layer is what the average cell gets."""
        saliency = plane(cells, "saliency")
        layers = saliency.shape[1]
        first = layers - 1 if self.start is None else int(self.start * layers)
        return saliency[:, first:].sum(1)


@dataclass(frozen=True, slots=True)
class Flow(Stateless):
    """Rate a cell by attention and length of its values, carried from layer to layer (FlowCut 2025).

    Per layer s = (a / sum a + m / sum m) |v|_1, over the layers c = carry c + (1 - carry) s from the first layer's s.
    Published, a is the class token's row and m the mean attention received; here both are the same map.
    """

    carry: float = 0.5
    traits: Traits = field(default=Traits(needs=frozenset[Need]({"saliency", "values"})))

    def score(self, cells: Cells, memory: Memory) -> Tensor:
        """Rate the cells, float32 [N]."""
        saliency, values = plane(cells, "saliency"), plane(cells, "values")
        share = saliency / saliency.sum(0).clamp(min=torch.finfo(torch.float32).tiny)
        layers = 2.0 * share * values  # [N, L]
        flow = layers[:, 0]
        for layer in range(1, layers.shape[1]):
            flow = self.carry * flow + (1.0 - self.carry) * layers[:, layer]
        return flow
