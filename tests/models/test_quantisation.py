from typing import Any

import pytest

from onlooker.errors import ModelError
from onlooker.models import quantisation
from onlooker.models.quantisation import check_quantisation, method_of, quantisation_of


def test_plain_weights_pass() -> None:
    assert check_quantisation("owner/model", {"model_type": "qwen3_vl"}) is False
    assert check_quantisation("owner/model", {"quantization_config": None, "text_config": []}) is False


@pytest.mark.parametrize(
    "config",
    [
        {"quantization_config": {"quant_method": "x"}},
        {"compression_config": {"quant_method": "x"}},
        {"text_config": {"quantization_config": {"quant_method": "x"}}},
    ],
)
def test_it_is_found_wherever_it_stands(config: dict[str, Any]) -> None:
    assert quantisation_of(config) == {"quant_method": "x"}
    with pytest.raises(ModelError, match=r"quantised with x, .*does not know this method"):
        check_quantisation("owner/model", config)


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"load_in_4bit": True, "quant_method": "bitsandbytes"}, "bitsandbytes_4bit"),
        ({"load_in_8bit": True}, "bitsandbytes_8bit"),
        ({"quant_method": "awq"}, "awq"),
        ({}, "unknown"),
    ],
)
def test_methods_are_named_as_transformers_does(settings: dict[str, Any], method: str) -> None:
    assert method_of(settings) == method


@pytest.mark.parametrize(
    ("settings", "package"),
    [
        ({"quant_method": "awq", "bits": 4}, "gptqmodel"),
        ({"quant_method": "gptq", "bits": 4}, "optimum"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "accelerate"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
        ({"quant_method": "fp8"}, "kernels"),
        ({"quant_method": "mxfp4"}, "kernels"),
    ],
)
def test_what_wants_packages_is_refused_with_their_name(settings: dict[str, Any], package: str) -> None:
    config = {"model_type": "qwen2_5_vl", "quantization_config": settings}
    name = "someone/Qwen2.5-VL-3B-Instruct-4bit"
    with pytest.raises(ModelError, match=f"is quantised with .*{package}") as caught:
        check_quantisation(name, config)
    assert str(caught.value).endswith("; take an unquantised model, such as Qwen/Qwen2.5-VL-3B-Instruct")
    assert "\n" not in str(caught.value)


def test_without_a_known_model_of_the_family_there_is_still_a_remedy() -> None:
    with pytest.raises(ModelError, match=r"; take the unquantised one$"):
        check_quantisation("owner/model", {"model_type": "gpt2", "quantization_config": {"quant_method": "mxfp4"}})


def test_what_transformers_can_load_here_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"model_type": "qwen3_vl", "quantization_config": {"quant_method": "awq", "bits": 4}}
    monkeypatch.setattr(quantisation, "_obstacle", lambda *_: None)
    assert check_quantisation("owner/model", config) is True
