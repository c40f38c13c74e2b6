from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from onlooker.memory.block import KVLayout
from onlooker.memory.codecs.calibration import calibrate_codec
from onlooker.memory.codecs.tables import CodecTables


def samples_of(layout: KVLayout, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Give keys and values [layers, kv_heads, count, head_dim] whose channels depend on each other, in long tails."""
    made = torch.Generator().manual_seed(seed)
    shape = (2, layout.layers, layout.kv_heads)
    mixing = torch.randn(*shape, layout.head_dim, layout.head_dim, generator=torch.Generator().manual_seed(77))
    mixing = mixing * 0.6 ** torch.arange(layout.head_dim)[:, None]
    keys, values = torch.randn(*shape, count, layout.head_dim, generator=made) ** 3 @ mixing
    return keys, values


@pytest.fixture(scope="session")
def make_samples() -> Callable[..., tuple[Tensor, Tensor]]:
    """Give the function that makes keys and values like those that the tables were calibrated on."""
    return samples_of


@pytest.fixture(scope="session")
def make_tables() -> Callable[..., CodecTables]:
    """Give the function that calibrates tables for a layout, with a constant added to all keys where one is given."""
    held: dict[Any, CodecTables] = {}

    def make(layout: KVLayout, bias: Tensor | None = None) -> CodecTables:
        name = (layout, None if bias is None else tuple(bias.flatten().tolist()))
        if name not in held:
            keys, values = samples_of(layout, 600)
            samples = [(keys if bias is None else keys + bias, values)]
            made = torch.Generator().manual_seed(1)
            queries = torch.randn(layout.layers, layout.query_heads, 40, layout.head_dim, generator=made)
            held[name] = calibrate_codec(samples, list(queries), layout)
        return held[name]

    return make
