import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.pruning.budget import SCALE, Bucket, Quota, Split, otsu_threshold
from onlooker.pruning.stages import Cells, Memory

SCORES = st.lists(st.floats(0, 2, width=32), min_size=1, max_size=40)


def naive_otsu(scores: list[float]) -> set[int]:
    """Try every edge between bins; give the lower classes' last bins of all best splits."""
    bins = [min(127, int(score * 64)) for score in scores]
    found: dict[int, float] = {}
    for edge in range(127):
        low, high = [b for b in bins if b <= edge], [b for b in bins if b > edge]
        if low and high:
            gap = sum(high) / len(high) - sum(low) / len(low)
            found[edge] = len(low) * len(high) * gap * gap
    best = max(found.values(), default=0.0)
    return {edge for edge, value in found.items() if value >= best * (1 - 1e-12)}


@given(SCORES)
@settings(deadline=None)
def test_otsu_equals_a_search_over_all_thresholds(scores: list[float]) -> None:
    best = naive_otsu(scores)
    threshold = otsu_threshold(torch.tensor(scores)).item()
    if best:
        assert round(threshold * 64) - 1 in best
    else:
        assert threshold == 0


def test_otsu_finds_the_gap_between_two_groups() -> None:
    threshold = otsu_threshold(torch.tensor([0.05, 0.06, 0.1, 0.9, 1.0]))
    assert 0.1 < threshold <= 0.9


@pytest.mark.parametrize(
    ("scores", "count"),
    [
        ([0.001, 0.002, 0.015, 0.019], 0),  # noise alone, though Otsu would split it
        ([0.001] * 15 + [0.4], 1),  # a small thing moves before a still background
        ([0.4, 0.5, 0.9, 1.0], 4),  # a cut: the lower class is new as well
        ([0.1] * 8, 8),  # everything changed alike
        ([0.03, 0.03, 0.3, 0.3], 2),
    ],
)
def test_guards_say_what_a_split_means(scores: list[float], count: int) -> None:
    assert Split(noise=0.02, cut=0.45).count(torch.tensor(scores)).item() == count


def spend(bucket: Bucket, demands: list[int], cells: int, whole: frozenset[int] = frozenset()) -> list[int]:
    memory: Memory = {}
    counts = []
    for number, demand in enumerate(demands):
        scores = torch.cat([torch.full((demand,), 0.4), torch.full((cells - demand,), 0.0)])
        frame = Cells(torch.zeros(cells, 1), (1, cells), number, number in whole)
        count, memory = bucket.grant(scores, frame, memory)
        counts.append(int(count))
    return counts


@given(
    st.integers(2, 12),
    st.floats(0.05, 1),
    st.integers(1, 4),
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
)
@settings(deadline=None)
def test_bucket_keeps_its_laws(cells: int, rate: float, depth: int, wishes: list[float]) -> None:
    refill = round(rate * cells * SCALE)
    floor = refill // SCALE // 2
    demands = [round(wish * cells) for wish in wishes]
    counts = spend(Bucket(Split(cut=2.0), refill, floor, depth), demands, cells)
    assert counts[0] == cells
    for end in range(1, len(counts) + 1):
        assert sum(counts[:end]) * SCALE <= cells * SCALE + end * refill
        for start in range(end):
            assert sum(counts[start:end]) * SCALE <= depth * cells * SCALE + (end - start) * refill
    for count, demand in zip(counts[1:], demands[1:], strict=True):
        assert floor <= count <= max(demand, floor)


def test_average_is_the_rate_when_everything_is_news() -> None:
    counts = spend(Bucket(Split(), round(0.3 * 16 * SCALE), 2), [16] * 400, 16)
    assert sum(counts) == pytest.approx(400 * 0.3 * 16, rel=0.01)
    assert min(counts) >= 2


def test_saved_credit_pays_for_a_burst_and_is_bounded() -> None:
    counts = spend(Bucket(Split(), 4 * SCALE, 2, depth=3), [16] + [0] * 500 + [16] * 10, 16)
    assert counts[1:501] == [2] * 500
    assert counts[501:506] == [16, 16, 16, 12, 4]


def test_whole_frames_come_as_often_as_set_and_are_paid_off() -> None:
    counts = spend(Bucket(Split(), 4 * SCALE, 1, refresh_frames=10), [9] * 1001, 16)
    assert [n for n, count in enumerate(counts) if count == 16] == list(range(0, 1001, 10))
    assert sum(counts[:1000]) <= 16 + 4 * 1000


def test_a_whole_frame_can_be_ordered() -> None:
    counts = spend(Bucket(Split(), 4 * SCALE, 1), [0] * 8, 16, frozenset({5}))
    assert counts == [16, 1, 1, 1, 1, 16, 1, 1]


@given(st.integers(1, 30), st.floats(0.01, 1), st.integers(1, 80))
@settings(deadline=None)
def test_quota_sums_exactly(cells: int, rate: float, frames: int) -> None:
    refill = round(rate * cells * SCALE)
    counts = []
    for number in range(frames):
        count, _ = Quota(refill).grant(torch.zeros(cells), Cells(torch.zeros(cells, 1), (1, cells), number), {})
        counts.append(int(count))
    assert sum(counts) == min(frames * refill // SCALE, frames * cells)
    assert max(counts) - min(counts) <= 1
