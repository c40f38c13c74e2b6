import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from onlooker.errors import ModelError
from onlooker.model import load
from onlooker.models.fit import CacheShape, bytes_text, describe, fit, hours_text, weights_numbers
from onlooker.settings import Settings
from onlooker.stream.ingest import Ingest
from onlooker.theatre.show import Show

SHAPE = CacheShape(layers=24, query_heads=14, kv_heads=2, head_dim=64, hidden_size=896)
TEXT = {"num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "hidden_size": 896}


def test_a_shape_is_read_nested_or_flat() -> None:
    assert CacheShape.of_config({"text_config": TEXT}) == SHAPE
    assert CacheShape.of_config({**TEXT, "text_config": {"model_type": "x"}}) == SHAPE
    assert CacheShape.of_config({"text_config": {**TEXT, "head_dim": 128}}).head_dim == 128
    many = {name: value for name, value in TEXT.items() if name != "num_key_value_heads"}
    assert CacheShape.of_config(many).kv_heads == 14
    for wrong in (None, "24", 0, True):
        with pytest.raises(ModelError, match="num_hidden_layers as"):
            CacheShape.of_config({**TEXT, "num_hidden_layers": wrong})


def test_the_shape_of_a_config_is_that_of_the_loaded_model(tiny_folder: Path) -> None:
    backbone = load(str(tiny_folder), device="cpu").backbone
    shape = CacheShape.of_config(json.loads((tiny_folder / "config.json").read_text()))
    assert shape == CacheShape.of_layout(backbone.layout, backbone.hidden_size)
    assert shape.token_bytes(4) == backbone.layout.token_bytes


def test_what_a_memory_takes_follows_from_the_settings() -> None:
    found = fit(SHAPE, frame_tokens=100, stamp_tokens=10)
    assert (found.token_bytes, found.frame_tokens) == (12_288, 35)
    assert found.busy_bytes_h == 2 * 3600 * found.frame_bytes
    assert found.still_bytes_h == 360 * found.frame_bytes
    assert found.still_h == pytest.approx(20 * found.busy_h)
    assert found.busy_h == pytest.approx((found.cap_bytes - found.fixed_bytes) / found.busy_bytes_h)
    assert fit(SHAPE, Settings(recipe="none"), frame_tokens=100, stamp_tokens=10).frame_tokens == 110
    assert fit(SHAPE, Settings(keyframes="all")).still_bytes_h == fit(SHAPE).busy_bytes_h
    assert fit(SHAPE, fps=0.05).still_bytes_h == fit(SHAPE, fps=0.05).busy_bytes_h
    assert fit(SHAPE, number_bytes=4).token_bytes == 24_576
    assert fit(SHAPE, key_heads=4).frame_bytes > fit(SHAPE).frame_bytes
    tight = Settings(archive_bytes=1 << 20)
    assert fit(CacheShape(1, 1, 1, 64, 4096), tight).still_h == 0.0  # recall alone takes more than the cap


@pytest.mark.parametrize("codec", ["raw", "int4", "auto"])
def test_the_reckoning_is_that_of_the_archive_when_every_token_is_kept(codec: Any) -> None:
    backbone = load("pocket", device="cpu").backbone
    heads = backbone.card.retrieval_heads
    settings = Settings(recipe="none", keyframes="all", codec=codec, thumbnail_px=0)
    ingest = Ingest(backbone, settings, heads)
    for frame in Show(3, 120.0).frames(2.0):
        ingest.see(frame)
    stats = ingest.archive.stats()
    height, width = backbone.grid_of(224, 224)
    group = backbone.layout.query_heads // backbone.layout.kv_heads
    found = fit(
        CacheShape.of_layout(backbone.layout, backbone.hidden_size),
        settings,
        number_bytes=backbone.layout.dtype.itemsize,
        frame_tokens=height * width,
        stamp_tokens=len(backbone.tokenize(backbone.stamp(30_000_000))),
        key_heads=len({(head.layer, head.head // group) for head in heads}),
    )
    assert stats.blocks > 50
    measured = (stats.used_bytes - stats.trace_bytes) / stats.blocks
    assert found.fixed_bytes == ingest.archive.traces.fixed_bytes
    assert found.frame_bytes - found.index_bytes == pytest.approx(measured, rel=0.05)


def test_the_report_is_one_line() -> None:
    line = describe(fit(SHAPE, Settings(archive_bytes=2 << 30)))
    assert line.startswith("memory: 12.3 kB of keys and values a token, kept at 4.1 bits a number, up to 211.7 kB a")
    assert line.endswith("; 2.1 GB hold 28.1 h to 1.4 h")


def test_numbers_are_counted_from_headers(tmp_path: Path) -> None:
    save_file({"a": np.zeros((3, 5), np.float16), "b": np.zeros((), np.float32)}, tmp_path / "1.safetensors")
    save_file({"c": np.zeros(7, np.int8)}, tmp_path / "2.safetensors")
    assert weights_numbers(tmp_path) == 15 + 1 + 7
    (tmp_path / "3.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"cannot load .*3.safetensors"):
        weights_numbers(tmp_path)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_499, "999.5 kB"),
        (999_999, "1.0 MB"),
        (14_618_744, "14.6 MB"),
        (15.9e9, "15.9 GB"),
        (2e12, "2.0 TB"),
    ],
)
def test_bytes_for_people(count: float, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (0.0, "0 s"),
        (0.01, "36 s"),
        (0.0166, "1 min"),
        (0.5, "30 min"),
        (0.999, "1.0 h"),
        (47.9, "47.9 h"),
        (48, "2.0 days"),
    ],
)
def test_hours_for_people(hours: float, text: str) -> None:
    assert hours_text(hours) == text
