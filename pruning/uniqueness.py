"""A budget for frames that are unlike the stream they belong to."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .credit import SCALE, Account
from .gaussian import VideoMean, closeness
from .stages import Cells, Memory, Traits


@dataclass(frozen=True, slots=True)
class Uniqueness:
    """Give a frame more the less it is like the stream so far.

    VidCom2 (EMNLP 2025) takes u = -mean of g(x, video mean) over a frame's cells, p = softmax(u / temperature) over the
    clip's T frames, and the share r (1 + p - 1/T), so between r (1 - 1/T) and r (2 - 1/T), at least one cell.  Here
    the softmax runs over the frames so far, this one among them, which fade over `horizon` frames as a clip that moves
    along: it needs only their running log-sum-exp L, p = exp(u / temperature - L), and 1/T becomes 1 over the sum of
    their weights, 1 - (1 - 1/horizon)^n over 1/horizon.  The bounds are the published ones, but these p need not add
    up to 1: when every frame is less like the stream than those before, each asks for nearly 2 r.  So the account pays.
    It starts with one frame's credit, of which the first frame takes only its share r.

    refill of the account: r times N.

    Memory: the account's, VideoMean's (the scorer's are out of reach here), and weight float32 [], L.
    """

    account: Account
    temperature: float = 0.01
    horizon: int = 64
    video: VideoMean = field(default=VideoMean())
    traits: Traits = field(default=Traits(remembers=True, per_cell=8))

    def grant(self, scores: Tensor, cells: Cells, memory: Memory) -> tuple[Tensor, Memory]:
        """Give the count and what is left, and take the frame into the means."""
        rows, mean, learned = self.video.seen(cells, memory)
        unlike = closeness(rows, mean).mean() / -self.temperature
        weight = unlike
        if "weight" in memory:
            weight = torch.logaddexp(memory["weight"] + math.log1p(-1.0 / self.horizon), unlike)
        frames = -math.expm1((cells.number + 1) * math.log1p(-1.0 / self.horizon)) * self.horizon
        part = 1.0 + torch.exp(unlike - weight) - 1.0 / frames
        wanted = (part * (self.account.refill / SCALE)).round().long().clamp(1, len(cells))
        count, left = self.account.pay(wanted, cells, memory)
        return count, {**left, **learned, "weight": weight}

    def still(self, cells: int) -> float:
        """Give what every frame gets on average, as all are equally like the stream."""
        return max(self.account.refill / SCALE, self.account.still(cells))
