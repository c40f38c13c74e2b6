import math

import pytest
import torch
from torch import Tensor

from onlooker.pruning.credit import SCALE, Account
from onlooker.pruning.runs import Rebased, Runs, Starts
from onlooker.pruning.stages import Cells, Memory


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def frames(seed: int, count: int, cells: int) -> tuple[Tensor, Tensor]:
    """Make features [T, N, D] of which a part changes from frame to frame, and saliency [T, N, 2]."""
    generator = torch.Generator().manual_seed(seed)
    now = torch.randn(cells, 5, generator=generator)
    result = []
    for _ in range(count):
        fresh = torch.randn(cells, 5, generator=generator)
        now = torch.where(torch.rand(cells, 1, generator=generator) < 0.3, fresh, now + 0.1 * fresh)
        result.append(now)
    return torch.stack(result), 3 * torch.rand(count, cells, 2, generator=generator)


@pytest.mark.parametrize("seed", range(12))
def test_runs_budget_and_choice_equal_naive_loops(seed: int) -> None:
    cells, tau, rate, horizon, floor, depth = 12, 0.8, 0.3, 5, 1, 2
    features, saliency = frames(seed, 20, cells)
    refill = round(rate * cells * SCALE)
    scorer, budget = Runs(tau), Rebased(Account(refill, floor, depth), horizon)
    memory: Memory = {}
    account: Memory = {}
    share, credit = math.nan, cells - refill / SCALE
    for t in range(20):
        rows, last = features[t].tolist(), saliency[t, :, -1].tolist()
        new = [t == 0 or cosine(rows[n], features[t - 1, n].tolist()) <= tau for n in range(cells)]
        seen = sum(new) / cells
        share = seen if t == 0 else share + (seen - share) / min(t + 1, horizon)
        wanted = min(math.ceil(min(rate / share, 1) * sum(new) - 1e-3), sum(new)) if any(new) else 0
        credit = min(credit + refill / SCALE, depth * cells)
        count = min(max(wanted, floor), max(int(credit), floor))
        credit -= count
        order = sorted(range(cells), key=lambda n: (not new[n], -last[n]))
        kept = sorted(order[:count])
        owner = []
        for n in range(cells):
            nearest = min(kept, key=lambda place: math.dist(rows[n], rows[place]))
            owner.append(n if n in kept else nearest if new[n] else -1)

        frame = Cells(features[t], (3, 4), t, extras={"saliency": saliency[t]})
        scores = scorer.score(frame, memory)
        assert (scores >= 1).tolist() == new
        granted, account = budget.grant(scores, frame, account)
        assert int(granted) == count
        choice = Starts().select(scores, granted, frame, memory)
        assert choice.kept.nonzero().squeeze(1).tolist() == kept
        assert choice.owner is not None
        assert choice.owner.tolist() == owner
        memory = scorer.learn(frame, choice.kept, memory)


def test_a_still_picture_is_one_run_for_each_cell() -> None:
    features, saliency = frames(0, 1, 6)
    frame = Cells(features[0], (2, 3), 0, extras={"saliency": saliency[0]})
    scorer = Runs(0.8)
    memory = scorer.learn(frame, torch.ones(6, dtype=torch.bool), {})
    scores = scorer.score(frame, memory)
    assert scores.max() < 1
    assert scores.argsort().tolist() == saliency[0, :, -1].argsort().tolist()


def test_what_still_cells_save_goes_to_changing_ones() -> None:
    """Half of the cells change in each frame: all of them are affordable at a rate of a half."""
    budget = Rebased(Account(4 * SCALE, 1))
    scores = torch.tensor([1.5] * 4 + [0.5] * 4)
    memory: Memory = {}
    counts = []
    for number in range(300):
        first = torch.full((8,), 1.5)
        count, memory = budget.grant(scores if number else first, Cells(torch.zeros(8, 1), (2, 4), number), memory)
        counts.append(int(count))
    assert counts[-50:] == [4] * 50


def test_a_frame_can_be_ordered_whole() -> None:
    count, _ = Rebased(Account(2 * SCALE, 1)).grant(torch.zeros(8), Cells(torch.zeros(8, 1), (2, 4), 3, whole=True), {})
    assert int(count) == 8


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
def test_bad_or_blank_cells_do_not_poison_the_memory(bad: float) -> None:
    features, saliency = frames(1, 1, 4)
    features[0, 2] = bad
    frame = Cells(features[0], (2, 2), 0, extras={"saliency": saliency[0]})
    scorer = Runs(0.8)
    memory = scorer.learn(frame, torch.ones(4, dtype=torch.bool), {})
    assert memory["previous"].isfinite().all()
    scores = scorer.score(frame, memory)
    assert scores.isfinite().all()
    assert scores.max() < 1, "a blank cell that stays blank goes on"


def test_nothing_is_owned_where_nothing_is_kept() -> None:
    frame = Cells(torch.ones(3, 2), (1, 3), 0)
    choice = Starts().select(torch.full((3,), 1.5), torch.tensor(0), frame, {})
    assert not choice.kept.any()
    assert choice.owner is not None
    assert choice.owner.tolist() == [-1, -1, -1]
