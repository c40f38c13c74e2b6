import math

import pytest
import torch
from torch import Tensor

from onlooker.pruning.gaussian import Means, Outlier, VideoMean, VideoOutlier, calm_channels, closeness, units
from onlooker.pruning.stages import Cells, Memory

Rows = list[list[float]]


def naive_closeness(row: list[float], centre: list[float]) -> float:
    apart = sum((a - b) ** 2 for a, b in zip(row, centre, strict=True))
    return sum(math.exp(-apart / (2 * 2.0**power)) for power in range(-3, 2))


def naive_channels(rows: Rows) -> list[int]:
    columns = list(zip(*rows, strict=True))
    means = [sum(column) / len(column) for column in columns]
    spread = [sum((v - m) ** 2 for v in column) / len(column) for column, m in zip(columns, means, strict=True)]
    return sorted(sorted(range(len(spread)), key=lambda channel: spread[channel])[: max(1, len(spread) // 2)])


def naive_units(rows: Rows, channels: list[int]) -> Rows:
    cut = [[row[channel] for channel in channels] for row in rows]
    return [[value / (math.hypot(*row) or 1.0) for value in row] for row in cut]


def naive_mean(rows: Rows) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def stream(frames: int, cells: int, dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.linspace(-1, 1, dim)  # so that the calm channels are the same in every frame
    return scale * (torch.randn(dim, generator=generator) + torch.randn(frames, cells, dim, generator=generator))


def run(scorer: Outlier | VideoOutlier, frames: Tensor) -> tuple[list[Tensor], Memory]:
    memory: Memory = {}
    scores = []
    for number, features in enumerate(frames):
        cells = Cells(features, (1, len(features)), number)
        scores.append(scorer.score(cells, memory))
        memory = scorer.learn(cells, torch.zeros(len(features), dtype=torch.bool), memory)
    return scores, memory


def test_closeness_is_five_gaussians() -> None:
    rows, centre = torch.randn(6, 4), torch.randn(4)
    expected = [naive_closeness(row, centre.tolist()) for row in rows.tolist()]
    torch.testing.assert_close(closeness(rows, centre), torch.tensor(expected))
    assert closeness(centre[None], centre).item() == 5.0


@pytest.mark.parametrize(
    ("variance", "channels"),
    [([3.0, 1.0, 2.0, 0.5], [1, 3]), ([1.0, 1.0, 1.0, 1.0], [0, 1]), ([7.0], [0]), ([3.0, 2.0, 1.0], [2])],
)
def test_calm_channels_are_the_half_that_varies_least(variance: list[float], channels: list[int]) -> None:
    assert calm_channels(torch.tensor(variance)).tolist() == channels


def test_blank_rows_stay_blank() -> None:
    rows = units(torch.tensor([[0.0, 0.0, 9.0], [3.0, 4.0, 9.0]]), torch.tensor([0, 1]))
    torch.testing.assert_close(rows, torch.tensor([[0.0, 0.0], [0.6, 0.8]]))


def test_each_channel_is_averaged_over_the_frames_that_it_took_part_in() -> None:
    means = Means.read({}, torch.zeros(3))
    means = means.with_frame(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 1]))
    means = means.with_frame(torch.tensor([[5.0, 6.0]]), torch.tensor([1, 2]))
    assert means.times.tolist() == [1, 2, 1]
    assert means.mean.tolist() == [2.0, 4.0, 6.0]


@pytest.mark.parametrize("seed", range(5))
def test_outliers_of_frame_and_past_equal_naive_loops(seed: int) -> None:
    frames = stream(6, 7, 8, seed)
    scores, _ = run(Outlier(), frames)
    past: Rows = []
    for features, got in zip(frames.double().tolist(), scores, strict=True):
        assert naive_channels(features) == [0, 1, 2, 3]
        rows = naive_units(features, [0, 1, 2, 3])
        mean = naive_mean(rows)
        expected = [10 - naive_closeness(row, mean) for row in rows]
        if past:
            before = naive_mean(past)
            expected = [value - naive_closeness(row, before) for value, row in zip(expected, rows, strict=True)]
        torch.testing.assert_close(got, torch.tensor(expected), atol=1e-4, rtol=0)
        past.append(mean)


@pytest.mark.parametrize("seed", range(5))
def test_outliers_of_frame_and_video_equal_the_published_rule_on_the_clip_so_far(seed: int) -> None:
    frames = stream(6, 7, 8, seed)
    scores, _ = run(VideoOutlier(), frames)
    for number, got in enumerate(scores):
        clip = [features for frame in frames[: number + 1].double().tolist() for features in frame]
        channels = naive_channels(clip)
        assert channels == [0, 1, 2, 3]
        video = naive_mean(naive_units(clip, channels))
        rows = naive_units(clip[-7:], channels)
        mean = naive_mean(rows)
        expected = [10 - naive_closeness(row, video) - naive_closeness(row, mean) for row in rows]
        torch.testing.assert_close(got, torch.tensor(expected), atol=1e-4, rtol=0)


def test_variance_over_all_cells_so_far_does_not_drown_in_a_large_mean() -> None:
    frames = 1000.0 + torch.randn(30, 5, 4, generator=torch.Generator().manual_seed(0))
    _, memory = run(VideoOutlier(), frames)
    cells = frames.double().reshape(-1, 4)
    torch.testing.assert_close(memory["centre"].double(), cells.mean(0), rtol=1e-6, atol=0)
    torch.testing.assert_close(memory["variance"].double(), cells.var(0, correction=0), rtol=1e-3, atol=0)


def test_channels_that_vary_over_time_are_left_out_of_the_video() -> None:
    """A channel that is the same all over each frame, but another in each frame, varies: the frame cannot tell."""
    frames = torch.randn(8, 5, 2, generator=torch.Generator().manual_seed(0))
    frames[:, :, 1] = 100.0 * torch.randn(8, 1, generator=torch.Generator().manual_seed(1))
    memory: Memory = {}
    for number, features in enumerate(frames):
        cells = Cells(features, (1, 5), number)
        _, _, memory = VideoMean().seen(cells, memory)
    assert memory["times"].tolist() == [7, 1]


@pytest.mark.parametrize("scorer", [Outlier(), VideoOutlier()])
def test_the_odd_cell_scores_highest(scorer: Outlier | VideoOutlier) -> None:
    frames = torch.randn(8, generator=torch.Generator().manual_seed(0)).repeat(4, 9, 1)
    frames = frames + 0.05 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(1))
    frames[3, 4] = torch.randn(8, generator=torch.Generator().manual_seed(2))
    scores, _ = run(scorer, frames)
    assert scores[3].argmax() == 4


@pytest.mark.parametrize("scorer", [Outlier(), VideoOutlier()])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 3e38, 0.0])
def test_broken_or_blank_cells_leave_the_memory_finite(scorer: Outlier | VideoOutlier, bad: float) -> None:
    frames = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    frames[1, 2] = bad
    frames[2] = 0.0
    scores, memory = run(scorer, frames)
    assert all(tensor.isfinite().all() for tensor in memory.values())
    assert all(((score >= 0) & (score <= 10)).all() for score in scores)
