import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onlooker.pruning.score import Novelty, Ticket, channel_weights, neighbour_distance
from onlooker.pruning.stages import Cells

GRIDS = st.tuples(st.integers(1, 5), st.integers(1, 5))


def naive_distance(features: Tensor, reference: Tensor, weights: Tensor, grid: tuple[int, int], reach: int) -> Tensor:
    height, width = grid
    scale = [math.sqrt(w) for w in weights.tolist()]
    a = [[value * s for value, s in zip(row, scale, strict=True)] for row in features.tolist()]
    b = [[value * s for value, s in zip(row, scale, strict=True)] for row in reference.tolist()]
    result = []
    for y in range(height):
        for x in range(width):
            best = -1.0
            for v in range(height):
                for u in range(width):
                    if abs(v - y) <= reach and abs(u - x) <= reach:
                        p, q = a[y * width + x], b[v * width + u]
                        dot = sum(i * j for i, j in zip(p, q, strict=True))
                        best = max(best, dot / (math.hypot(*p) * math.hypot(*q)))
            result.append(1 - best)
    return torch.tensor(result)


@given(GRIDS, st.integers(0, 2), st.integers(0, 10**6))
@settings(deadline=None)
def test_distance_equals_naive_loops(grid: tuple[int, int], reach: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cells = grid[0] * grid[1]
    features, reference = torch.randn(2, cells, 5, generator=generator)
    weights = torch.rand(5, generator=generator) + 0.1
    got = neighbour_distance(features, reference, weights, grid, reach)
    torch.testing.assert_close(got, naive_distance(features, reference, weights, grid, reach), atol=1e-5, rtol=0)


@given(st.integers(2, 5), st.integers(0, 2), st.integers(0, 10**6), st.sampled_from(["rotate", "mirror", "transpose"]))
@settings(deadline=None)
def test_turning_the_grid_turns_the_distance(side: int, reach: int, seed: int, how: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    planes = torch.randn(2, side, side, 6, generator=generator)

    def turn(plane: Tensor) -> Tensor:
        if how == "rotate":
            return plane.rot90(1, (0, 1))
        return plane.flip(1) if how == "mirror" else plane.transpose(0, 1)

    def distance(features: Tensor, reference: Tensor) -> Tensor:
        flat = (features.reshape(-1, 6), reference.reshape(-1, 6))
        return neighbour_distance(*flat, torch.ones(6), (side, side), reach).view(side, side)

    torch.testing.assert_close(turn(distance(*planes)), distance(*map(turn, planes)), atol=1e-6, rtol=0)


def test_a_thing_that_moves_by_one_cell_is_known_only_within_reach() -> None:
    scene = torch.eye(25)
    moved = scene.view(5, 5, 25).roll(1, 1).reshape(25, 25)
    inner = [y * 5 + x for y in range(5) for x in range(1, 5)]
    assert neighbour_distance(moved, scene, torch.ones(25), (5, 5), 1)[inner].max() < 1e-5
    assert neighbour_distance(moved, scene, torch.ones(25), (5, 5), 0).min() > 0.99


def test_blank_tokens_are_alike_and_unlike_others() -> None:
    blank, other = torch.zeros(1, 4), torch.ones(1, 4)
    assert neighbour_distance(blank, blank, torch.ones(4), (1, 1), 0).item() < 1e-6
    assert neighbour_distance(other, blank, torch.ones(4), (1, 1), 0).item() > 0.99


def test_a_huge_channel_does_not_hide_a_change() -> None:
    """One channel 500 times the others decides the plain cosine; scaled by its running mean square it does not."""
    torch.manual_seed(0)
    before, after = torch.randn(2, 4, 32)
    before[:, 3] = after[:, 3] = 500.0
    plain = neighbour_distance(after, before, torch.ones(32), (2, 2), 0)
    scaled = neighbour_distance(after, before, channel_weights(before.square().mean(0)), (2, 2), 0)
    assert plain.max() < 0.001
    assert scaled.min() > 0.3


def test_a_blank_picture_with_noise_is_not_new() -> None:
    torch.manual_seed(0)
    colour = torch.randn(32)
    novelty = Novelty()
    first, second = (Cells(colour + 0.01 * torch.randn(16, 32), (4, 4), number) for number in range(2))
    memory = novelty.learn(first, torch.ones(16, dtype=torch.bool), {})
    assert novelty.score(second, memory).max() < novelty.noise


def test_still_cells_are_rated_by_age_below_the_noise() -> None:
    novelty = Novelty(noise=0.02)
    scene = torch.eye(4)
    memory = novelty.learn(Cells(scene, (2, 2), 0), torch.ones(4, dtype=torch.bool), {})
    kept = torch.tensor([True, False, True, False])
    memory = novelty.learn(Cells(scene, (2, 2), 1), kept, memory)
    scores = novelty.score(Cells(scene, (2, 2), 2), memory)
    assert memory["age"].tolist() == [0, 1, 0, 1]
    assert scores[0] == scores[2] == 0
    assert 0 < scores[1] == scores[3] < 0.02


def test_only_kept_cells_enter_the_reference() -> None:
    novelty = Novelty()
    memory = novelty.learn(Cells(torch.zeros(2, 3), (1, 2), 0), torch.ones(2, dtype=torch.bool), {})
    memory = novelty.learn(Cells(torch.ones(2, 3), (1, 2), 1), torch.tensor([False, True]), memory)
    assert memory["reference"].tolist() == [[0, 0, 0], [1, 1, 1]]


def test_channel_scales_are_a_mean_first_and_forget_later() -> None:
    novelty = Novelty(horizon=4)
    kept = torch.ones(1, dtype=torch.bool)
    memory = novelty.learn(Cells(torch.tensor([[2.0]]), (1, 1), 0), kept, {})
    memory = novelty.learn(Cells(torch.tensor([[4.0]]), (1, 1), 1), kept, memory)
    assert memory["mean_square"].item() == pytest.approx((4 + 16) / 2)
    memory = novelty.learn(Cells(torch.tensor([[0.0]]), (1, 1), 50), kept, memory)
    assert memory["mean_square"].item() == pytest.approx(10 * 3 / 4)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_overflowing_token_does_not_spoil_the_memory(bad: float) -> None:
    novelty = Novelty()
    features = torch.ones(4, 8)
    features[1, 2] = bad
    memory = novelty.learn(Cells(features, (2, 2), 0), torch.ones(4, dtype=torch.bool), {})
    assert all(tensor.isfinite().all() for tensor in memory.values())
    assert novelty.score(Cells(features, (2, 2), 1), memory).isfinite().all()


def test_drawn_scores_depend_on_seed_and_frame_alone() -> None:
    def draw(seed: int, number: int) -> list[float]:
        return Ticket(seed).score(Cells(torch.zeros(9, 1), (3, 3), number), {}).tolist()

    assert draw(1, 5) == draw(1, 5)
    assert len({tuple(draw(seed, number)) for seed in range(3) for number in range(3)}) == 9
    assert not set(draw(1, 0)) & set(draw(1, 1)), "neighbouring frames share no draws"


def philox(counter: int, key: int) -> list[int]:
    """Philox 4x64-10 (Salmon et al. 2011), written out."""
    low = (1 << 64) - 1
    c = [counter >> (64 * i) & low for i in range(4)]
    k = [key & low, key >> 64]
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [b >> 64 ^ c[1] ^ k[0], b & low, a >> 64 ^ c[3] ^ k[1], a & low]
        k = [(k[0] + 0x9E3779B97F4A7C15) & low, (k[1] + 0xBB67AE8584CAA73B) & low]
    return c


def test_drawn_scores_are_fixed_by_definition() -> None:
    assert philox(0, 0)[0] == 0x16554D9ECA36314C, "the published known answer"
    scores = Ticket(9).score(Cells(torch.zeros(6, 1), (1, 6), 3), {})
    raw = [philox((3 << 64) + block, 9) for block in (1, 2)]
    assert [round(value * (1 << 24)) for value in scores.tolist()] == [word >> 40 for word in [*raw[0], *raw[1]][:6]]
