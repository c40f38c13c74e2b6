import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onlooker.pruning.budget import Quota
from onlooker.pruning.credit import SCALE, Account
from onlooker.pruning.quantile import Quantile, Share, Threshold, score_class
from onlooker.pruning.stages import Cells, Memory

SCORES = st.one_of(st.just(0.0), st.floats(0, 2, width=32), st.floats(2.0**-30, 2.0**-10, width=32))


def frame(cells: int, number: int, whole: bool = False) -> Cells:
    return Cells(torch.zeros(cells, 1), (1, cells), number, whole)


def spend(budget: Quantile | Share, frames: Tensor) -> list[int]:
    memory: Memory = {}
    counts = []
    for number, scores in enumerate(frames):
        count, memory = budget.grant(scores, frame(len(scores), number), memory)
        counts.append(int(count))
    return counts


def quantile(rate: float, cells: int, floor: int = 0, depth: int = 8) -> Quantile:
    return Quantile(Account(round(rate * cells * SCALE), floor, depth))


def test_threshold_counts_what_reaches_it() -> None:
    scores = torch.tensor([0.1, 0.5, 0.7, 0.0])
    assert Threshold(0.5).grant(scores, frame(4, 3), {})[0] == 2
    assert Threshold(0.9, floor=1).grant(scores, frame(4, 3), {})[0] == 1
    assert Threshold(0.9).grant(scores, frame(4, 0), {})[0] == 4
    assert Threshold(0.9).grant(scores, frame(4, 3, whole=True), {})[0] == 4


def test_a_threshold_of_nothing_keeps_stillness_too() -> None:
    assert Threshold(0.5).still(9) == 0
    assert Threshold(0.5, floor=2).still(9) == 2
    assert Threshold(0.0).still(9) == 9


@given(st.integers(1, 20), st.floats(0.05, 1), st.integers(1, 40))
@settings(deadline=None)
def test_share_is_a_quota_after_a_whole_frame(cells: int, rate: float, frames: int) -> None:
    quota = Quota(round(rate * cells * SCALE))
    share = Share(quota)
    counts = spend(share, torch.zeros(frames, cells))
    expected = [int(quota.grant(torch.zeros(cells), frame(cells, n), {})[0]) for n in range(frames)]
    assert counts == [cells, *expected[1:]]
    assert sum(counts) * SCALE <= cells * SCALE + frames * quota.refill
    assert share.grant(torch.zeros(cells), frame(cells, 5, whole=True), {})[0] == cells
    assert share.still(cells) == quota.still(cells)


@given(st.floats(2.0**-16, 2.0, exclude_max=True, width=32))
def test_a_class_is_a_sixteenth_of_a_doubling(score: float) -> None:
    octave = math.floor(math.log2(score))
    expected = (octave + 16) * 16 + math.floor((score / 2.0**octave - 1) * 16) + 1
    assert score_class(torch.tensor([score])).item() == expected


def test_the_ends_of_the_classes() -> None:
    ends = [0.0, -0.0, 1e-40, 2.0**-16 * 0.999, 2.0**-16, 1.999, 2.0]
    assert score_class(torch.tensor(ends)).tolist() == [0, 0, 0, 0, 1, 272, 272]


@given(st.integers(1, 12), st.floats(0.05, 1), st.integers(1, 4), st.data())
@settings(deadline=None)
def test_quantile_keeps_the_laws_of_its_account(cells: int, rate: float, depth: int, data: st.DataObject) -> None:
    frames = data.draw(st.lists(st.lists(SCORES, min_size=cells, max_size=cells), min_size=1, max_size=30))
    refill = round(rate * cells * SCALE)
    floor = refill // SCALE // 2
    counts = spend(Quantile(Account(refill, floor, depth)), torch.tensor(frames))
    assert counts[0] == cells
    for end in range(1, len(counts) + 1):
        assert sum(counts[:end]) * SCALE <= cells * SCALE + end * refill
        for start in range(end):
            assert sum(counts[start:end]) * SCALE <= depth * cells * SCALE + (end - start) * refill
    assert all(floor <= count <= cells for count in counts)


@given(st.integers(1, 8), st.floats(0.05, 1), st.integers(2, 9), st.data())
@settings(deadline=None)
def test_quantile_equals_a_sorted_list_of_the_past(cells: int, rate: float, horizon: int, data: st.DataObject) -> None:
    """What is asked for, from a list of every class with its weight, filled up from the highest."""
    frames = data.draw(st.lists(st.lists(SCORES, min_size=cells, max_size=cells), min_size=2, max_size=12))
    refill = round(rate * cells * SCALE)
    budget = Quantile(Account(refill, depth=10**4), horizon)
    memory: Memory = {"credit": torch.tensor(10**4 * cells * SCALE), "since": torch.tensor(0)}
    memory = {**memory, "seen": torch.zeros(273, dtype=torch.int64)}
    weights: dict[int, int] = {}
    for number, scores in enumerate(frames, start=1):
        classes = score_class(torch.tensor(scores)).tolist()
        weights = {place: weight - math.ceil(weight / horizon) for place, weight in weights.items()}
        for place in classes:
            weights[place] = weights.get(place, 0) + 4096
        left = sum(weights.values()) * (refill // cells) // SCALE
        wanted = 0
        for place in sorted(weights, reverse=True):
            taken = min(left, weights[place])
            left -= taken
            if place and weights[place]:
                wanted += math.floor(classes.count(place) * taken / weights[place] + 0.5)
        count, memory = budget.grant(torch.tensor(scores), frame(cells, number), memory)
        assert count == wanted


def change(frames: int, cells: int, seed: int = 0) -> Tensor:
    """Scores of a stream whose frames change by very different amounts."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.rand(frames, 1, generator=generator) ** 3
    return size * torch.rand(frames, cells, generator=generator)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.6])
def test_average_is_the_rate_where_enough_changes(rate: float) -> None:
    counts = spend(quantile(rate, 64), change(1500, 64))
    assert sum(counts[1:]) / 1499 / 64 == pytest.approx(rate, rel=0.06)


def test_busy_frames_get_more_as_in_a_sorted_clip() -> None:
    """Against the published budget, which sorts the whole clip: nearly the same counts."""
    scores = change(600, 64)
    published = (scores >= scores.flatten().sort(descending=True).values[600 * 16 - 1]).sum(1)
    counts = torch.tensor(spend(quantile(0.25, 64), scores))
    assert published.float().std() > 15
    assert (counts - published)[100:].abs().float().mean() < 4


def test_a_still_stream_asks_for_nothing() -> None:
    still = torch.full((40, 16), 1e-6)
    assert spend(quantile(0.25, 16, floor=1), still) == [16] + [1] * 39
    assert quantile(0.25, 16, floor=1).still(16) == 1


def test_a_thing_that_moves_before_a_still_wall_is_asked_for_alone() -> None:
    scores = torch.zeros(30, 16)
    scores[:, 5] = 0.3
    assert spend(quantile(0.25, 16), scores) == [16] + [1] * 29


def test_the_histogram_forgets_altogether() -> None:
    budget = quantile(0.5, 1)
    memory: Memory = {}
    for number in range(1, 1500):
        scores = torch.tensor([1.5 if number < 100 else 0.1])
        _, memory = budget.grant(scores, frame(1, number), memory)
    assert memory["seen"].count_nonzero() == 1
