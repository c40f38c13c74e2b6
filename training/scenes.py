"""The bank of scenes that stage two draws its contexts from: features of the frozen tower, with the scene's script."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from onlooker.theatre.script import any_scene
from onlooker.theatre.stage import Scene, Stage

from .design import IMAGE_PX
from .vision import disturb, see

SCENE_US = 6_000_000


@dataclass(frozen=True, slots=True)
class Filmed:
    """One scene and the features of its frames: [frames, cells, D] bf16 at `moments_us` (ascending)."""

    scene: Scene
    features: Tensor
    moments_us: tuple[int, ...]


def film(
    model: LlavaOnevisionForConditionalGeneration, scenes: Sequence[Scene], rng: np.random.Generator, batch: int = 96
) -> list[Filmed]:
    """Draw each scene at a few moments (five when something moves, else two) and run the tower over them."""
    stages = [Stage(IMAGE_PX, backdrops_kept=2048), Stage(2 * IMAGE_PX, backdrops_kept=512)]
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    made: list[Filmed] = []
    waiting: list[tuple[Scene, tuple[int, ...]]] = []
    images: list[np.ndarray] = []

    def flush() -> None:
        if not images:
            return
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            features = see(model, disturb(torch.from_numpy(np.stack(images)), generator)).to(torch.bfloat16)
        start = 0
        for scene, moments in waiting:
            made.append(Filmed(scene, features[start : start + len(moments)].clone(), moments))
            start += len(moments)
        images.clear()
        waiting.clear()

    for scene in scenes:
        moves = scene.kind in ("move", "busy")
        share = np.linspace(0.03, 0.95, 5) if moves else np.array([0.1, 0.6])
        share = np.clip(share + rng.uniform(-0.03, 0.03, len(share)), 0, 1)
        moments = tuple(int(scene.start_us + s * (scene.end_us - scene.start_us)) for s in share)
        large = rng.random() < 0.4
        for moment in moments:
            image = stages[large].draw(scene, moment)
            if large:
                image = image.reshape(IMAGE_PX, 2, IMAGE_PX, 2, 3).mean((1, 3)).astype(np.uint8)
            images.append(image)
        waiting.append((scene, moments))
        if len(images) >= batch:
            flush()
    flush()
    return made


def fill_bank(model: LlavaOnevisionForConditionalGeneration, count: int, seed: int) -> list[Filmed]:
    """Film `count` scenes of training's own seeds."""
    rng = np.random.default_rng([0x7EA2, seed])
    return film(model, [any_scene(rng, 0, SCENE_US) for _ in range(count)], rng)


def load_bank(model: LlavaOnevisionForConditionalGeneration, count: int, seed: int, folder: Path) -> list[Filmed]:
    """Read the bank of a seed from the folder; fill it and keep it there when it is not yet."""
    file = folder / f"bank-{seed}-{count}.safetensors"
    if not file.exists():
        bank = fill_bank(model, count, seed)
        moments = [torch.tensor(filmed.moments_us) for filmed in bank]
        tensors = {
            "features": torch.cat([filmed.features for filmed in bank]),
            "moments": torch.cat(moments),
            "frames": torch.tensor([len(m) for m in moments]),
        }
        save_file(tensors, file)
        return bank
    held = load_file(file)
    rng = np.random.default_rng([0x7EA2, seed])
    frames = held["frames"].tolist()
    parts = zip(held["features"].split(frames), held["moments"].split(frames), strict=True)
    return [Filmed(any_scene(rng, 0, SCENE_US), features, tuple(moments.tolist())) for features, moments in parts]
