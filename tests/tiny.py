"""Tiny random models of each family with a word-level tokenizer, saved as model folders.

Tests reach them through the fixtures make_tiny_model, tiny_folder and tiny_backbone.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import (
    DynamicCache,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipVisionConfig,
)
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

FAMILIES = {
    "llava_onevision": LlavaOnevisionForConditionalGeneration,
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    "qwen3_vl": Qwen3VLForConditionalGeneration,
}
VISUAL_TYPE = 2  # what transformers' processors call a video token in mm_token_type_ids
SPECIALS = ("<unk>", "<pad>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
WORDS = (
    "user",
    "system",
    "assistant",
    "\n",
    "what",
    "where",
    "is",
    "the",
    "ball",
    "red",
    "left",
    "seen",
    "at",
    ":",
    "?",
    "<",
    ">",
    ".",
    "seconds",
)
IMAGE_SIDE = 42
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<video>' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}"
    "{% endfor %}{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

QWEN_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for content in message['content'] %}{% if content['type'] == 'video' %}"
    "{{ '<|vision_start|><|video_pad|><|vision_end|>' }}{% else %}{{ content['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer of words, digits and line ends."""
    tokens = [*SPECIALS, *VISION, *WORDS, *"0123456789"]
    tokens += [f"w{number}" for number in range(96 - len(tokens))]
    tokenizer = Tokenizer(WordLevel({token: number for number, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n|\d|[:?<>.]"), "isolated"),
            pre_tokenizers.Split(Regex(" +"), "removed"),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", "<image>", "<video>", *VISION],
        clean_up_tokenization_spaces=False,
    )


def save_tiny_model(
    folder: Path, seed: int = 0, card: Mapping[str, object] | None = None, family: str = "llava_onevision"
) -> Path:
    """Write a tiny random model to a folder, ready for load_backbone; weights wide enough for lively attention."""
    config = _llava_config() if family == "llava_onevision" else _qwen_config(family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FAMILIES[family](config)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                scale = 0.3 if weight.ndim == 1 else 1.6 * weight.shape[-1] ** -0.5
                if weight.ndim == 5:  # a convolution over patches: all of a patch is summed
                    scale = 1.6 * weight[0].numel() ** -0.5
                if "norm" not in name:
                    weight.copy_(torch.randn(weight.shape) * scale)
                elif "k_norm" in name or "q_norm" in name:
                    weight.copy_(torch.rand(weight.shape) + 0.5)  # a key norm that does something
    model.generation_config.eos_token_id = 3
    model.save_pretrained(folder, safe_serialization=True)
    tiny_tokenizer().save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE if family == "llava_onevision" else QWEN_TEMPLATE)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING[family]))
    if card is not None:
        (folder / "onlooker.json").write_text(json.dumps(card))
    return folder


_SCALE = {
    "do_resize": True,
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.6, 0.7],
}
PREPROCESSING: dict[str, dict[str, object]] = {
    "llava_onevision": {**_SCALE, "size": {"height": IMAGE_SIDE, "width": IMAGE_SIDE}},
    # Two to six cells a frame; Qwen3-VL counts the pixels of a patch's two frames together.
    "qwen2_5_vl": {**_SCALE, "patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
    | {"min_pixels": 2 * 28 * 28, "max_pixels": 6 * 28 * 28},
    "qwen3_vl": {**_SCALE, "patch_size": 16, "merge_size": 2, "temporal_patch_size": 2}
    | {"size": {"shortest_edge": 2 * 2 * 32 * 32, "longest_edge": 2 * 6 * 32 * 32}},
}


def _llava_config() -> PreTrainedConfig:
    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=IMAGE_SIDE,
            patch_size=14,
            vision_use_head=False,
        ).to_dict(),
        text_config=Qwen2Config(
            **_TEXT,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            bos_token_id=None,
            eos_token_id=3,
            tie_word_embeddings=True,
        ).to_dict(),
        image_token_index=4,
        video_token_index=5,
        tie_word_embeddings=True,
    )


_TEXT = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}


