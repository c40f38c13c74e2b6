"""The tables of codec auto are written, read and refused as a whole."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from onlooker.errors import OnlookerError, SettingsError
from onlooker.memory.block import KVLayout, RotarySpec
from onlooker.memory.codecs.choice import codec_of
from onlooker.memory.codecs.tables import CodecTables, block_heads

LAYOUT = KVLayout(2, 4, 2, 16, torch.float32, RotarySpec(tuple(10.0 ** (-n / 8) for n in range(8))), "test")


def test_tables_come_back_from_their_bytes(make_tables: Any, make_samples: Any, tmp_path: Path) -> None:
    tables = make_tables(LAYOUT)
    tables.save(tmp_path / "tables.safetensors")
    again = CodecTables.load(tmp_path / "tables.safetensors")
    assert again.digest == tables.digest and again.to_bytes() == tables.to_bytes()
    written = codec_of("auto", LAYOUT, tables).encode(*make_samples(LAYOUT, 9))
    assert codec_of("auto", LAYOUT, again).encode(*make_samples(LAYOUT, 9)) == written


def test_damaged_tables_are_refused(make_tables: Any) -> None:
    data = make_tables(LAYOUT).to_bytes()
    for broken in (b"", b"x" * 40, data[:-1], data[:-1] + bytes([data[-1] ^ 1]), data + b"x"):
        with pytest.raises(SettingsError, match="calibrate"):
            CodecTables.from_bytes(broken)


def test_files_that_are_not_there_are_refused(make_tables: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        CodecTables.load(tmp_path / "none")
    with pytest.raises(OnlookerError, match="cannot write"):
        make_tables(LAYOUT).save(tmp_path / "none" / "tables")


def test_tables_of_another_model_are_refused(make_tables: Any) -> None:
    with pytest.raises(SettingsError, match="3 layers"):
        codec_of("auto", dataclasses.replace(LAYOUT, layers=3), make_tables(LAYOUT))


@pytest.mark.parametrize(
    ("kv_heads", "head_dim", "together"), [(2, 64, 2), (8, 128, 1), (8, 64, 2), (3, 64, 1), (6, 32, 3), (1, 256, 1)]
)
def test_a_block_is_as_many_heads_as_fit(kv_heads: int, head_dim: int, together: int) -> None:
    assert block_heads(kv_heads, head_dim) == together
