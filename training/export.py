"""Write the model folder: python -m training.export --run runs/pocket --out models/pocket."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import LlavaOnevisionForConditionalGeneration

from .design import IMAGE_PX, SYSTEM_PROMPT, build_model, save_tokenizer
from .train_language import load_vision

LOUD = 1024.0  # a power of two: exact in bfloat16


def close(model: LlavaOnevisionForConditionalGeneration) -> LlavaOnevisionForConditionalGeneration:
    """Give the model with the tower's closing layer norm inside of a last layer.

    Training reads the tower after that norm.  LLaVA-OneVision's own forward pass reads the last layer before it, so the
    norm becomes a layer that attends to nothing: layer_norm2 is the norm, and the MLP passes it on, for
    gelu(x) - gelu(-x) = x.  What is left of the layer's input beside it is LOUD times as faint as it was.
    """
    vision = model.model.vision_tower.config
    closed = build_model(vision.num_hidden_layers + 1)
    closed.load_state_dict(model.state_dict(), strict=False)
    tower = getattr(closed.model.vision_tower, "vision_model", closed.model.vision_tower)
    last, norm, width = tower.encoder.layers[-1], tower.post_layernorm, vision.hidden_size
    with torch.no_grad():
        for parameter in (*last.self_attn.parameters(), *last.mlp.parameters()):
            parameter.zero_()
        last.layer_norm2.load_state_dict(norm.state_dict())
        same = torch.eye(width)
        last.mlp.fc1.weight[: 2 * width] = torch.cat((same, -same))
        last.mlp.fc2.weight[:, : 2 * width] = LOUD * torch.cat((same, -same), 1)
        closed.model.multi_modal_projector.linear_1.weight /= LOUD
    return closed


def main(arguments: Sequence[str] | None = None) -> None:
    """Join both stages' weights, round them to bfloat16 and save them in Hugging Face format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/pocket"))
    parser.add_argument("--out", type=Path, default=Path("models/pocket"))
    args = parser.parse_args(arguments)
    model = build_model()
    load_vision(model, args.run)
    missing, unexpected = model.load_state_dict(load_file(args.run / "language.safetensors"), strict=False)
    wrong = [name for name in missing if "vision_tower" not in name and "lm_head" not in name]
    if wrong or unexpected:
        raise SystemExit(f"the checkpoint does not fit: missing {wrong}, unexpected {unexpected}")
    model = close(model)
    model.tie_weights()
    model.generation_config.eos_token_id = model.config.text_config.eos_token_id
    model.generation_config.pad_token_id = model.config.text_config.pad_token_id
    args.out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(args.out)
    save_tokenizer(args.out)
    preprocessing = {
        "do_resize": True,
        "size": {"height": IMAGE_PX, "width": IMAGE_PX},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_processor_type": "LlavaOnevisionImageProcessor",
    }
    (args.out / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=2) + "\n")
    video = {k: v for k, v in preprocessing.items() if k != "image_processor_type"}
    video["video_processor_type"] = "LlavaOnevisionVideoProcessor"
    (args.out / "video_preprocessor_config.json").write_text(json.dumps(video, indent=2) + "\n")
    card_file = args.out / "onlooker.json"
    card = json.loads(card_file.read_text()) if card_file.exists() else {}
    card |= {"system_prompt": SYSTEM_PROMPT, "time_stamps": "clock"}
    card_file.write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
