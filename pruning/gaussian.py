"""Outliers by a Gaussian kernel of several widths: cells unlike the mean of their frame, and of the stream."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .similarity import tame
from .stages import Cells, Memory, Traits

WIDTHS = (0.125, 0.25, 0.5, 1.0, 2.0)  # 2^-3 .. 2^1
TOP = 2.0 * len(WIDTHS)  # the largest sum of closeness to two means


def closeness(rows: Tensor, centre: Tensor) -> Tensor:
    """Sum exp(-|x - c|^2 / 2a) over the widths a: float32 [N] within 0..5.  rows: [N, C], centre: [C]."""
    apart = (rows - centre).square().sum(-1)
    return sum((torch.exp(apart / (-2.0 * width)) for width in WIDTHS), torch.zeros_like(apart))


def calm_channels(variance: Tensor) -> Tensor:
    """Name the half of the channels that vary least, int64 [C], C = D // 2 and at least 1; of equals the first.

    variance: [D].  LLM-space tokens carry a few huge channels that would decide every distance; these are left out.
    """
    return variance.argsort(stable=True)[: max(1, len(variance) // 2)].sort().values


def units(features: Tensor, channels: Tensor) -> Tensor:
    """Cut rows [N, D] down to the channels and bring them to length 1, float32 [N, C]; blank rows stay blank."""
    return torch.nn.functional.normalize(features[:, channels], dim=-1)


@dataclass(frozen=True, slots=True)
class Means:
    """Average over frames: of cut and scaled cells, each channel over the frames in which it took part.

    Which channels vary least may change from frame to frame; where it does not, this is the plain mean of all cells.
    Memory: mean float32 [D], times int64 [D].
    """

    mean: Tensor
    times: Tensor

    @classmethod
    def read(cls, memory: Memory, like: Tensor) -> "Means":
        """Read the memory, or start with nothing.  like: float32 [D]."""
        if "mean" in memory:
            return cls(memory["mean"], memory["times"])
        return cls(torch.zeros_like(like), torch.zeros_like(like, dtype=torch.int64))

    def with_frame(self, rows: Tensor, channels: Tensor) -> "Means":
        """Take in a frame's rows [N, C] of these channels."""
        times = self.times.index_fill(0, channels, 1) - self.times.index_fill(0, channels, 0) + self.times
        old = self.mean[channels]
        new = old + (rows.mean(0) - old) / times[channels]
        return Means(self.mean.index_copy(0, channels, new), times)

    def to_memory(self) -> Mapping[str, Tensor]:
        """Give the tensors by name."""
        return {"mean": self.mean, "times": self.times}


@dataclass(frozen=True, slots=True)
class Outlier:
    """Rate a cell by how unlike it is to the mean of its frame and to the mean of the frames before.

    The pruner of STC (CVPR 2026) keeps the lowest g(x, frame) + g(x, past), g the closeness on the half of the
    channels that vary least within the frame, cells scaled to length 1.  Here the score is 10 - that sum, within
    0..10.  The past is one running mean over all frames before, each counting alike, where the published code keeps a
    list of means that grows; the first frame has no past, and no closeness to it.

    Memory: that of Means.
    """

    traits: Traits = field(default=Traits(remembers=True, per_cell=8))

    def score(self, cells: Cells, memory: Memory) -> Tensor:
        """Rate the cells, float32 [N]."""
        rows, channels = self._rows(cells)
        score = TOP - closeness(rows, rows.mean(0))
        return score - closeness(rows, memory["mean"][channels]) if "mean" in memory else score

    def learn(self, cells: Cells, kept: Tensor, memory: Memory) -> Memory:
        """Take the whole frame into the mean."""
        rows, channels = self._rows(cells)
        return Means.read(memory, tame(cells.features[0])).with_frame(rows, channels).to_memory()

    def _rows(self, cells: Cells) -> tuple[Tensor, Tensor]:
        features = tame(cells.features)
        channels = calm_channels(features.var(0, correction=0))
        return units(features, channels), channels


@dataclass(frozen=True, slots=True)
class VideoMean:
    """Compare cells with the mean of the stream so far, this frame among it.

    Channels are chosen by their variance over all cells so far, added up frame by frame after Chan, Golub and LeVeque
    (1979), so that a large mean does not swallow it.  On the first frame everything is as for a clip of one frame.

    Memory: that of Means, and centre float32 [D] and variance float32 [D], of each channel over all cells so far.
    """

    def seen(self, cells: Cells, memory: Memory) -> tuple[Tensor, Tensor, Memory]:
        """Give the frame's rows [N, C], the stream's mean [C], and what to remember."""
        features = tame(cells.features)
        centre, variance = features.mean(0), features.var(0, correction=0)
        if "centre" in memory:
            share = 1.0 / (cells.number + 1)
            gap = centre - memory["centre"]
            variance = torch.lerp(memory["variance"], variance, share) + share * (1.0 - share) * gap.square()
            centre = memory["centre"] + share * gap
        channels = calm_channels(variance)
        rows = units(features, channels)
        means = Means.read(memory, centre).with_frame(rows, channels)
        return rows, means.mean[channels], {**means.to_memory(), "centre": centre, "variance": variance}


@dataclass(frozen=True, slots=True)
class VideoOutlier:
    """Rate a cell by how unlike it is to the mean of its frame and to the mean of the stream so far.

    VidCom2 (EMNLP 2025) keeps the lowest v + f, v = g(x, video) and f = g(x, frame), over a whole clip; here the video
    ends with this frame.  The score is 10 - (v + f), within 0..10.  Memory: that of VideoMean.
    """

    video: VideoMean = field(default=VideoMean())
    traits: Traits = field(default=Traits(remembers=True, per_cell=10))

    def score(self, cells: Cells, memory: Memory) -> Tensor:
        """Rate the cells, float32 [N]."""
        rows, mean, _ = self.video.seen(cells, memory)
        return TOP - closeness(rows, mean) - closeness(rows, rows.mean(0))

    def learn(self, cells: Cells, kept: Tensor, memory: Memory) -> Memory:
        """Take the whole frame into the means."""
        return self.video.seen(cells, memory)[2]
