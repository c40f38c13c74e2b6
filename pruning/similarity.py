"""Likeness of vectors, so that no input makes it undefined."""

import torch
from torch import Tensor

# A squared length added to both sides of a cosine: two blank vectors are alike, a blank one is unlike the others.
_BLANK = 1e-6
# Vectors are cut off here, far above any token, so that sums of their squares stay finite in float32.
_HUGE = 1e12


def tame(vectors: Tensor) -> Tensor:
    """Give float32 without NaN and infinity (0 in their place) and within ±1e12, in the same shape."""
    return vectors.float().nan_to_num(0.0, 0.0, 0.0).clamp(-_HUGE, _HUGE)


def cosines(one: Tensor, other: Tensor) -> Tensor:
    """Compare each row with each other row: float32 [n, m] within -1..1; blank rows are alike.

    one: [n, D], other: [m, D], both as tame() gives them.
    """
    return from_products(one @ other.T, one.square().sum(-1), other.square().sum(-1))


def from_products(products: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Turn products [n, m] of rows whose squared lengths are one [n] and other [m] into cosines."""
    lengths = (one + _BLANK).sqrt()[:, None] * (other + _BLANK).sqrt()
    return ((products + _BLANK) / lengths).clamp(-1.0, 1.0)


def paired_cosines(one: Tensor, other: Tensor) -> Tensor:
    """Compare rows of the same number: float32 [n] within -1..1; blank rows are alike.  one, other: [n, D]."""
    lengths = (one.square().sum(-1) + _BLANK).sqrt() * (other.square().sum(-1) + _BLANK).sqrt()
    return (((one * other).sum(-1) + _BLANK) / lengths).clamp(-1.0, 1.0)


def distances(vectors: Tensor) -> Tensor:
    """Measure |xi - xj| / sqrt(D) between all rows: float32 [N, N], exactly 0 between equal ones.

    vectors: [N, D], as tame() gives them.
    """
    # Without the matrix product: it would find equal rows a little apart, and their order would be chance.
    scaled = vectors / vectors.shape[1] ** 0.5
    return torch.cdist(scaled, scaled, compute_mode="donot_use_mm_for_euclid_dist")
