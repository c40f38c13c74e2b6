import pytest

from onlooker.models.catalogue import CATALOGUE, FAMILIES, alternatives, known_model

# Keys and values of a token in fp16, as they are known from elsewhere.
TOKEN_BYTES = {
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": 12_288,
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": 57_344,
    "Qwen/Qwen2.5-VL-3B-Instruct": 36_864,
    "Qwen/Qwen2.5-VL-7B-Instruct": 57_344,
    "Qwen/Qwen3-VL-2B-Instruct": 114_688,
    "Qwen/Qwen3-VL-4B-Instruct": 147_456,
    "Qwen/Qwen3-VL-8B-Instruct": 147_456,
}


def test_the_shapes_give_the_known_bytes() -> None:
    assert {model.name: model.shape.token_bytes() for model in CATALOGUE} == TOKEN_BYTES


@pytest.mark.parametrize("model", CATALOGUE, ids=lambda model: model.name)
def test_an_entry_is_sound(model: object) -> None:
    assert known_model(model.name.upper()) is model
    assert model.family in FAMILIES
    assert model.shape.query_heads % model.shape.kv_heads == 0
    # The name says how many billions there are; vision tower and embeddings come on top, in part.
    billions = float(model.name.lower().replace("-instruct", "").replace("-ov-hf", "").rpartition("-")[2].rstrip("b"))
    assert billions * 1e9 < model.parameters < 1.9 * billions * 1e9
    assert model.weights_bytes(4) == 2 * model.weights_bytes() == 4 * model.parameters


def test_only_one_licence_forbids_commerce() -> None:
    assert {model.name for model in CATALOGUE if model.licence != "apache-2.0"} == {"Qwen/Qwen2.5-VL-3B-Instruct"}


def test_alternatives_come_smallest_first() -> None:
    assert alternatives("qwen2_5_vl") == ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct")
    assert alternatives("gpt2") == ()
    assert known_model("owner/model") is None
