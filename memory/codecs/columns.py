"""The columns of a group: keys and values as one matrix with a row per token."""

import torch
from torch import Tensor

from ...errors import RecallError
from ..block import KVLayout


def columns_of(layout: KVLayout) -> int:
    """Count the columns: numbers that a token has in all layers."""
    return 2 * layout.layers * layout.kv_heads * layout.head_dim


def to_matrix(keys: Tensor, values: Tensor, layout: KVLayout) -> Tensor:
    """Lay keys and values [layers, kv_heads, n, head_dim] out as [n, columns], keys of all layers first.

    The matrix keeps their number type and device.  Raises RecallError for another shape than the layout's.
    """
    if keys.ndim != 4 or keys.shape != (layout.layers, layout.kv_heads, keys.shape[2], layout.head_dim):
        raise RecallError(
            f"keys {list(keys.shape)} do not fit a cache of [{layout.layers}, {layout.kv_heads}, n, "
            f"{layout.head_dim}]; code them for the model that made them"
        )
    if values.shape != keys.shape:
        raise RecallError(f"values {list(values.shape)} must have the keys' shape {list(keys.shape)}")
    both = torch.stack((keys, values.to(keys)))  # [2, layers, kv_heads, n, head_dim]
    return both.permute(3, 0, 1, 2, 4).reshape(keys.shape[2], columns_of(layout))


def from_matrix(matrix: Tensor, layout: KVLayout) -> tuple[Tensor, Tensor]:
    """Turn [n, columns] back into keys and values [layers, kv_heads, n, head_dim] of the layout's number type."""
    shape = (len(matrix), 2, layout.layers, layout.kv_heads, layout.head_dim)
    both = matrix.to(layout.dtype).reshape(shape).permute(1, 2, 3, 0, 4).contiguous()
    return both[0], both[1]


def finite(matrix: Tensor, most: float) -> Tensor:
    """Give the matrix as float32 without what no scale can hold: NaN becomes 0, the rest is clamped to +-most."""
    return matrix.to(torch.float32).nan_to_num(0.0, most, -most).clamp(-most, most)
