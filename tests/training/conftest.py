"""A model with the start circuits, and samples of a bank as stage one would see it."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from onlooker.theatre.script import any_scene
from onlooker.theatre.stage import Scene
from training.circuits import start_circuits
from training.contexts import Sample, Writer
from training.design import build_model, build_tokenizer, vocabulary
from training.motion import axes, set_motion
from training.scenes import SCENE_US, Filmed
from training.train_language import embed
from training.vision import HEADS

WIDTH, CELLS = 256, 6


@dataclass
class Rehearsal:
    """Hold a model, a writer for it, samples with motions, stage one's reader of places, visual tokens' mark [D]."""

    model: LlavaOnevisionForConditionalGeneration
    writer: Writer
    samples: list[Sample]
    reader: Tensor
    mark: Tensor

    def set_motion(self) -> float:
        """Set motion into the model."""
        return set_motion(
            self.model, self.reader, self.mark / self.mark.norm(), self.samples, partial(embed, self.model)
        )

    def changed(self, before: dict[str, Tensor]) -> set[str]:
        """Name the weights of the layers that are not what they were."""
        now = self.model.state_dict()
        names = [name for name, value in now.items() if not torch.equal(value, before[name])]
        return {".".join(name.split("layers.")[-1].split(".")[:3]) for name in names}

    def state(self) -> dict[str, Tensor]:
        """Copy the weights."""
        return {name: value.clone() for name, value in self.model.state_dict().items()}


def film(scene: Scene, names: Tensor, reader: Tensor, noise: torch.Generator) -> Filmed:
    """Draw what stage one would see of a scene: in each cell a thing's name and where it is."""
    moments = tuple(range(0, SCENE_US, SCENE_US // 4)) if scene.kind == "move" else (0, SCENE_US // 2)
    frames = []
    for moment in moments:
        actor = scene.actors[0]
        x, y = actor.centre(moment / SCENE_US)
        reached = (torch.tensor([x, y]) - 0.5) @ axes(reader)
        row = names[vocabulary().index(actor.sprite)] + reached
        frames.append(row + 0.05 * torch.randn(CELLS, WIDTH, generator=noise))
    return Filmed(scene, torch.stack(frames).to(torch.bfloat16), moments)


@pytest.fixture
def rehearsal() -> Rehearsal:
    torch.manual_seed(0)
    model, tokenizer = build_model().eval(), build_tokenizer()
    table = model.get_input_embeddings().weight.data
    table.normal_(0, 1 / 16)
    names, bias = table.clone(), model.model.multi_modal_projector.linear_2.bias.data
    filmed_with = bias.clone()
    readers = [(torch.randn(size, WIDTH) / 16, min(size - 1, 20)) for size in HEADS.values()]
    rng, noise = np.random.default_rng(0), torch.Generator().manual_seed(0)
    scenes = [scene for scene in (any_scene(rng, 0, SCENE_US) for _ in range(300)) if scene.actors]
    bank = [film(scene, names, readers[0][0], noise) for scene in scenes if len(scene.actors) == 1]
    with torch.no_grad():
        features = torch.cat([filmed.features.flatten(0, 1) for filmed in bank]).float()
        start_circuits(model, features, readers)
    mark = bias - filmed_with
    shown = [Filmed(f.scene, f.features + mark.to(torch.bfloat16), f.moments_us) for f in bank]
    writer = Writer(shown, tokenizer, 0)
    samples: list[Sample] = []
    while len(samples) < 16:
        sample = writer.sample(8, 10)
        if "motion" in sample.kinds:
            samples.append(sample)
    return Rehearsal(model, writer, samples, readers[0][0], mark)