def _qwen_config(family: str) -> PreTrainedConfig:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 64,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    ids = {"vision_start_token_id": 6, "vision_end_token_id": 7, "image_token_id": 8, "video_token_id": 9}
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    if family == "qwen2_5_vl":
        # A window of two by two cells, so that window attention differs from full attention.
        vision |= {"patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1], "tokens_per_second": 2}
        text = {**_TEXT, "rope_parameters": {**rope, "mrope_section": [2, 3, 3]}, "bos_token_id": None}
        text["eos_token_id"] = 3
        return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    vision |= {"patch_size": 16, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
    text = {**_TEXT, "head_dim": 16, "rope_parameters": {**rope, "mrope_section": [4, 2, 2]}}
    return Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)


class OwnModel:
    """Hold transformers' own model of a folder, with its own attention and its own rotation: the reference.

    Positions are int64 [n, axes], planes [n, p, D] DeepStack planes that count where visual (bool [n]) is set.
    """

    def __init__(self, folder: Path, family: str) -> None:
        self.family = family
        model = FAMILIES[family].from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        self.model = model.eval()
        self.text = self.model.model.language_model

    def forward(
        self,
        features: Tensor,
        positions: Tensor | None = None,
        planes: Tensor | None = None,
        visual: Tensor | None = None,
        cache: DynamicCache | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, DynamicCache]:
        """Run features [n, D] over a cache: logits of all of them, and the cache with them in it.

        mask: float [n, cache + n], added to the scores; causal when left out.
        """
        if positions is not None:
            positions = positions.T if positions.shape[1] == 1 else positions.T[:, None]
        more = {}
        if planes is not None:
            assert visual is not None
            more = {"visual_pos_masks": visual[None], "deepstack_visual_embeds": list(planes[visual].unbind(1))}
        cache = DynamicCache() if cache is None else cache
        with torch.no_grad():
            out = self.text(
                inputs_embeds=features[None],
                attention_mask=None if mask is None else mask[None, None],
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                **more,
            )
            return self.model.lm_head(out.last_hidden_state)[0], out.past_key_values

    def rotate(self, keys: Tensor, positions: Tensor) -> Tensor:
        """Rotate raw keys [kv_heads, n, head_dim] as the model's own layers do."""
        at = positions.T if positions.shape[1] == 1 else positions.T[:, None]
        cos, sin = self.text.rotary_emb(keys, at)
        return apply_rotary_pos_emb(keys[None], keys[None], cos, sin)[1][0]

    def listen(self) -> tuple[list[list[Tensor]], list[Any]]:
        """Keep each layer's raw keys [kv_heads, n, head_dim] of every pass from now on; the hooks end it."""
        raw: list[list[Tensor]] = [[] for _ in self.text.layers]
        hooks = []
        for kept, layer in zip(raw, self.text.layers, strict=True):
            attention = layer.self_attn
            dim, made = attention.head_dim, getattr(attention, "k_norm", attention.k_proj)

            def keep(_module: object, _inputs: object, out: Tensor, kept: list[Tensor] = kept, dim: int = dim) -> None:
                kept.append(out.detach().reshape(out.shape[1], -1, dim).transpose(0, 1))

            hooks.append(made.register_forward_hook(keep))
        return raw, hooks

    def positions(self, ids: Tensor, grids: Tensor, seconds_per_grid: float | None = None) -> Tensor:
        """Let the model's own position builder number a prompt of ids [n] whose video tokens are 9: [n, axes]."""
        types = (ids == 9).int() * VISUAL_TYPE
        more = {} if seconds_per_grid is None else {"second_per_grid_ts": torch.tensor([seconds_per_grid])}
        built, _ = self.model.model.get_rope_index(
            input_ids=ids[None], mm_token_type_ids=types[None], video_grid_thw=grids, **more
        )
        return built[:, 0].T

    def greedy(self, features: Tensor, position: int, cache: DynamicCache, count: int) -> tuple[Tensor, list[int]]:
        """Run text over a cache, alike on every axis from a position on, then decode up to count ids, one by one."""
        axes = 1 if self.family == "llava_onevision" else 3
        ids: list[int] = []
        first: Tensor | None = None
        while True:
            at = torch.arange(position, position + len(features))[:, None].expand(-1, axes)
            logits, cache = self.forward(features, at, cache=cache)
            position += len(features)
            first = logits[-1] if first is None else first
            token = int(logits[-1].argmax())
            if token == 3 or len(ids) == count:
                return first, ids
            ids.append(token)
            features = self.model.get_input_embeddings()(torch.tensor([token])).detach()
