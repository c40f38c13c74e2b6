"""Train stage one: python -m training.train_vision --minutes 52 --out runs/pocket."""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from . import optimisers
from .design import build_model, vocabulary
from .vision import NAMES, Labels, ahead, batches, disturb, see, sine_cosine


def main(arguments: Sequence[str] | None = None) -> None:
    """Train until the minutes are spent; resume from the folder's last checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=52)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/pocket"))
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    model = build_model()
    tower = model.model.vision_tower
    words = vocabulary()
    labels = Labels(model.config.text_config.hidden_size, [words.index(name) for name in NAMES])
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        table.normal_(0, 1 / 16)
        for name, module in tower.named_modules():
            if name.endswith("position_embedding"):
                module.weight.copy_(sine_cosine(8, module.weight.shape[1]) * 0.5)
    trained = [tower, model.model.multi_modal_projector, labels, model.get_input_embeddings()]
    file = args.out / "vision.safetensors"
    start = 0.0
    if file.exists():
        state = load_file(file)
        model.load_state_dict({k[6:]: v for k, v in state.items() if k.startswith("model.")}, strict=False)
        labels.load_state_dict({k[7:]: v for k, v in state.items() if k.startswith("labels.")})
        start = json.loads((args.out / "vision.json").read_text())["minutes"]
    made = optimisers.build(trained, 1.0e-3, 2.0e-3)
    generator = torch.Generator().manual_seed(args.seed)
    began = time.monotonic() - start * 60
    history: dict[str, float] = {}
    last_saved = time.monotonic()

    def save() -> None:
        state = {f"model.{k}": v for k, v in model.state_dict().items() if "language_model.layers" not in k}
        state |= {f"labels.{k}": v for k, v in labels.state_dict().items()}
        save_file({k: v.detach().contiguous().clone() for k, v in state.items()}, file)
        minutes = (time.monotonic() - began) / 60
        (args.out / "vision.json").write_text(json.dumps({"minutes": minutes, **history}))

    drawn = ahead(batches(args.seed + int(start * 1000), args.batch))
    for step, (images, wanted) in enumerate(drawn, start=1):
        done = (time.monotonic() - began) / 60 / args.minutes
        if done >= 1:
            break
        optimisers.set_rate(made, done)
        with torch.autocast("cpu", torch.bfloat16):
            features = see(model, disturb(images, generator))
        loss, right = labels(features, table, wanted)
        for optimiser in made:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for optimiser in made:
            optimiser.step()
        for name, value in right.items():
            if value == value:
                history[name] = 0.97 * history.get(name, value) + 0.03 * value
        if step % 50 == 0:
            shown = " ".join(f"{name} {value:.3f}" for name, value in history.items())
            rate = step * args.batch / (time.monotonic() - began - start * 60)
            print(
                f"step {step} {done * args.minutes:.1f} min {rate:.0f} fps loss {loss.item():.3f} {shown}", flush=True
            )
        if time.monotonic() - last_saved > 60:
            save()
            last_saved = time.monotonic()
    save()


if __name__ == "__main__":
    main()
