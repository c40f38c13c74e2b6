"""Rotary positions: the rotation that a raw key gets when it is read.

Rotation is the half-split form of transformers (`rotate_half`): channel i pairs with channel i + head_dim / 2.
"""

import torch
from torch import Tensor

from .block import RotarySpec


def angle_table(positions: Tensor, spec: RotarySpec, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Compute cos and sin [n, head_dim] for positions int64 [n, axes].

    Angles are float64, so that positions of 10^8 lose nothing; only the result is rounded to dtype.
    M-RoPE: each frequency takes its angle from one axis (Qwen2-VL, section 2.1; Qwen3-VL's interleaved form).
    """
    inv_freq = torch.tensor(spec.inv_freq, dtype=torch.float64, device=positions.device)  # [head_dim / 2]
    by_axis = positions.to(torch.float64)  # [n, axes]
    if spec.sections:
        chosen = by_axis[:, axis_of_frequency(spec).to(positions.device)]  # [n, head_dim / 2]
    else:
        chosen = by_axis
    half = chosen * inv_freq  # [n, head_dim / 2]
    angles = torch.cat((half, half), dim=-1)
    return (angles.cos() * spec.scaling).to(dtype), (angles.sin() * spec.scaling).to(dtype)


def axis_of_frequency(spec: RotarySpec) -> Tensor:
    """Say which position axis each of the head_dim / 2 frequencies follows, int64 [head_dim / 2].

    Interleaved: h takes every third frequency from the second on, w from the third on, as many as their sections say,
    and t all others.
    """
    if not spec.interleaved:
        return torch.repeat_interleave(torch.arange(len(spec.sections)), torch.tensor(spec.sections))
    axis = torch.zeros(sum(spec.sections), dtype=torch.int64)
    for number in range(1, len(spec.sections)):
        axis[number : spec.sections[number] * len(spec.sections) : len(spec.sections)] = number
    return axis


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate vectors x [..., n, head_dim] by angles whose cos and sin are [n, head_dim]."""
    half = x.shape[-1] // 2
    swapped = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + swapped * sin
