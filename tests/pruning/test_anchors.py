import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onlooker.pruning.anchors import AnchorFrames, SalientAndContext, salient_cells
from onlooker.pruning.credit import SCALE
from onlooker.pruning.density import density_peaks
from onlooker.pruning.stages import Cells, Memory


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def spend(budget: AnchorFrames, features: Tensor, whole: frozenset[int] = frozenset()) -> list[int]:
    memory: Memory = {}
    counts = []
    cells = features.shape[1]
    for number, rows in enumerate(features):
        frame = Cells(rows, (1, cells), number, number in whole)
        count, memory = budget.grant(torch.zeros(cells), frame, memory)
        counts.append(int(count))
    return counts


def scenes(lengths: list[int], cells: int, seed: int = 0) -> Tensor:
    """Make still scenes [T, N, D] of these lengths, whose mean tokens are far apart."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for number, length in enumerate(lengths):
        rows = 0.1 * torch.randn(cells, 8, generator=generator)
        rows[:, number % 8] += 1
        parts.append(rows.repeat(length, 1, 1))
    return torch.cat(parts)


@pytest.mark.parametrize("seed", range(12))
def test_segments_and_credit_equal_naive_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cells, tau, every, share, rate = 10, 0.9, 3, 0.6, 0.37
    steps = torch.randn(40, cells, 6, generator=generator)
    features = steps[0] + (torch.rand(40, 1, 1, generator=generator) * steps).cumsum(0)
    refill = round(rate * cells * SCALE)
    counts, credit, age = [], 0.0, 0
    for t in range(40):
        mean = features[t].mean(0).tolist()
        cut = t == 0 or cosine(mean, features[t - 1].mean(0).tolist()) < tau
        age = 0 if cut else age + 1
        credit += refill / SCALE
        part = share * refill / SCALE
        salient = max(int((t + 1) * part + 1e-6) - int(t * part + 1e-6), 1)
        if age % every == 0:
            count = min(int(credit + 1e-6), cells)
        else:
            count = max(salient, math.ceil(credit - cells - 1e-6))
        count = min(max(min(count, int(credit + 1e-6)), 1), cells)
        credit -= count
        counts.append(count)
    assert spend(AnchorFrames(refill, 1, tau, every, share), features) == counts
    assert len(set(counts)) > 2


def test_context_is_paid_in_every_fourth_frame_of_a_segment() -> None:
    """Of 5 tokens a frame 3 are salient; a segment's first frame and every fourth after it get the rest."""
    counts = spend(AnchorFrames(5 * SCALE, 0), scenes([10, 5], 40))
    assert counts == [5, 3, 3, 3, 11, 3, 3, 3, 11, 3, 7, 3, 3, 3, 11]


@given(st.integers(1, 12), st.floats(0.02, 1), st.lists(st.integers(1, 9), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_the_budget_keeps_its_laws(cells: int, rate: float, lengths: list[int]) -> None:
    refill = round(rate * cells * SCALE)
    floor = refill // SCALE
    counts = spend(AnchorFrames(refill, floor), scenes(lengths, cells))
    for end in range(1, len(counts) + 1):
        assert sum(counts[:end]) * SCALE <= end * refill
        for start in range(end):
            assert sum(counts[start:end]) * SCALE <= (cells + 1) * SCALE + (end - start) * refill
    assert min(counts) >= floor
    assert sum(counts) * SCALE > len(counts) * refill - (cells + 1) * SCALE, "what is not spent is at most a frame"


def test_a_whole_frame_is_paid_off() -> None:
    counts = spend(AnchorFrames(4 * SCALE, 1), scenes([200], 16), frozenset({9}))
    assert counts[9] == 16
    assert counts[10] == 1
    assert sum(counts) <= 200 * 4


@pytest.mark.parametrize("seed", range(12))
def test_choice_equals_naive_loops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cells, refill = 14, 5 * SCALE
    features = torch.randn(cells, 6, generator=generator)
    scores = torch.rand(cells, generator=generator)
    peaks = density_peaks(features, 4).tolist()
    for count in range(cells + 1):
        frame = Cells(features, (2, 7), seed)
        quota = min(salient_cells(refill, seed, 1, 0.6), count)
        salient = sorted(range(cells), key=lambda n: -scores[n].item())[:quota]
        others = [n for n in range(cells) if n not in salient]
        anchors = sorted(others, key=lambda n: -peaks[n])[: count - quota]
        owner = []
        for n in range(cells):
            if n in salient or n in anchors:
                owner.append(n)
            elif anchors:
                rows = features.tolist()
                owner.append(max(sorted(anchors), key=lambda place: cosine(rows[n], rows[place])))
            else:
                owner.append(-1)
        choice = SalientAndContext(refill, 1).select(scores, torch.tensor(count), frame, {})
        assert choice.kept.nonzero().squeeze(1).tolist() == sorted(salient + anchors)
        assert choice.owner is not None
        assert choice.owner.tolist() == owner


@given(st.integers(1, 50), st.floats(0.01, 1), st.integers(0, 10**12))
@settings(deadline=None)
def test_salient_cells_are_their_share_over_time(cells: int, rate: float, start: int) -> None:
    refill = round(rate * cells * SCALE)
    counts = [salient_cells(refill, number, 0, 0.6) for number in range(start, start + 50)]
    assert abs(sum(counts) - 50 * 0.6 * refill / SCALE) < 1 + 1e-3
    assert max(counts) - min(counts) <= 1


def test_bad_cells_do_not_poison_the_memory() -> None:
    features = torch.ones(2, 4, 3)
    features[0, 1] = math.nan
    features[0, 2] = math.inf
    memory: Memory = {}
    for number in range(2):
        _, memory = AnchorFrames(SCALE, 1).grant(torch.zeros(4), Cells(features[number], (2, 2), number), memory)
        assert memory["mean"].isfinite().all()
