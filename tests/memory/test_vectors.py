"""Vectors for indexes come back within half a step of their row's scale, and rows can be chosen without loss."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from onlooker.errors import RecallError
from onlooker.memory.vectors import decode_vectors, encode_vectors, select_vectors

BITS = st.sampled_from([4, 8])
SHAPES = st.tuples(st.integers(0, 9), st.integers(1, 9))
NUMBERS = st.floats(-60_000, 60_000, width=32)


def vectors_of(elements: st.SearchStrategy[float]) -> st.SearchStrategy[NDArray[np.float32]]:
    return hnp.arrays(np.float32, SHAPES, elements=elements)


@given(vectors_of(NUMBERS), BITS)
def test_what_comes_back_is_at_most_half_a_step_off(vectors: NDArray[np.float32], bits: int) -> None:
    found = decode_vectors(encode_vectors(vectors, bits))
    assert found.shape == vectors.shape and found.dtype == np.float32
    if not len(vectors):
        return
    mean = vectors.mean(axis=0).astype(np.float16).astype(np.float32)
    centred = vectors - mean
    most = 7 if bits == 4 else 127
    step = np.abs(centred).max(axis=1, initial=0.0) / most
    # The scale is kept in half precision: 2^-11 of it, most times over, besides the half step of rounding.
    slack = step * most * 2**-11 + most * 2**-24 + np.abs(vectors).max() * 1e-6
    assert (np.abs(found - vectors) <= (0.5 * step + slack)[:, None]).all()


@given(vectors_of(NUMBERS), BITS, st.data())
def test_chosen_rows_are_those_of_all_to_the_bit(vectors: NDArray[np.float32], bits: int, data: st.DataObject) -> None:
    coded = encode_vectors(vectors, bits)
    count = len(vectors)
    chosen = data.draw(st.lists(st.integers(0, count - 1), max_size=12)) if count else []
    rows = np.array(chosen, dtype=np.int64)
    few = select_vectors(coded, rows)
    assert np.array_equal(decode_vectors(few), decode_vectors(coded)[rows])
    assert select_vectors(few, np.arange(len(rows))) == few
    assert decode_vectors(memoryview(few)).shape == (len(rows), vectors.shape[1])


@given(vectors_of(st.floats(width=32)), BITS)
def test_what_is_not_finite_becomes_nothing_and_spoils_no_other_row(vectors: NDArray[np.float32], bits: int) -> None:
    assert np.isfinite(decode_vectors(encode_vectors(vectors, bits))).all()


def test_infinities_are_zero() -> None:
    rows = np.array([[np.nan, np.inf], [-np.inf, 4.0]], dtype=np.float32)
    assert np.allclose(decode_vectors(encode_vectors(rows, 8)), [[0.0, 0.0], [0.0, 4.0]], atol=0.02)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_constant_bias_costs_nothing(bits: int) -> None:
    """A model's key bias is far larger than what keys differ by."""
    rows = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
    bias = np.zeros(16, dtype=np.float32)
    bias[3] = 1024.0  # halves hold it and its neighbours
    plain = np.abs(decode_vectors(encode_vectors(rows, bits)) - rows).max()
    biased = np.abs(decode_vectors(encode_vectors(rows + bias, bits)) - (rows + bias)).max()
    assert biased <= 1.3 * plain + 0.01


@pytest.mark.parametrize(("bits", "dim", "width"), [(8, 5, 5), (4, 5, 3), (4, 6, 3), (8, 0, 0)])
def test_a_row_takes_its_bits_and_a_scale(bits: int, dim: int, width: int) -> None:
    sizes = [len(encode_vectors(np.ones((n, dim), np.float32), bits)) for n in (0, 1, 7)]
    assert sizes == [8 + 2 * dim + n * (2 + width) for n in (0, 1, 7)]


@pytest.mark.parametrize(("bits", "shape"), [(2, (1, 4)), (16, (1, 4)), (8, (4,)), (8, (1, 2, 3)), (8, (1, 65_536))])
def test_other_bits_and_shapes_are_refused(bits: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot code"):
        encode_vectors(np.zeros(shape, np.float32), bits)


@given(vectors_of(NUMBERS), BITS, st.data())
def test_every_truncation_and_another_version_is_refused(
    vectors: NDArray[np.float32], bits: int, data: st.DataObject
) -> None:
    coded = encode_vectors(vectors, bits)
    cut = data.draw(st.integers(0, len(coded) - 1))
    broken = [coded[:cut], coded + b"\0", b"\2" + coded[1:], coded[:1] + b"\3" + coded[2:]]
    for one in broken:
        with pytest.raises(RecallError, match="damaged, or of a later version"):
            decode_vectors(one)
        with pytest.raises(RecallError):
            select_vectors(one, np.empty(0, np.int64))
