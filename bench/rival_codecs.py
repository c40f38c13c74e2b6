"""The rivals' codecs as published, in plain torch: KIVI, VidKV and transformers' quantised cache.

All of them code keys after RoPE, so keys are turned to their places in the stream, coded, decoded and turned back.
They are given a stream whole, not group by group, so that no group of 32 tokens is cut; only the stream's last one is.
The newest tokens, which all three hold in 16 bits, are not kept so: in an archive nothing is new.
Bytes are counted, not packed: codes at their bits, every scale and zero as float16.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..memory.block import KVLayout
from ..memory.rotary import angle_table, rotate

TOKENS, CHANNELS, QUANTO_CHANNELS = 32, 32, 64
TERNARY_BITS = 1.6  # five to a byte

# Codes a matrix [..., n, head_dim]: what it reads back as, and the bits that takes.
Coder = Callable[[Tensor], tuple[Tensor, float]]


@dataclass(frozen=True, slots=True)
class RivalCodec:
    """Code a stream's keys and values with one coder each."""

    name: str
    layout: KVLayout
    keys: Coder
    values: Coder

    def reread(self, keys: Tensor, values: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, float]:
        """Code and decode raw keys and values [layers, kv_heads, n, head_dim] at positions int64 [n, axes].

        Returns both, keys raw again, and the bytes that they took.
        """
        cos, sin = angle_table(positions, self.layout.rotary, torch.float32)
        turned, key_bits = self.keys(rotate(keys.float(), cos, sin))
        # Turned back by the angle's negative; a scaling of cos and sin counts once either way.
        back = rotate(turned, cos, -sin) / (cos.square() + sin.square())
        held, value_bits = self.values(values.float())
        return back.to(keys.dtype), held.to(values.dtype), (key_bits + value_bits) / 8


def rival_codecs(layout: KVLayout) -> list[RivalCodec]:
    """List all rivals for a model's cache."""
    return [
        RivalCodec("kivi-2", layout, _by_channel(4), _by_token(4, CHANNELS)),
        RivalCodec("vidkv-1.5/1.58", layout, _mixed_keys, _ternary),
        RivalCodec("quanto-int4", layout, _by_token(16, QUANTO_CHANNELS), _by_token(16, QUANTO_CHANNELS)),
        RivalCodec("quanto-int2", layout, _by_token(4, QUANTO_CHANNELS), _by_token(4, QUANTO_CHANNELS)),
    ]


def _by_channel(levels: int) -> Coder:
    """Code per channel in groups of 32 tokens, least to greatest (KIVI, arXiv 2402.02750, keys)."""

    def code(matrix: Tensor) -> tuple[Tensor, float]:
        parts = [_min_max(part, levels, -2) for part in matrix.split(TOKENS, dim=-2)]
        return _joined(parts)

    return code


def _by_token(levels: int, channels: int) -> Coder:
    """Code per token in groups of channels (KIVI's values with 32; transformers' quanto cache at axis 0 with 64)."""

    def code(matrix: Tensor) -> tuple[Tensor, float]:
        parts = [_min_max(part, levels, -1) for part in matrix.split(channels, dim=-1)]
        return torch.cat([part for part, _ in parts], dim=-1), sum(bits for _, bits in parts)

    return code


def _mixed_keys(keys: Tensor) -> tuple[Tensor, float]:
    """Code keys at 1.5 bits as VidKV describes (arXiv 2503.16257, 4.2): per channel, in groups of 32 tokens.

    The half of a layer's channels that ranges furthest takes 2 bits, least to greatest.  The others go through a
    Fourier transform over the channels, and real and imaginary parts take their sign and the mean of their size.  The
    released code stores both halves of the spectrum, which are conjugate, and loses signs when it decodes; here one
    half is stored and signs are kept.
    """
    layers, kv_heads, count, head_dim = keys.shape
    flat = keys.permute(0, 2, 1, 3).reshape(layers, count, kv_heads * head_dim)
    out, bits = torch.empty_like(flat), 0.0
    for layer in range(layers):
        ranges = flat[layer].amax(dim=0) - flat[layer].amin(dim=0)
        order = ranges.argsort(descending=True, stable=True)
        wide, rest = order[: len(order) // 2], order[len(order) // 2 :].sort().values
        parts = [_min_max(part, 4, 0) for part in flat[layer][:, wide].split(TOKENS)]
        out[layer][:, wide], used = _joined(parts)
        spectrum = torch.fft.rfft(flat[layer][:, rest], dim=1, norm="ortho")
        numbers = torch.view_as_real(spectrum).flatten(1)  # [n, 2 x frequencies]
        signs, more = _joined([_sign(part) for part in numbers.split(TOKENS)])
        again = torch.view_as_complex(signs.reshape(count, -1, 2).contiguous())
        out[layer][:, rest] = torch.fft.irfft(again, n=len(rest), dim=1, norm="ortho")
        bits += used + more + len(order)  # and one bit a channel to say which half it is in
    return out.reshape(layers, count, kv_heads, head_dim).permute(0, 2, 1, 3), bits


def _ternary(values: Tensor) -> tuple[Tensor, float]:
    """Code values at 1.58 bits as VidKV describes: per channel in groups of 32 tokens, -1, 0 or 1 times the mean size.

    A number counts as 0 below half of the mean size.  The released code forgets the scale when it decodes.
    """
    parts = []
    for part in values.split(TOKENS, dim=-2):
        scale = _half(part.abs().mean(dim=-2, keepdim=True))
        held = torch.where(part.abs() > scale / 2, part.sign() * scale, 0.0)
        parts.append((held, part.numel() * TERNARY_BITS + scale.numel() * 16.0))
    return _joined(parts)


def _min_max(matrix: Tensor, levels: int, dim: int) -> tuple[Tensor, float]:
    """Code numbers evenly from the least to the greatest along a dimension, both of them levels."""
    zero = _half(matrix.amin(dim=dim, keepdim=True))
    scale = _half((matrix.amax(dim=dim, keepdim=True) - zero) / (levels - 1))
    codes = ((matrix - zero) / torch.where(scale > 0, scale, 1.0)).round().clamp(0, levels - 1)
    return codes * scale + zero, matrix.numel() * (levels - 1).bit_length() + 32.0 * scale.numel()


def _sign(matrix: Tensor) -> tuple[Tensor, float]:
    """Code numbers [n, columns] by sign and each column's mean size."""
    scale = _half(matrix.abs().mean(dim=0, keepdim=True))
    return torch.where(matrix < 0, -scale, scale), matrix.numel() + 16.0 * scale.numel()


def _half(matrix: Tensor) -> Tensor:
    return matrix.clamp(-65504, 65504).to(torch.float16).float()


def _joined(parts: Sequence[tuple[Tensor, float]]) -> tuple[Tensor, float]:
    """Lay parts [..., n, columns] end to end over the tokens; sum their bits."""
    return torch.cat([part for part, _ in parts], dim=-2), sum(bits for _, bits in parts)
