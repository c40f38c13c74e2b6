import math

import pytest
import torch
from torch import Tensor

from onlooker.pruning.credit import SCALE, Account
from onlooker.pruning.gaussian import VideoMean, closeness
from onlooker.pruning.stages import Cells, Memory
from onlooker.pruning.uniqueness import Uniqueness


def wishes(budget: Uniqueness, frames: Tensor) -> list[int]:
    memory: Memory = {}
    counts = []
    for number, features in enumerate(frames):
        cells = Cells(features, (1, len(features)), number)
        count, memory = budget.grant(torch.zeros(len(features)), cells, memory)
        counts.append(int(count))
    return counts


def unlike(frames: Tensor) -> list[float]:
    memory: Memory = {}
    found = []
    for number, features in enumerate(frames):
        rows, mean, memory = VideoMean().seen(Cells(features, (1, len(features)), number), memory)
        found.append(-closeness(rows, mean).double().mean().item())
    return found


def rich(rate: float, cells: int, horizon: int = 64) -> Uniqueness:
    """Make a budget whose account does not run out."""
    return Uniqueness(Account(round(rate * cells * SCALE), depth=10**4), horizon=horizon)


def stream(frames: int, cells: int, seed: int) -> Tensor:
    """Make frames that are more and less alike."""
    generator = torch.Generator().manual_seed(seed)
    scene = torch.randn(8, generator=generator)
    size = torch.rand(frames, 1, 1, generator=generator) ** 2
    return scene + size * torch.randn(frames, cells, 8, generator=generator)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("horizon", [4, 10**9])
def test_the_share_is_a_softmax_over_the_frames_so_far(seed: int, horizon: int) -> None:
    """With a horizon without end, the published share on the clip so far."""
    cells, rate = 400, 0.1
    frames = stream(12, cells, seed)
    found = unlike(frames)
    counts = wishes(rich(rate, cells, horizon), frames)
    assert max(counts) - min(counts) > 10
    credit = float(cells)
    for number, count in enumerate(counts):
        fade = [(1 - 1 / horizon) ** (number - past) for past in range(number + 1)]
        most = max(found[: number + 1])
        raised = [f * math.exp((u - most) / 0.01) for f, u in zip(fade, found, strict=False)]
        share = rate * (1 + raised[-1] / sum(raised) - 1 / sum(fade))
        assert abs(count - min(share * cells, credit)) <= 0.6 + 1e-3 * cells * rate
        credit += rate * cells - count


def test_a_first_frame_gets_the_rate_and_an_odd_one_nearly_twice_as_much() -> None:
    frames = stream(1, 40, 0).repeat(12, 1, 1)
    frames[10] = stream(1, 40, 1)[0]
    counts = wishes(rich(0.25, 40), frames)
    assert counts[0] == 10
    assert counts[10] in (19, 20)
    assert all(count in (9, 10) for number, count in enumerate(counts) if number != 10)


def test_frames_that_grow_ever_less_alike_stay_within_the_bucket() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(60, 16, 8, generator=generator)
    frames = 1.0 + torch.linspace(0, 1, 60)[:, None, None] * noise
    paid = wishes(Uniqueness(Account(4 * SCALE)), frames)
    for end in range(1, 61):
        assert sum(paid[:end]) <= 16 + end * 4
    assert sum(paid) == 16 + 59 * 4, "they ask for more than the account has"


def test_at_least_one_cell_is_asked_for() -> None:
    counts = wishes(Uniqueness(Account(SCALE // 4)), stream(40, 4, 0))
    assert set(counts) == {0, 1}
    assert sum(counts) == 4 + 39 // 4


def test_still_is_what_stillness_gets() -> None:
    budget = Uniqueness(Account(4 * SCALE, 2))
    counts = wishes(budget, stream(1, 16, 3).repeat(400, 1, 1))
    assert sum(counts[200:]) / 200 <= budget.still(16) == 4
    assert sum(counts[200:]) / 200 == pytest.approx(4, rel=0.05)


def test_a_broken_frame_does_not_spoil_the_next() -> None:
    frames = stream(6, 9, 0)
    frames[2] = math.nan
    memory: Memory = {}
    for number, features in enumerate(frames):
        cells = Cells(features, (3, 3), number)
        count, memory = rich(0.5, 9).grant(torch.zeros(9), cells, memory)
        assert 0 <= count <= 9
        assert all(tensor.isfinite().all() for tensor in memory.values())
