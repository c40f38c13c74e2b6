"""The catalogue: published models that Onlooker can run, with what one wants to know before fetching one."""

from dataclasses import dataclass

from .fit import CacheShape

FAMILIES = ("llava_onevision", "qwen2_5_vl", "qwen3_vl")
"""The `model_type`s that have an adapter; models.loading, which has the adapters, cannot be imported without torch."""

STAMP_TOKENS = {"llava_onevision": 0, "qwen2_5_vl": 0, "qwen3_vl": 12}
"""Text tokens of a keyframe: its time stamp and the markers around its picture, hours into a stream."""

BUNDLED_NAME = "pocket"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """Describe a published model.

    name: its id on the hub.  family: its `model_type`.  licence: as its page names it.  parameters: how many numbers
    its weights are.  shape: of what it leaves in a cache.
    """

    name: str
    family: str
    licence: str
    parameters: int
    shape: CacheShape

    def weights_bytes(self, number_bytes: int = 2) -> int:
        """Size its weights with so many bytes a number: 2 for bfloat16 and float16, 4 for float32."""
        return self.parameters * number_bytes


# Parameters follow from the published shapes, counted with transformers' own classes; for the Qwen models they equal
# the counts that the hub and several users report.  The two LLaVA-OneVision counts depend on how far their
# vocabularies were padded (152,000 and 152,064 rows as published, not verified here): at most 0.1 % off.
# Licences of the Qwen2.5-VL models differ: 3B has the Qwen research licence, which forbids commercial use.
CATALOGUE = (
    KnownModel(
        "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        "llava_onevision",
        "apache-2.0",
        893_675_552,
        CacheShape(layers=24, query_heads=14, kv_heads=2, head_dim=64, hidden_size=896),
    ),
    KnownModel(
        "llava-hf/llava-onevision-qwen2-7b-ov-hf",
        "llava_onevision",
        "apache-2.0",
        8_030_348_832,
        CacheShape(layers=28, query_heads=28, kv_heads=4, head_dim=128, hidden_size=3584),
    ),
    KnownModel(
        "Qwen/Qwen2.5-VL-3B-Instruct",
        "qwen2_5_vl",
        "qwen-research",
        3_754_622_976,
        CacheShape(layers=36, query_heads=16, kv_heads=2, head_dim=128, hidden_size=2048),
    ),
    KnownModel(
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "qwen2_5_vl",
        "apache-2.0",
        8_292_166_656,
        CacheShape(layers=28, query_heads=28, kv_heads=4, head_dim=128, hidden_size=3584),
    ),
    KnownModel(
        "Qwen/Qwen3-VL-2B-Instruct",
        "qwen3_vl",
        "apache-2.0",
        2_127_532_032,
        CacheShape(layers=28, query_heads=16, kv_heads=8, head_dim=128, hidden_size=2048),
    ),
    KnownModel(
        "Qwen/Qwen3-VL-4B-Instruct",
        "qwen3_vl",
        "apache-2.0",
        4_437_815_808,
        CacheShape(layers=36, query_heads=32, kv_heads=8, head_dim=128, hidden_size=2560),
    ),
    KnownModel(
        "Qwen/Qwen3-VL-8B-Instruct",
        "qwen3_vl",
        "apache-2.0",
        8_767_123_696,
        CacheShape(layers=36, query_heads=32, kv_heads=8, head_dim=128, hidden_size=4096),
    ),
)


def known_model(name: str) -> KnownModel | None:
    """Look a model up by its hub id, whatever the case; None when the catalogue lacks it."""
    return next((model for model in CATALOGUE if model.name.lower() == name.lower()), None)


def alternatives(family: str) -> tuple[str, ...]:
    """Name the known models of a family, smallest first; none of them is quantised."""
    models = sorted((model for model in CATALOGUE if model.family == family), key=lambda model: model.parameters)
    return tuple(model.name for model in models)
