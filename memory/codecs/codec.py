"""The contract of a codec: a group's raw keys and values to bytes and back, one addressable row per token."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

Rows = slice | Sequence[int]
Data = bytes | bytearray | memoryview


class Codec(Protocol):
    """Turn the raw keys and values of a group of blocks into bytes and back.

    A group is what one chunk of ingest leaves: up to 8 blocks end to end.  A row is one token in all layers; rows are
    read, copied and dropped without touching the others.  The same input gives the same bytes.
    """

    @property
    def name(self) -> str:
        """The name in settings and tables."""
        ...

    def encode(self, keys: Tensor, values: Tensor) -> bytes:
        """Code keys (before RoPE) and values [layers, kv_heads, n, head_dim], on any device, into bytes.

        Raises RecallError for another shape than the layout's.
        """
        ...

    def decode(self, data: Data, rows: Rows | None = None, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Give keys and values [layers, kv_heads, m, head_dim] of m rows (None: all) in the layout's number type.

        Raises RecallError for bytes of another codec, layout or length, and for rows that are not there.
        """
        ...

    def select(self, data: Data, rows: Sequence[int]) -> bytes:
        """Keep these rows only, in this order; their codes are copied, so nothing is lost again.

        Raises RecallError as decode does.
        """
        ...

    def tokens(self, data: Data) -> int:
        """Count the rows.  Raises RecallError as decode does."""
        ...
