"""The kernel against projections worked out one by one, and against determinants of the whole kernel matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onlooker.pruning.cholesky import pivots_of
from onlooker.pruning.relevance import unit_rows


def problem(seed: int, rows: int, dim: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vectors = unit_rows(torch.randn(rows, dim, generator=generator))
    return vectors, torch.rand(rows, generator=generator) * 0.9 + 0.1


def energies(vectors: np.ndarray, chosen: list[int]) -> np.ndarray:
    """|v - P v|^2 by least squares onto the chosen vectors, in float64."""
    if not chosen:
        return (vectors**2).sum(1)
    basis = vectors[chosen].T
    solved = np.linalg.lstsq(basis, vectors.T, rcond=None)[0]
    return ((vectors.T - basis @ solved) ** 2).sum(0)


@given(st.integers(0, 10**6), st.integers(2, 24), st.sampled_from([1.0, 2.0]))
@settings(max_examples=40)
def test_each_step_takes_the_largest_residual_energy_times_weight(seed: int, rows: int, alpha: float) -> None:
    vectors, relevance = problem(seed, rows, 12)
    count = min(rows, 10)
    found = pivots_of(vectors[None], relevance[None] ** alpha, count)
    taken: list[int] = []
    exact = vectors.double().numpy()
    for step, pivot in enumerate(found.order[0].tolist()):
        left = energies(exact, taken)
        gain = left * relevance.double().numpy() ** alpha
        gain[taken] = -1
        assert gain[pivot] >= gain.max() - 1e-5
        assert found.energy[0, step] == pytest.approx(left[pivot], abs=1e-4)
        taken.append(pivot)
    assert len(set(taken)) == count


@given(st.integers(0, 10**6), st.integers(3, 14))
@settings(max_examples=30)
def test_alpha_two_is_the_greedy_map_of_the_conditioned_determinantal_process(seed: int, rows: int) -> None:
    """CDPruner: of L' = diag(r) L diag(r), each step adds the item that raises the log-determinant most."""
    vectors, relevance = problem(seed, rows, 16)
    exact, r = vectors.double().numpy(), relevance.double().numpy()
    kernel = r[:, None] * (exact @ exact.T) * r
    chosen: list[int] = []
    for pivot in pivots_of(vectors[None], relevance[None] ** 2, rows // 2).order[0].tolist():
        logdets = {}
        for item in set(range(rows)) - set(chosen):
            part = [*chosen, item]
            logdets[item] = np.linalg.slogdet(kernel[np.ix_(part, part)])[1]
        assert logdets[pivot] >= max(logdets.values()) - 1e-4
        chosen.append(pivot)


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_scaling_the_vectors_by_relevance_is_squaring_it_in_the_weight(seed: int) -> None:
    """The same order from CDPruner's own form, its scaled vectors without a weight, as from ResPrune with alpha 2."""
    vectors, relevance = problem(seed, 20, 16)
    scaled = pivots_of((vectors * relevance[:, None])[None], torch.ones(1, 20), 10).order
    assert torch.equal(scaled, pivots_of(vectors[None], relevance[None] ** 2, 10).order)


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=20)
def test_batches_are_what_each_is_alone(seed: int, batches: int) -> None:
    sizes = torch.randint(5, 12, (batches,), generator=torch.Generator().manual_seed(seed)).tolist()
    vectors, weight, valid = torch.zeros(batches, 12, 8), torch.ones(batches, 12), torch.zeros(batches, 12).bool()
    for number, size in enumerate(sizes):
        vectors[number, :size], weight[number, :size] = problem(seed + number, size, 8)
        valid[number, :size] = True
    together = pivots_of(vectors, weight, 5, valid=valid).order
    for number, size in enumerate(sizes):
        alone = pivots_of(vectors[number : number + 1, :size], weight[number : number + 1, :size], 5).order
        assert torch.equal(together[number], alone[0])


def test_when_all_is_spanned_the_rest_goes_by_weight() -> None:
    vectors = torch.eye(2).repeat(3, 1)  # rank 2 in 6 rows
    weight = torch.tensor([0.2, 0.9, 0.5, 0.1, 0.4, 0.8])
    assert pivots_of(vectors[None], weight[None], 6).order.tolist() == [[1, 2, 5, 4, 0, 3]]


def test_equals_go_by_index() -> None:
    assert pivots_of(torch.eye(5)[None], torch.ones(1, 5), 4).order.tolist() == [[0, 1, 2, 3]]
    assert pivots_of(torch.ones(1, 4, 1), torch.ones(1, 4), 3).order.tolist() == [[0, 1, 2]]


def test_blank_vectors_and_weights_of_nothing_come_last() -> None:
    vectors = torch.cat((torch.zeros(1, 3), torch.eye(3)))
    weight = torch.tensor([0.5, 0.0, 0.3, 0.2])
    assert pivots_of(vectors[None], weight[None], 4).order.tolist() == [[2, 3, 0, 1]]


def test_what_is_given_first_comes_first_and_counts_as_spanned() -> None:
    vectors, weight = problem(5, 12, 6)
    first = torch.tensor([[7, 3, 11]])
    order = pivots_of(vectors[None], weight[None], 6, first=first, first_count=torch.tensor([2])).order[0].tolist()
    assert order[:2] == [7, 3]
    gain = energies(vectors.double().numpy(), [7, 3]) * weight.double().numpy()
    gain[[7, 3]] = -1
    assert order[2] == int(gain.argmax())


def test_thousands_of_rows_stay_a_choice_without_repetition() -> None:
    vectors, weight = problem(0, 8192, 32)
    order = pivots_of(vectors[None], weight[None], 40).order[0]
    assert len(order.unique()) == 40
    assert energies(vectors.double().numpy(), order[:32].tolist()).max() < 1e-6  # 32 of them span all there is
