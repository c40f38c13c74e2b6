import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onlooker.pruning.saliency import Flow, Received
from onlooker.pruning.stages import Cells


def frame(saliency: Tensor, values: Tensor | None = None) -> Cells:
    extras = {"saliency": saliency} if values is None else {"saliency": saliency, "values": values}
    return Cells(torch.zeros(len(saliency), 2), (1, len(saliency)), 0, extras=extras)


def planes(cells: int, layers: int, seed: int) -> tuple[Tensor, Tensor]:
    first, second = torch.rand(2, cells, layers, generator=torch.Generator().manual_seed(seed))
    return first, second


@given(st.integers(1, 9), st.integers(1, 12), st.booleans(), st.integers(0, 10**6))
@settings(deadline=None)
def test_layers_are_summed_from_start(cells: int, layers: int, thirds: bool, seed: int) -> None:
    saliency, _ = planes(cells, layers, seed)
    first = layers // 3 if thirds else layers - 1
    want = [sum(row[layer] for layer in range(first, layers)) for row in saliency.tolist()]
    got = Received(1 / 3 if thirds else None).score(frame(saliency), {})
    torch.testing.assert_close(got, torch.tensor(want))


@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 10**6))
@settings(deadline=None)
def test_flow_equals_naive_loops(cells: int, layers: int, seed: int) -> None:
    saliency, values = planes(cells, layers, seed)
    attention, length = saliency.tolist(), values.tolist()
    want = []
    for cell in range(cells):
        carried = math.nan
        for layer in range(layers):
            total = sum(row[layer] for row in attention)
            class_row = mean_received = attention[cell][layer] / total
            step = (class_row + mean_received) * length[cell][layer]
            carried = step if layer == 0 else 0.5 * carried + 0.5 * step
        want.append(carried)
    torch.testing.assert_close(Flow().score(frame(saliency, values), {}), torch.tensor(want))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -3.0])
def test_scores_stay_finite_and_not_below_zero(bad: float) -> None:
    saliency, values = planes(4, 3, 0)
    saliency[1], values[2] = bad, bad
    for scorer in (Received(), Received(1 / 3), Flow()):
        scores = scorer.score(frame(saliency, values), {})
        assert scores.isfinite().all()
        assert scores.min() >= 0
        assert scores.max() > 0


def test_a_frame_without_attention_scores_nothing() -> None:
    blank = torch.zeros(3, 2)
    assert Received().score(frame(blank), {}).tolist() == [0, 0, 0]
    assert Flow().score(frame(blank, blank), {}).tolist() == [0, 0, 0]
