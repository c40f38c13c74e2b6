"""Shapes of published models with random weights: how fast they would be here, without fetching one.

Answers are nonsense; sizes and times are real.  The text comes from a word-level stand-in for the tokenizer, so stamps
and questions have about as many tokens as the published ones.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    LlavaOnevisionConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen3VLConfig,
)

from ..errors import SettingsError
from ..models.adapter import Adapter
from ..models.attention import register_attention
from ..models.llava_onevision import LlavaOnevisionBackbone
from ..models.qwen2_5_vl import Qwen2_5VLBackbone
from ..models.qwen3_vl import Qwen3VLBackbone
from ..models.vision_attention import register_vision_attention

_MARKERS = ("<unk>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>", "<video>")
_WORDS = ("system", "user", "assistant", "\n", "<", ">", ".", ":", "?", "seconds", *"0123456789")


@dataclass(frozen=True, slots=True)
class Shape:
    """Describe a published model: its adapter, and its text and vision towers in their config's words."""

    adapter: type[Adapter]
    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    tied: bool

    def config(self) -> PreTrainedConfig:
        """Write it as transformers' configuration, with the stand-in's token ids."""
        vocab = {token: number for number, token in enumerate(_MARKERS)}
        text = {
            **self.text,
            "tie_word_embeddings": self.tied,
            "bos_token_id": None,
            "eos_token_id": vocab["<|im_end|>"],
        }
        if self.adapter is LlavaOnevisionBackbone:
            return LlavaOnevisionConfig(
                text_config={"model_type": "qwen2", **text},
                vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **self.vision},
                image_token_index=vocab["<unk>"],
                video_token_index=vocab["<video>"],
                tie_word_embeddings=self.tied,
            )
        kind = Qwen3VLConfig if self.adapter is Qwen3VLBackbone else Qwen2_5_VLConfig
        return kind(
            text_config=text,
            vision_config=dict(self.vision),
            vision_start_token_id=vocab["<|vision_start|>"],
            vision_end_token_id=vocab["<|vision_end|>"],
            video_token_id=vocab["<|video_pad|>"],
            image_token_id=vocab["<unk>"],
            tie_word_embeddings=self.tied,
        )


def _text(hidden: int, inner: int, layers: int, heads: int, kv_heads: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 128_000,
        **more,
    }


def _qwen2(vocabulary: int, *sizes: int) -> dict[str, Any]:
    return _text(*sizes, vocab_size=vocabulary, rope_parameters={"rope_type": "default", "rope_theta": 1e6})


def _qwen2_5_vl(vocabulary: int, *sizes: int) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    return _text(*sizes, vocab_size=vocabulary, rope_parameters=rope)


def _qwen3_vl(*sizes: int) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]}
    return _text(*sizes, vocab_size=151_936, head_dim=128, rope_parameters=rope)


_SIGLIP = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
}
_TOWER_2_5 = {
    "depth": 32,
    "hidden_size": 1280,
    "num_heads": 16,
    "intermediate_size": 3420,
    "patch_size": 14,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "tokens_per_second": 2,
}
_TOWER_3_SMALL = {
    "depth": 24,
    "hidden_size": 1024,
    "num_heads": 16,
    "intermediate_size": 4096,
    "patch_size": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [5, 11, 17],
}
_TOWER_3 = {
    **_TOWER_3_SMALL,
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "deepstack_visual_indexes": [8, 16, 24],
}

# As published in the models' config.json files; the sizes of models.catalogue follow from them, and a test counts.
SHAPES: Mapping[str, Shape] = {
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": Shape(
        LlavaOnevisionBackbone, _qwen2(152_000, 896, 4864, 24, 14, 2), _SIGLIP, True
    ),
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": Shape(
        LlavaOnevisionBackbone, _qwen2(152_064, 3584, 18944, 28, 28, 4), _SIGLIP, False
    ),
    "Qwen/Qwen2.5-VL-3B-Instruct": Shape(
        Qwen2_5VLBackbone,
        _qwen2_5_vl(151_936, 2048, 11008, 36, 16, 2),
        {**_TOWER_2_5, "out_hidden_size": 2048},
        True,
    ),
    "Qwen/Qwen2.5-VL-7B-Instruct": Shape(
        Qwen2_5VLBackbone,
        _qwen2_5_vl(152_064, 3584, 18944, 28, 28, 4),
        {**_TOWER_2_5, "out_hidden_size": 3584},
        False,
    ),
    "Qwen/Qwen3-VL-2B-Instruct": Shape(
        Qwen3VLBackbone, _qwen3_vl(2048, 6144, 28, 16, 8), {**_TOWER_3_SMALL, "out_hidden_size": 2048}, True
    ),
    "Qwen/Qwen3-VL-4B-Instruct": Shape(
        Qwen3VLBackbone, _qwen3_vl(2560, 9728, 36, 32, 8), {**_TOWER_3_SMALL, "out_hidden_size": 2560}, True
    ),
    "Qwen/Qwen3-VL-8B-Instruct": Shape(
        Qwen3VLBackbone, _qwen3_vl(4096, 12288, 36, 32, 8), {**_TOWER_3, "out_hidden_size": 4096}, False
    ),
}


def shape_of(name: str) -> Shape:
    """Look a shape up by its model's hub id.  Raises SettingsError for one that is not here."""
    if name not in SHAPES:
        raise SettingsError(f"there is no shape {name!r}; choose from {', '.join(SHAPES)}")
    return SHAPES[name]


def random_backbone(
    name: str, shape: Shape, folder: Path, device: torch.device, dtype: torch.dtype, frame_tokens: int
) -> Adapter:
    """Make a backbone of random weights on a device.  folder: an empty one, for its config and tokenizer."""
    config = shape.config()
    config.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    side = shape.vision.get("image_size", 0)
    fields = {"size": {"height": side, "width": side}} if side else {"patch_size": shape.vision["patch_size"]}
    (folder / "preprocessor_config.json").write_text(json.dumps(fields), encoding="utf-8")
    attention = {"text_config": register_attention(), "vision_config": register_vision_attention()}
    with torch.device(device):
        model = shape.adapter.model_class._from_config(config, dtype=dtype, attn_implementation=attention)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:  # norms and biases are as they were made
                weight.normal_(0.0, 0.02)
    return shape.adapter(name, model, _tokenizer(), folder, None, frame_tokens)


def _tokenizer() -> PreTrainedTokenizerFast:
    """Make the stand-in: words by their order of appearance, anything else unknown."""
    vocabulary = {token: number for number, token in enumerate((*_MARKERS, *_WORDS))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    split = pre_tokenizers.Split(Regex(r"\n|\d|[:?<>.]"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.Split(Regex(" +"), "removed")])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        eos_token="<|im_end|>",
        additional_special_tokens=list(_MARKERS[1:]),
        clean_up_tokenization_spaces=False,
    )
