"""Scores: how much each cell of a frame is worth keeping."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .similarity import tame
from .stages import PLAIN, Cells, Memory, Stateless, Traits

# A squared length added to both sides of a cosine, so that two blank tokens are alike instead of undefined. Typical
# tokens have a squared length of D once their channels are scaled, so it changes nothing else.
_BLANK = 1e-6
# By how much a channel's mean square may exceed what is usual and still be believed.
_GROWTH = 64.0


def channel_weights(mean_square: Tensor) -> Tensor:
    """Turn the running mean square of each channel into its weight in a cosine, float32 [D].

    Tokens of a language model's input space carry a few huge channels that would decide every cosine alone. Dividing
    each channel by its root mean square gives all an equal say. Means are not subtracted: on a blank picture what
    is left would be noise, and noise is never alike. Channels far below the typical one (a tenth of the median root
    mean square) are damped rather than blown up.
    """
    return 1.0 / (mean_square + 0.01 * mean_square.median() + 1e-12)


def neighbour_distance(
    features: Tensor, reference: Tensor, weights: Tensor, grid: tuple[int, int], reach: int
) -> Tensor:
    """Measure how unlike each cell is to everything near its place in a reference frame, float32 [N] within 0..2.

    1 - the largest weighted cosine over the (2 reach + 1)^2 cells around the same place; cells outside the grid do
    not take part.  features, reference: float32 [N, D].  weights: float32 [D], on the products of the cosine.
    The neighbourhood is FluxMem's (CVPR 2026), which tolerates motion by one cell.
    """
    height, width = grid
    dim = features.shape[1]
    weighted = features * weights
    norm = ((weighted * features).sum(-1) + _BLANK).sqrt().view(height, width)
    other = ((reference * weights * reference).sum(-1) + _BLANK).sqrt().view(height, width)
    here = weighted.view(height, width, dim)
    there = reference.view(height, width, dim)
    best = torch.full((height, width), -1.0, device=features.device)
    for dy in range(-min(reach, height - 1), min(reach, height - 1) + 1):
        for dx in range(-min(reach, width - 1), min(reach, width - 1) + 1):
            mine = (slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx)))
            its = (slice(max(0, dy), height + min(0, dy)), slice(max(0, dx), width + min(0, dx)))
            dot = (here[mine] * there[its]).sum(-1) + _BLANK
            best[mine] = torch.maximum(best[mine], dot / (norm[mine] * other[its]))
    return (1.0 - best.reshape(-1)).clamp_(0.0, 2.0)


def outlyingness(features: Tensor, weights: Tensor) -> Tensor:
    """Measure how unlike each cell is to its frame, as a multiple of the frame's average, float32 [N].

    The distance is 1 - the weighted cosine with the mean of the frame's tokens, each scaled to length 1; a frame whose
    cells are all alike gives 1.  features: float32 [N, D].  weights: float32 [D], on the products of the cosine.
    """
    scaled = features * weights.sqrt()
    unit = scaled / (scaled.square().sum(-1, keepdim=True) + _BLANK).sqrt()
    mean = unit.mean(0)
    distance = (1.0 - unit @ mean / (mean.square().sum() + _BLANK).sqrt()).clamp(0.0, 2.0)
    return (distance + _BLANK) / (distance.mean() + _BLANK)


@dataclass(frozen=True, slots=True)
class Novelty:
    """Rate a cell by what it shows that was not kept before, near its place.

    The reference is a grid of the last kept token of each place, so a change too slow to be seen from one frame to
    the next still adds up until it is recorded; its cells are replaced only when they are kept.  reach: how many
    cells a thing may have moved.  noise: distances below this are the sensor's; such cells are rated by how long ago
    they were kept, always under `noise`, so that what must be kept of a still picture goes round the places.
    horizon: frames over which the channels' scales are averaged.

    The distance is weighted by how unlike the cell is to its own frame, as a multiple of what is usual there (V-CAST,
    2026, and VidCom2, EMNLP 2025, rate by that alone): after a cut everything is news, and things come before the
    cloth behind them.

    Memory: reference [N, D] in the tokens' type, age int32 [N] in frames, mean_square float32 [D].
    """

    reach: int = 1
    noise: float = 0.02
    horizon: int = 64
    traits: Traits = field(default=Traits(placed=True, remembers=True, per_cell=42))

    def score(self, cells: Cells, memory: Memory) -> Tensor:
        """Rate the cells, float32 [N]: 2 everywhere on the first frame."""
        if "reference" not in memory:
            return torch.full((len(cells),), 2.0, device=cells.features.device)
        weights = channel_weights(memory["mean_square"])
        distance = neighbour_distance(tame(cells.features), tame(memory["reference"]), weights, cells.grid, self.reach)
        age = memory["age"].float()
        rated = (distance * outlyingness(tame(cells.features), weights)).clamp(self.noise, 2.0)
        return torch.where(distance < self.noise, self.noise * (age / (age + self.horizon)), rated)

    def learn(self, cells: Cells, kept: Tensor, memory: Memory) -> Memory:
        """Put the kept cells into the reference and the whole frame into the channels' scales."""
        features = tame(cells.features)
        square = features.square().mean(0)
        tokens = features.to(cells.features.dtype)
        if "reference" not in memory:
            age = torch.zeros(len(cells), dtype=torch.int32, device=tokens.device)
            return {"reference": tokens, "age": age, "mean_square": square}
        share = 1.0 / min(cells.number + 1, self.horizon)
        # One broken token must not decide the scales of the next minutes.
        usual = memory["mean_square"]
        square = torch.minimum(square, _GROWTH * (usual + usual.median()))
        return {
            "reference": torch.where(kept[:, None], tokens, memory["reference"]),
            "age": (memory["age"] + 1).masked_fill(kept, 0),
            "mean_square": torch.lerp(memory["mean_square"], square, share),
        }


@dataclass(frozen=True, slots=True)
class Ticket(Stateless):
    """Draw each cell's score at random, from the seed and the frame's number alone.

    Philox is a counter-based generator and its raw bits are fixed by its definition, so neither the device nor the
    way frames are grouped into calls changes a draw.
    """

    seed: int = 0
    traits: Traits = field(default=Traits(placed=True))

    def score(self, cells: Cells, memory: Memory) -> Tensor:
        """Draw float32 [N] within 0..1."""
        # The frame's number stands above 2^64 draws of its own, so that frames never share any.
        raw = np.random.Philox(key=self.seed, counter=cells.number << 64).random_raw(len(cells))
        draws = (raw >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)  # 24 bits are exact in float32
        return torch.from_numpy(draws).to(cells.features.device)


@dataclass(frozen=True, slots=True)
class Flat(Stateless):
    """Rate all cells alike."""

    traits: Traits = PLAIN

    def score(self, cells: Cells, memory: Memory) -> Tensor:
        """Give zeros, float32 [N]."""
        return torch.zeros(len(cells), device=cells.features.device)
