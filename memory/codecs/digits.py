"""Digits: codes of few levels, several to a byte.

A byte holds `per_byte` codes as the digits of one number: 8 of 2 levels, 5 of 3, 4 of 4, 3 of 6, 2 of 16 or 1 of 256.
So a byte is read back by one look-up, and levels need not be a power of two: 1, 1.6, 2, 2.67, 4 and 8 bits a code.
"""

import torch
from torch import Tensor
from torch.nn.functional import embedding, pad

PER_BYTE = {2: 8, 3: 5, 4: 4, 6: 3, 16: 2, 256: 1}
"""How many codes of so many levels share a byte."""


def bytes_of(columns: int, levels: int) -> int:
    """Count the bytes of a row of codes."""
    return -(-columns // PER_BYTE[levels])


def pack(codes: Tensor, levels: int) -> Tensor:
    """Pack codes uint8 [n, columns], each below levels, into bytes uint8 [n, bytes_of(columns)]."""
    per_byte = PER_BYTE[levels]
    if per_byte == 1:
        return codes
    width = bytes_of(codes.shape[1], levels)
    digits = pad(codes, (0, width * per_byte - codes.shape[1])).reshape(len(codes), width, per_byte)
    packed = digits[:, :, per_byte - 1].clone()
    for place in range(per_byte - 2, -1, -1):
        packed *= levels
        packed += digits[:, :, place]
    return packed


def unpack(packed: Tensor, levels: int, columns: int, points: Tensor) -> Tensor:
    """Look up bytes uint8 [n, bytes_of(columns)] as points [n, columns] of a grid float32 [levels].

    A byte that is no number of such digits reads as some of the points.
    """
    per_byte = PER_BYTE[levels]
    numbers = torch.arange(256, device=packed.device)
    powers = levels ** torch.arange(per_byte, device=packed.device)
    table = points.to(packed.device)[(numbers[:, None] // powers) % levels]  # [256, per_byte]
    looked_up: Tensor = embedding(packed.int(), table)  # [n, bytes, per_byte]
    return looked_up.reshape(len(packed), packed.shape[1] * per_byte)[:, :columns]
