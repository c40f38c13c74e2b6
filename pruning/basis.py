"""Linear algebra of token sets: what a basis leaves over of tokens, and how much each token adds to the others.

All in float32, without waiting for a device, and with fixed signs.  A basis is [D, k] with orthonormal columns;
columns of zeros are places not in use, so that its shape never changes.
"""

import torch
from torch import Tensor

LARGEST = 1e6  # beyond it squares summed over channels would leave float32's range
_ROUNDING = 1e-4  # what is left of a vector below this share of its length is rounding


def finite(features: Tensor) -> Tensor:
    """Give features as float32 that any sum of squares can hold; what is not a number becomes 0."""
    return features.float().nan_to_num(0.0, 0.0, 0.0).clamp(-LARGEST, LARGEST)


def unit(rows: Tensor) -> Tensor:
    """Scale rows [n, D] to length 1; zero stays zero."""
    length: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / length.clamp(min=1e-12)


def residual(rows: Tensor, basis: Tensor) -> Tensor:
    """Give what a basis [D, k] does not explain of rows [n, D]."""
    return rows - (rows @ basis) @ basis.T


def leading(rows: Tensor, most: int) -> Tensor:
    """Give the `most` leading right singular vectors of rows [n, D] as a basis [D, most].

    The largest entry of each is positive, the first of equals: a decomposition leaves signs open.
    """
    columns = rows.new_zeros(rows.shape[1], most)
    if not len(rows):
        return columns
    _, sizes, found = torch.linalg.svd(rows, full_matrices=False)
    found = found[:most]
    largest = found.gather(1, found.abs().argmax(1, keepdim=True))
    signed = torch.where(largest < 0, -found, found)
    used = sizes[:most] > _ROUNDING * sizes[0]
    columns[:, : len(found)] = (signed * used[:, None]).T
    return columns


def directions(rows: Tensor, basis: Tensor, most: int) -> Tensor:
    """Give the directions of the rows [n, D] that a basis leaves most of: [D, most], orthonormal to it and each other.

    By Gram-Schmidt, each direction twice (the second pass takes away what rounding left of the basis in the first),
    largest residual first, of equal ones the first.  A row that the ones before it explain gives a column of zeros.
    """
    left = residual(rows, basis)
    order = left.norm(dim=1).argsort(descending=True, stable=True)[:most]
    found = rows.new_zeros(rows.shape[1], most)
    for place in range(len(order)):
        row = order[place : place + 1]
        vector = left.index_select(0, row)  # [1, D]
        whole = rows.index_select(0, row).norm()
        for _ in range(2):
            vector = residual(residual(vector, basis), found)
        length = vector.norm()
        used = length > _ROUNDING * whole.clamp(min=1e-12)
        found[:, place] = torch.where(used, vector / length.clamp(min=1e-12), torch.zeros_like(vector))[0]
    return found


def most_used(basis: Tensor, usage: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Keep the `most` columns of a basis [D, k] with the largest usage [k], in their order; of equals the first."""
    kept = usage.argsort(descending=True, stable=True)[:most].sort().values
    return basis[:, kept], usage[kept]


def ridge_inverse(rows: Tensor, ridge: float) -> Tensor:
    """Invert rowsᵀ rows + λ I, [D, D], with λ = ridge times the mean square length along a channel."""
    gram = rows.T @ rows
    diagonal = gram.diagonal()
    diagonal += (ridge * diagonal.mean()).clamp(min=1e-12)
    factor, _ = torch.linalg.cholesky_ex(gram)
    return torch.cholesky_inverse(factor)


def least_leveraged(rows: Tensor, count: int, ridge: float, tries: int = 4) -> Tensor:
    """Mark `count` of the rows [n, D], one after the other the one that the rest explains best: bool [n].

    The ridge leverage of a row is l = xᵀ (Xᵀ X + λ I)⁻¹ x (Alaoui and Mahoney, NeurIPS 2015); 1 - l is the factor by
    which det(Xᵀ X + λ I) shrinks when it goes, so this is greedy removal under the determinant, the counterpart of
    pivoted Cholesky.  When row i goes, that of row j grows by h_ij² / (1 - l_i), h = X (Xᵀ X + λ I)⁻¹ Xᵀ: the last
    copy of anything becomes worth keeping as the others go.  Only the tries * count rows that are least at the start
    are looked at; all others can only have grown, so that changes nothing while the one that goes lies below them.
    """
    total = len(rows)
    inverse = ridge_inverse(rows, ridge)
    leverage = ((rows @ inverse) * rows).sum(1)
    looked = leverage.argsort(stable=True)[: min(total, tries * count)].sort().values
    some = rows[looked]
    hat = some @ inverse @ some.T  # [c, c]
    level = hat.diagonal().clone()
    goes = torch.zeros(len(looked), dtype=torch.bool, device=rows.device)
    for _ in range(count):
        least = level.masked_fill(goes, torch.inf).argmin(keepdim=True)
        row = hat.index_select(0, least)  # [1, c]
        hat = hat + row.T @ row / (1.0 - level.index_select(0, least)).clamp(min=1e-6)
        level = hat.diagonal()
        goes = goes.index_fill(0, least, True)
    return torch.zeros(total, dtype=torch.bool, device=rows.device).index_copy(0, looked, goes)
