"""Codes come back from their bytes, whatever their number of levels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onlooker.memory.codecs.digits import PER_BYTE, bytes_of, pack, unpack


@given(st.sampled_from(sorted(PER_BYTE)), st.integers(0, 5), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_codes_come_back(levels: int, rows: int, columns: int, seed: int) -> None:
    codes = torch.randint(levels, (rows, columns), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    packed = pack(codes, levels)
    assert packed.dtype == torch.uint8 and packed.shape == (rows, bytes_of(columns, levels))
    points = torch.arange(levels, dtype=torch.float32)
    assert torch.equal(unpack(packed, levels, columns, points), codes.float())


@pytest.mark.parametrize("levels", sorted(PER_BYTE))
def test_a_byte_holds_as_many_digits_as_fit(levels: int) -> None:
    assert levels ** PER_BYTE[levels] <= 256 < levels ** (PER_BYTE[levels] + 1)


@pytest.mark.parametrize("levels", sorted(PER_BYTE))
def test_any_byte_reads_as_points_of_the_grid(levels: int) -> None:
    points = torch.arange(levels, dtype=torch.float32) * 3
    read = unpack(torch.arange(256, dtype=torch.uint8)[:, None], levels, PER_BYTE[levels], points)
    assert set(read.flatten().tolist()) <= set(points.tolist())
