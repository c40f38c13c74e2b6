import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from onlooker.pruning.basis import (
    directions,
    finite,
    leading,
    least_leveraged,
    most_used,
    residual,
    ridge_inverse,
    unit,
)


def rows_of(seed: int, count: int, dim: int) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def orthonormal(columns: Tensor) -> bool:
    used = columns[:, columns.norm(dim=0) > 0]
    return torch.allclose(used.T @ used, torch.eye(used.shape[1]), atol=1e-5)


def naive_leverage(rows: Tensor, ridge: float) -> Tensor:
    gram = rows.double().T @ rows.double()
    inverse = torch.linalg.inv(gram + ridge * torch.eye(rows.shape[1], dtype=torch.float64))
    return torch.tensor([float(row.double() @ inverse @ row.double()) for row in rows])


@given(st.integers(0, 99), st.integers(1, 9), st.integers(1, 9), st.integers(1, 12))
def test_leading_directions_are_those_of_the_gram_matrix(seed: int, count: int, dim: int, most: int) -> None:
    rows = rows_of(seed, count, dim)
    basis = leading(rows, most)
    assert basis.shape == (dim, most) and orthonormal(basis)
    kept = min(count, dim, most)
    explained = (rows @ basis).square().sum()
    assert torch.allclose(explained, torch.linalg.eigvalsh(rows.T @ rows).flip(0)[:kept].sum(), rtol=1e-3)


def test_leading_directions_have_fixed_signs_and_leave_unused_places_at_zero() -> None:
    rows = torch.tensor([[0.0, -3.0, 0.0], [2.0, 0.0, 0.0], [0.0, -3.0, 0.0]])
    assert torch.allclose(leading(rows, 3), torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    assert torch.equal(leading(-rows, 3), leading(rows, 3))
    assert leading(rows[:0], 2).tolist() == [[0.0, 0.0]] * 3
    assert leading(torch.zeros(2, 3), 2).abs().max() == 0


@given(st.integers(0, 99), st.integers(1, 8), st.integers(0, 4), st.integers(0, 5))
def test_new_directions_are_orthonormal_to_the_basis_and_to_each_other(
    seed: int, count: int, old: int, most: int
) -> None:
    basis = leading(rows_of(seed + 1000, old, 12), old + 1)  # one place unused
    rows = rows_of(seed, count, 12)
    found = directions(rows, basis, most)
    assert orthonormal(torch.cat((basis, found), 1))
    assert int((found.norm(dim=0) > 0).sum()) == min(count, most)


@given(st.integers(0, 99))
def test_new_directions_explain_the_rows_that_stand_out_most(seed: int) -> None:
    basis = leading(rows_of(seed + 1000, 3, 10), 3)
    rows = rows_of(seed, 6, 10)
    # The plain way: project with the pseudo-inverse, then QR of the largest residuals in order.
    left = rows - rows @ basis @ torch.linalg.pinv(basis)
    order = sorted(range(6), key=lambda row: -float(left[row].norm()))[:2]
    expected = torch.linalg.qr(left[order].T).Q
    expected = expected * (expected * left[order].T).sum(0).sign()[None]
    found = directions(rows, basis, 2)
    assert torch.allclose(found[:, 0], left[order[0]] / left[order[0]].norm(), atol=1e-5)
    assert torch.allclose(found @ found.T, expected @ expected.T, atol=1e-4)


def test_a_row_that_is_explained_gives_no_direction() -> None:
    basis = torch.eye(4)[:, :2]
    rows = torch.tensor([[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0], [0.0, 0.0, 5.0, 0.0]])
    assert directions(rows, basis, 3).T.tolist() == [[0.0, 0.0, 1.0, 0.0], [0.0] * 4, [0.0] * 4]
    assert residual(rows, basis).tolist() == [[0.0] * 4, [0.0, 0.0, 5.0, 0.0], [0.0, 0.0, 5.0, 0.0]]


def test_the_most_used_columns_stay_in_order() -> None:
    basis, usage = most_used(torch.eye(4), torch.tensor([0.1, 0.5, 0.5, 0.7]), 2)
    assert basis.T.tolist() == torch.eye(4)[[1, 3]].tolist()
    assert torch.equal(usage, torch.tensor([0.5, 0.7]))


@given(st.integers(0, 99), st.integers(1, 20), st.integers(1, 6), st.sampled_from([0.01, 0.1, 1.0]))
def test_the_ridge_is_a_share_of_the_mean_square(seed: int, count: int, dim: int, ridge: float) -> None:
    rows = rows_of(seed, count, dim)
    amount = ridge * float(rows.square().sum()) / dim
    found = ((rows @ ridge_inverse(rows, ridge)) * rows).sum(1)
    assert torch.allclose(found, naive_leverage(rows, amount).float(), rtol=1e-3, atol=1e-4)


@given(st.integers(0, 99), st.integers(2, 14), st.integers(1, 5), st.data())
def test_rows_go_one_by_one_by_the_leverage_among_those_left(
    seed: int, count: int, dim: int, data: st.DataObject
) -> None:
    rows = unit(rows_of(seed, count, dim))
    goes = data.draw(st.integers(1, count))
    amount = 0.1 * float(rows.square().sum()) / dim
    left = list(range(count))
    for _ in range(goes):
        levels = naive_leverage(rows[left], amount)
        least = levels.sort().values
        if len(left) > 1 and float(least[1] - least[0]) < 1e-4:
            return  # rounding decides between two that are alike
        left.pop(int(levels.argmin()))
    found = least_leveraged(rows, goes, 0.1, tries=count)
    assert sorted(left) == (~found).nonzero().squeeze(1).tolist()


@given(st.integers(0, 99), st.integers(1, 30), st.integers(1, 10))
def test_as_many_rows_go_as_asked(seed: int, count: int, goes: int) -> None:
    rows = unit(rows_of(seed, count, 4)).round(decimals=1)  # with equal rows and blank ones
    assert int(least_leveraged(rows, min(goes, count), 0.1).sum()) == min(goes, count)


def test_of_copies_all_but_one_go_before_anything_else_does() -> None:
    rows = torch.cat((torch.eye(4)[:1].repeat(6, 1), torch.eye(4)[1:]))
    gone = least_leveraged(rows, 5, 0.01)
    assert gone.nonzero().squeeze(1).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_features_that_are_no_numbers_or_too_large_are_bounded(bad: float) -> None:
    rows = finite(torch.tensor([[1.0, bad], [2.0, 3.0]]))
    assert bool(rows.isfinite().all() and rows.square().sum().isfinite())
    assert rows[1].tolist() == [2.0, 3.0]
    assert bool(unit(rows).isfinite().all())
