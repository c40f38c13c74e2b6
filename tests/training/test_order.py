"""Order and rest set into a model by least squares: what is fitted, what is changed."""

from functools import partial

import pytest
import torch

from training.order import affine, root, set_order
from training.pairs import angles_of
from training.rest import set_rest
from training.train_language import embed

from .conftest import Rehearsal


def test_affine_finds_a_map_and_counts_rows_by_their_weight() -> None:
    torch.manual_seed(0)
    given, true = torch.randn(400, 12) + 3, torch.randn(12, 2)
    wanted = given @ true - 7
    wanted[:40] = 1e3  # what weighs nothing is not looked at
    weights = torch.ones(400)
    weights[:40] = 0
    found, bias = affine(given, wanted, weights)
    assert torch.allclose(found, true, atol=0.02)
    assert torch.allclose(bias, torch.tensor(-7.0), atol=0.1)


def test_angles_tell_which_of_two_minutes_is_earlier() -> None:
    for minute in range(60):
        for later in range(minute + 1, minute + 9):
            (c, s), (d, t) = angles_of(minute)[:2], angles_of(later % 60)[:2]
            assert t * c - d * s > 0
    assert torch.allclose(angles_of(7), -angles_of(37), atol=1e-6)  # as the clock's code has it


def test_root_gives_its_nats_in_a_score() -> None:
    assert root(10.0) ** 2 / 64**0.5 == pytest.approx(10.0)


def test_rest_tells_plain_words_from_nouns_and_changes_one_key_head(rehearsal: Rehearsal) -> None:
    rehearsal.set_motion()
    before = rehearsal.state()
    assert set_rest(rehearsal.model, rehearsal.samples, partial(embed, rehearsal.model)) > 0.95
    parts = {f"1.self_attn.{name}_proj" for name in "qkv"}
    assert rehearsal.changed(before) == parts
    for name in ("k", "v"):  # key head 1 looks things up, as before
        where = f"model.language_model.layers.1.self_attn.{name}_proj.weight"
        assert torch.equal(rehearsal.state()[where][64:], before[where][64:])


def test_setting_order_changes_the_heads_that_it_names_and_nothing_else(rehearsal: Rehearsal) -> None:
    rehearsal.set_motion()
    before = rehearsal.state()
    samples = [rehearsal.writer.sample(5, 16) for _ in range(12)]
    set_order(rehearsal.model, samples, partial(embed, rehearsal.model))
    heads = {f"{layer}.self_attn.{name}_proj" for layer in (4, 5) for name in "qkvo"}
    assert rehearsal.changed(before) == heads | {"1.self_attn.v_proj", "1.self_attn.o_proj"}
    after = rehearsal.state()
    for layer, kept in ((1, slice(0, 66)), (4, slice(0, 64))):  # times and motions, and what attends by name, as before
        name = f"model.language_model.layers.{layer}.self_attn.v_proj.weight"
        assert torch.equal(after[name][kept], before[name][kept])
    assert all(bool(value.isfinite().all()) for value in after.values())
