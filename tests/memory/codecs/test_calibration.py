"""Calibration spends bits where error is felt, no more of them than it was given."""

from typing import Any

import pytest
import torch
from torch import Tensor

from onlooker.errors import SettingsError
from onlooker.memory.block import KVLayout, RotarySpec
from onlooker.memory.codecs.calibration import calibrate_codec
from onlooker.memory.codecs.choice import codec_of
from onlooker.memory.codecs.payload import HEADER_BYTES

LAYOUT = KVLayout(2, 4, 2, 16, torch.float32, RotarySpec(tuple(10.0 ** (-n / 8) for n in range(8))), "test")
COLUMNS = 2 * 2 * 2 * 16


def queries(seed: int = 0) -> Tensor:
    return torch.randn(2, 4, 30, 16, generator=torch.Generator().manual_seed(seed))


def relative(found: Tensor, true: Tensor) -> float:
    return float((found - true).square().sum() / (true - true.mean(dim=2, keepdim=True)).square().sum())


@pytest.mark.parametrize("bits", [0.5, 1.0, 2.0, 4.0])
def test_no_more_bits_are_spent_than_given(make_samples: Any, bits: float) -> None:
    tables = calibrate_codec([make_samples(LAYOUT, 600)], list(queries()), LAYOUT, bits=bits)
    rounding = 8 * 5 / COLUMNS  # each number of levels fills its last byte
    assert bits - 0.3 < tables.bits <= bits + rounding
    written = codec_of("auto", LAYOUT, tables).encode(*make_samples(LAYOUT, 50, seed=1))
    assert len(written) == HEADER_BYTES + 50 * tables.row_bytes


def test_more_bits_err_less_on_samples_not_seen(make_samples: Any) -> None:
    keys, values = make_samples(LAYOUT, 400, seed=5)
    errors = []
    for bits in (0.5, 1.0, 2.0, 4.0):
        coder = codec_of(
            "auto", LAYOUT, calibrate_codec([make_samples(LAYOUT, 3000)], list(queries()), LAYOUT, bits=bits)
        )
        found = coder.decode(coder.encode(keys, values))
        errors.append(relative(found[0], keys) + relative(found[1], values))
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 10


def test_dependent_channels_cost_fewer_bits_than_a_grid_for_each(make_samples: Any) -> None:
    keys, values = make_samples(LAYOUT, 400, seed=5)
    tables = calibrate_codec([make_samples(LAYOUT, 3000)], list(queries()), LAYOUT, bits=1.8)
    ours, plain = (codec_of(name, LAYOUT, tables) for name in ("auto", "int2"))
    found, rival = ours.decode(ours.encode(keys, values)), plain.decode(plain.encode(keys, values))
    assert len(ours.encode(keys, values)) < len(plain.encode(keys, values))
    assert relative(found[1], values) < relative(rival[1], values) / 2


def test_keys_that_no_query_looks_at_get_few_bits(make_samples: Any) -> None:
    asked = queries()
    asked[1] *= 1e-3
    tables = calibrate_codec([make_samples(LAYOUT, 600)], list(asked), LAYOUT, bits=2.0)
    levels = tables.levels.float()  # blocks: keys of layer 0 and 1, values of layer 0 and 1
    assert levels[1].mean() < levels[0].mean() / 4


def test_effects_move_bits_to_the_layers_that_matter(make_samples: Any) -> None:
    samples = [make_samples(LAYOUT, 600)]
    effects = torch.tensor([[1.0, 1.0], [1.0, 1e4]])
    plain = calibrate_codec(samples, list(queries()), LAYOUT).levels.float()
    moved = calibrate_codec(samples, list(queries()), LAYOUT, effects=effects).levels.float()
    assert moved[3].mean() > plain[3].mean() and moved[:3].mean() < plain[:3].mean()


def test_calibration_is_deterministic(make_samples: Any) -> None:
    first, again = (calibrate_codec([make_samples(LAYOUT, 400)], list(queries()), LAYOUT) for _ in range(2))
    assert first.digest == again.digest


def test_numbers_that_are_none_do_not_spoil_it(make_samples: Any) -> None:
    keys, values = make_samples(LAYOUT, 600)
    keys[0, 0, 0, 0] = float("nan")
    tables = calibrate_codec([(keys, values)], list(queries()), LAYOUT)
    assert tables.basis.isfinite().all() and tables.mean.isfinite().all()


def test_too_little_is_refused(make_samples: Any) -> None:
    few, enough = make_samples(LAYOUT, 10), make_samples(LAYOUT, 300)
    with pytest.raises(SettingsError, match="10 tokens"):
        calibrate_codec([few], list(queries()), LAYOUT)
    with pytest.raises(SettingsError, match="2 layers"):
        calibrate_codec([enough], list(queries())[:1], LAYOUT)
    with pytest.raises(SettingsError, match="bits is 9"):
        calibrate_codec([enough], list(queries()), LAYOUT, bits=9.0)
