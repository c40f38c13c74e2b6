"""A tiny random LLaVA-OneVision with a word-level tokenizer, saved as a model folder.

Tests reach it through the fixtures make_tiny_model, tiny_folder and tiny_backbone.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

SPECIALS = ("<unk>", "<pad>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
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
)
IMAGE_SIDE = 42
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<video>' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}"
    "{% endfor %}{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer of words, digits and line ends."""
    tokens = [*SPECIALS, *WORDS, *"0123456789"]
    tokens += [f"w{number}" for number in range(96 - len(tokens))]
    tokenizer = Tokenizer(WordLevel({token: number for number, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n|\d|[:?]"), "isolated"),
            pre_tokenizers.Split(Regex(" +"), "removed"),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", "<image>", "<video>"],
        clean_up_tokenization_spaces=False,
    )


def save_tiny_model(folder: Path, seed: int = 0, card: Mapping[str, object] | None = None) -> Path:
    """Write a tiny random model to a folder, ready for load_backbone; weights wide enough for lively attention."""
    config = LlavaOnevisionConfig(
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
            vocab_size=96,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            bos_token_id=None,
            eos_token_id=3,
            tie_word_embeddings=True,
        ).to_dict(),
        image_token_index=4,
        video_token_index=5,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaOnevisionForConditionalGeneration(config)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                scale = 0.3 if weight.ndim == 1 else 1.6 * weight.shape[-1] ** -0.5
                if "norm" not in name:
                    weight.copy_(torch.randn(weight.shape) * scale)
    model.generation_config.eos_token_id = 3
    model.save_pretrained(folder, safe_serialization=True)
    tiny_tokenizer().save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    preprocessing = {
        "do_resize": True,
        "size": {"height": IMAGE_SIDE, "width": IMAGE_SIDE},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.5, 0.6, 0.7],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    if card is not None:
        (folder / "onlooker.json").write_text(json.dumps(card))
    return folder
