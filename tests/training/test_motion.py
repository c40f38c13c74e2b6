"""Motion set into a model by least squares: what is fitted, what is changed."""

import numpy as np
import pytest
import torch

from onlooker.theatre.cast import DIRECTIONS, PLACES
from training.motion import axes, quiet, share_right, solve
from training.vision import PLACE_NAMES

from .conftest import WIDTH, Rehearsal


def test_solve_finds_a_linear_map_between_what_is_centred() -> None:
    torch.manual_seed(0)
    given, true = torch.randn(400, 12) + 3, torch.randn(12, 2)
    assert torch.allclose(solve(given, given @ true - 7), true, atol=0.02)


def test_quiet_directions_are_where_nothing_varies() -> None:
    torch.manual_seed(0)
    rows = torch.randn(500, 16)
    rows[:, [3, 11]] *= 1e-3
    found = quiet([rows, 2 * rows], 2)
    assert torch.allclose(found @ found.T, torch.eye(2), atol=1e-5)
    assert float(found[:, [3, 11]].norm()) == pytest.approx(2**0.5, abs=1e-3)


def test_share_right_counts_the_nearest_of_four_directions() -> None:
    wanted = torch.tensor(list(DIRECTIONS.values()), dtype=torch.float32)
    assert share_right(wanted * 3 + torch.tensor([0.5, -0.2]), wanted) == 1.0  # less the mean
    assert share_right(-wanted, wanted) == 0.0


def test_axes_run_across_and_down() -> None:
    reader = torch.linalg.qr(torch.randn(WIDTH, len(PLACE_NAMES), generator=torch.Generator().manual_seed(0)))[0].T
    across, down = axes(reader) @ reader.T  # how each place lies along them
    centres = np.array([PLACES[name] for name in PLACE_NAMES]) - 0.5
    assert abs(np.corrcoef(across.numpy(), centres[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(down.numpy(), centres[:, 1])[0, 1]) > 0.99


def test_motion_can_be_told_once_it_is_set_and_little_else_changes(rehearsal: Rehearsal) -> None:
    before = rehearsal.state()
    assert rehearsal.set_motion() > 0.6  # 0.25 would be chance; masks hide the earlier frames from some
    assert rehearsal.changed(before) == {
        "0.self_attn.o_proj", "0.mlp.gate_proj", "0.mlp.up_proj", "0.mlp.down_proj",
        "1.self_attn.q_proj", "1.self_attn.k_proj", "1.self_attn.v_proj", "1.self_attn.o_proj",
        "2.self_attn.v_proj", "2.self_attn.o_proj",
    }  # fmt: skip
    kept = slice(0, 64)  # key head 0 of layer 1 looks times up, as before
    name = "model.language_model.layers.1.self_attn.k_proj.weight"
    assert torch.equal(rehearsal.state()[name][kept], before[name][kept])
