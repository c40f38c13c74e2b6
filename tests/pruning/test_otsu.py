import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.pruning.otsu import otsu_threshold

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
