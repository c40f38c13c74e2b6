"""The rivals' codecs take the bits and make the errors that their descriptions give them."""

import dataclasses

import pytest
import torch

from onlooker.bench.rival_codecs import rival_codecs
from onlooker.memory.block import KVLayout, RotarySpec
from onlooker.memory.rotary import angle_table, rotate

LAYOUT = KVLayout(2, 4, 2, 64, torch.float32, RotarySpec(tuple(10.0 ** (-n / 8) for n in range(32))), "test")
POSITIONS = torch.arange(5, 261)[:, None]


def error(name: str, scale: float = 1.0, layout: KVLayout = LAYOUT) -> tuple[float, float, float]:
    """Give the relative squared errors of keys and values of 256 Gaussian tokens, and the bits a number."""
    keys, values = torch.randn(2, 2, 2, 256, 64, generator=torch.Generator().manual_seed(0)) * scale
    codec = next(codec for codec in rival_codecs(layout) if codec.name == name)
    found_keys, found_values, nbytes = codec.reread(keys, values, POSITIONS)
    shares = [
        float((f - t).square().mean() / t.square().mean()) for f, t in ((found_keys, keys), (found_values, values))
    ]
    return shares[0], shares[1], nbytes * 8 / (2 * keys.numel())


@pytest.mark.parametrize(
    ("name", "bits", "least", "most"),
    [
        ("kivi-2", 3.0, 0.1, 0.2),
        ("quanto-int4", 4.5, 0.004, 0.012),
        ("quanto-int2", 2.5, 0.1, 0.3),
        # Keys: half at 2 + 1 bits, half at 1 + 0.5 and a complex number more; values 1.6 + 0.5; a bit a channel.
        ("vidkv-1.5/1.58", 2.19, 0.1, 0.5),
    ],
)
def test_true_bits_and_errors_are_those_of_the_description(name: str, bits: float, least: float, most: float) -> None:
    keys, values, found = error(name)
    assert found == pytest.approx(bits, abs=0.02)
    assert least < keys < most and least < values < most


@pytest.mark.parametrize("name", [codec.name for codec in rival_codecs(LAYOUT)])
def test_errors_scale_with_the_numbers(name: str) -> None:
    assert error(name, scale=16.0) == pytest.approx(error(name), rel=1e-2)


def test_keys_are_coded_where_they_stand_in_the_stream() -> None:
    # What is constant after the rotation costs a codec of turned keys nothing, wherever it was before.
    cos, sin = angle_table(POSITIONS, LAYOUT.rotary, torch.float32)
    steady = torch.randn(2, 2, 1, 64).expand(2, 2, 256, 64)
    raw = rotate(steady, cos, -sin)
    kivi = rival_codecs(LAYOUT)[0]
    found, _, _ = kivi.reread(raw, torch.zeros_like(raw), POSITIONS)
    torch.testing.assert_close(found, raw, atol=2e-3, rtol=2e-3)


def test_a_scaled_rotation_comes_back() -> None:
    scaled = dataclasses.replace(LAYOUT, rotary=dataclasses.replace(LAYOUT.rotary, scaling=1.3))
    assert error("quanto-int4", layout=scaled)[0] == pytest.approx(error("quanto-int4")[0], rel=1e-2)


def test_vidkv_keeps_the_signs_and_the_scale_that_its_code_loses() -> None:
    values = torch.randn(2, 2, 64, 64, generator=torch.Generator().manual_seed(1)) * 7
    vidkv = next(codec for codec in rival_codecs(LAYOUT) if codec.name.startswith("vidkv"))
    keys, held, _ = vidkv.reread(values, values, POSITIONS[:64])
    assert (held[values > 7] > 3).all() and (held[values < -7] < -3).all()
    assert torch.corrcoef(torch.stack((keys.flatten(), values.flatten())))[0, 1] > 0.8
