import math

import pytest
import torch
from torch import Tensor

from onlooker.pruning.credit import SCALE, Account
from onlooker.pruning.leaders import Diverse, Leaders, Savings
from onlooker.pruning.stages import Cells, Memory


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def admit(gate: Leaders, features: Tensor, whole: frozenset[int] = frozenset()) -> tuple[list[bool], Memory]:
    memory: Memory = {}
    result = []
    for number, rows in enumerate(features):
        yes, memory = gate.admit(Cells(rows, (1, len(rows)), number, number in whole), memory)
        result.append(bool(yes))
    return result, memory


def naive_leaders(features: Tensor, places: int, often: float, step: float, threshold: float | None) -> list[bool]:
    """Follow a list of (vector, frame of its last match), the oldest match leaving first."""
    leaders: list[tuple[list[float], int]] = []
    distance = 0.1
    result = []
    for t, rows in enumerate(features):
        mean = rows.mean(0).tolist()
        alike = [cosine(mean, leader) for leader, _ in leaders]
        limit = distance if threshold is None else 1 - threshold
        new = not leaders or 1 - max(alike) > limit
        if new:
            if len(leaders) == places:
                oldest = min(range(places), key=lambda i: leaders[i][1])
                leaders[oldest] = (mean, t)
            else:
                leaders.append((mean, t))
            distance *= math.exp(step * (1 - often))
        else:
            best = alike.index(max(alike))
            leaders[best] = (leaders[best][0], t)
            distance *= math.exp(-step * often)
        distance = min(max(distance, 1e-4), 1.0)
        result.append(new)
    return result


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("threshold", [None, 0.6])
def test_leaders_equal_naive_loops(seed: int, threshold: float | None) -> None:
    generator = torch.Generator().manual_seed(seed)
    scenes = torch.randn(9, 4, 5, generator=generator)
    order = torch.randint(0, 9, (120,), generator=generator)
    features = scenes[order] + 0.2 * torch.randn(120, 4, 5, generator=generator)
    got, _ = admit(Leaders(0.3, threshold, places=4), features)
    assert got == naive_leaders(features, 4, 0.3, 0.2, threshold)
    assert 1 < sum(got) < 120


def test_a_scene_that_comes_again_is_known() -> None:
    scenes = torch.eye(5)[:, None, :].repeat(1, 3, 1)
    got, _ = admit(Leaders(0.1, 0.5), torch.cat([scenes, scenes, scenes]))
    assert got == [True] * 5 + [False] * 10


def test_the_leader_that_was_matched_longest_ago_leaves() -> None:
    a, b, c = torch.eye(3)[:, None, :]
    got, _ = admit(Leaders(0.1, 0.5, places=2), torch.stack([a, b, a, c, a, b]))
    assert got == [True, True, False, True, False, True], "b was matched longest ago and gave way to c"


@pytest.mark.parametrize("often", [0.1, 0.3])
def test_leaders_come_about_as_often_as_set(often: float) -> None:
    """Frames of random directions, of a walk that never stands still."""
    steps = torch.randn(900, 1, 12, generator=torch.Generator().manual_seed(3))
    walk = torch.zeros(1, 12)
    features = []
    for step in steps:
        walk = 0.97 * walk + step
        features.append(walk)
    got, _ = admit(Leaders(often), torch.stack(features))
    assert sum(got[300:]) / 600 == pytest.approx(often, rel=0.2)


def test_a_still_picture_makes_one_leader_however_long_it_stands() -> None:
    features = torch.randn(1, 6, 300, generator=torch.Generator().manual_seed(0)) * 20
    got, _ = admit(Leaders(1.0), features.repeat(100, 1, 1))
    assert got == [True] + [False] * 99


def test_a_frame_that_is_wanted_whole_is_let_in() -> None:
    got, _ = admit(Leaders(0.1, 0.5), torch.ones(6, 2, 3), frozenset({4}))
    assert got == [True, False, False, False, True, False]


def test_blank_and_bad_frames_do_not_poison_the_leaders() -> None:
    features = torch.zeros(5, 2, 3)
    features[1, 0, 1] = math.nan
    features[2] = math.inf
    features[4] = 1.0
    got, memory = admit(Leaders(0.1, 0.5), features)
    assert got == [True, False, False, False, True]
    assert memory["leaders"].isfinite().all()


def test_what_was_saved_is_spent_on_a_frame_that_is_let_in() -> None:
    budget = Savings(Account(2 * SCALE, 1, depth=2))
    doors = [True, False, False, True, True, *[False] * 50, True, True, True]
    memory: Memory = {}
    counts = []
    for number, door in enumerate(doors):
        frame = Cells(torch.zeros(16, 1), (4, 4), number, open=torch.tensor(door))
        count, memory = budget.grant(torch.zeros(16), frame, memory)
        counts.append(int(count))
    assert counts == [16, 0, 0, 6, 2, *[0] * 50, 16, 16, 4]


@pytest.mark.parametrize("seed", range(12))
def test_diverse_cells_equal_naive_greedy_choice(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cells = 3 + seed
    features = torch.randn(cells, 4, generator=generator)
    scores = torch.rand(cells, generator=generator)
    rows = features.tolist()
    for count in range(cells + 1):
        kept: list[int] = []
        while len(kept) < count:
            worth = {}
            for n in set(range(cells)) - set(kept):
                likeness = max([cosine(rows[n], rows[k]) for k in kept], default=0.0)
                worth[n] = scores[n].item() * (1 - max(likeness, 0.0))
            kept.append(max(worth, key=lambda n: worth[n]))
        choice = Diverse().select(scores, torch.tensor(count), Cells(features, (1, cells), 0), {})
        assert choice.kept.nonzero().squeeze(1).tolist() == sorted(kept)


def test_equal_cells_are_taken_in_order() -> None:
    frame = Cells(torch.zeros(4, 2), (2, 2), 0)
    assert Diverse().select(torch.ones(4), torch.tensor(2), frame, {}).kept.tolist() == [True, True, False, False]
    assert Diverse().select(torch.zeros(4), torch.tensor(3), frame, {}).kept.tolist() == [True, True, True, False]
