import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from onlooker.bench import shape_speed, shapes
from onlooker.bench.shape_speed import measure_shape, report_text
from onlooker.bench.shapes import SHAPES, Shape, random_backbone, shape_of
from onlooker.errors import SettingsError
from onlooker.models.catalogue import CATALOGUE
from onlooker.models.fit import CacheShape

CPU = torch.device("cpu")


def test_the_shapes_are_those_of_the_catalogue() -> None:
    """Built of no memory at all, with transformers' own classes: as many numbers as the published weights."""
    assert set(SHAPES) == {known.name for known in CATALOGUE}
    for known in CATALOGUE:
        shape = SHAPES[known.name]
        assert shape.adapter.model_type == known.family
        config = shape.config()
        with torch.device("meta"):
            model = shape.adapter.model_class(config)
        assert sum(weight.numel() for weight in model.parameters()) == known.parameters
        assert CacheShape.of_config(config.to_dict()) == known.shape


def tiny(name: str) -> Shape:
    """The same family, a few thousand numbers large."""
    whole = SHAPES[name]
    text = {"hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 2, "vocab_size": 64}
    vision = {"hidden_size": 32, "intermediate_size": 48}
    rope = dict(whole.text["rope_parameters"])
    if "mrope_section" in rope:
        rope["mrope_section"] = [4, 2, 2]
        vision |= {"depth": 2, "num_heads": 2, "out_hidden_size": 64}
        vision |= {key: [0] for key in ("fullatt_block_indexes", "deepstack_visual_indexes") if key in whole.vision}
    else:
        vision |= {"num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56}
    if "head_dim" in whole.text:
        text["head_dim"] = 16
    text["rope_parameters"] = rope
    return Shape(whole.adapter, {**whole.text, **text}, {**whole.vision, **vision}, True)


NAMES = [
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
    "Qwen/Qwen2.5-VL-3B-Instruct",
    "Qwen/Qwen3-VL-2B-Instruct",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_shape_is_checked_and_timed(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    backbone = random_backbone(name, tiny(name), tmp_path, CPU, dtype, 12)
    assert backbone.layout.dtype == dtype
    report = measure_shape(backbone, [50, 2], 8)
    assert report.check.pixels == 0.0
    assert report.check.chunks < (1e-4 if dtype == torch.float32 else 0.2)
    whole, few = report.speeds
    assert whole.kept == whole.cells <= 12 and few.kept == 2
    assert whole.frames == few.frames == 8
    assert whole.archive_bytes > few.archive_bytes > 0
    assert 0 < whole.first_token_ms <= whole.worst_ms and whole.rate > 0
    assert "2 of" in report_text(report) and name in report_text(report)
    assert json.loads(json.dumps(report.to_dict()))["weights_bytes"] == backbone.weights_bytes > 0


def test_chunks_that_differ_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = random_backbone(NAMES[2], tiny(NAMES[2]), tmp_path, CPU, torch.float32, 12)
    assemble = shape_speed.assemble

    def shifted(layout: Any, parts: Any, device: Any) -> Any:
        return assemble(layout, parts, 9, device)

    monkeypatch.setattr(shape_speed, "assemble", shifted)
    assert shape_speed.check_chunks(backbone) > 1e-3


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onlooker.cli.main import app

    monkeypatch.setattr(shapes, "SHAPES", {"small": tiny(NAMES[1])})
    words = ["bench", "shapes", "--model", "small", "--frames", "8", "--frame-tokens", "6", "--device", "cpu"]
    done = CliRunner().invoke(app, [*words, "--json", str(tmp_path / "x.json")], catch_exceptions=False)
    assert done.exit_code == 0 and "bfloat16 on cpu" in done.stdout
    assert json.loads((tmp_path / "x.json").read_text())["model"] == "small"
    for kept in ("a,b", "0", ""):
        done = CliRunner().invoke(app, [*words, "--kept", kept])
        assert isinstance(done.exception, SettingsError) and "196,50" in str(done.exception)


def test_a_shape_that_is_not_here() -> None:
    with pytest.raises(SettingsError, match="choose from llava-hf"):
        shape_of("gpt2")
