"""Motion set into a model by least squares: what is fitted, what is changed."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from onlooker.bench.cast import DIRECTIONS, PLACES
from onlooker.bench.script import any_scene
from onlooker.bench.stage import Scene
from training.circuits import start_circuits
from training.contexts import Sample, Writer
from training.design import build_model, build_tokenizer, vocabulary
from training.motion import axes, quiet, set_motion, share_right, solve
from training.scenes import SCENE_US, Filmed
from training.train_language import embed
from training.vision import HEADS, PLACE_NAMES

WIDTH, CELLS = 256, 6


def test_solve_finds_a_linear_map_between_what_is_centred() -> None:
    torch.manual_seed(0)
    given, true = torch.randn(400, 12) + 3, torch.randn(12, 2)
    assert torch.allclose(solve(given, given @ true - 7), true, atol=0.02)


def test_quiet_directions_are_where_nothing_varies() -> None:
    torch.manual_seed(0)
    rows = torch.randn(500, 16)
    rows[:, [3, 11]] *= 1e-3
    found = quiet([rows, 2 * rows], 2)
    assert torch.allclose(found @ found.T, torch.eye(2), atol=1e-5)
    assert float(found[:, [3, 11]].norm()) == pytest.approx(2**0.5, abs=1e-3)


def test_share_right_counts_the_nearest_of_four_directions() -> None:
    wanted = torch.tensor(list(DIRECTIONS.values()), dtype=torch.float32)
    assert share_right(wanted * 3 + torch.tensor([0.5, -0.2]), wanted) == 1.0  # less the mean
    assert share_right(-wanted, wanted) == 0.0


def test_axes_run_across_and_down() -> None:
    reader = torch.linalg.qr(torch.randn(WIDTH, len(PLACE_NAMES), generator=torch.Generator().manual_seed(0)))[0].T
    across, down = axes(reader) @ reader.T  # how each place lies along them
    centres = np.array([PLACES[name] for name in PLACE_NAMES]) - 0.5
    assert abs(np.corrcoef(across.numpy(), centres[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(down.numpy(), centres[:, 1])[0, 1]) > 0.99


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


def test_motion_can_be_told_once_it_is_set_and_little_else_changes() -> None:
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
    before = {name: value.clone() for name, value in model.state_dict().items()}
    right = set_motion(model, readers[0][0], mark / mark.norm(), samples, partial(embed, model))
    assert right > 0.6  # 0.25 would be chance; masks hide the earlier frames from some
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    parts = {".".join(name.split("layers.")[-1].split(".")[:3]) for name in changed}
    assert parts == {
        "0.self_attn.o_proj", "0.mlp.gate_proj", "0.mlp.up_proj", "0.mlp.down_proj",
        "1.self_attn.q_proj", "1.self_attn.k_proj", "1.self_attn.v_proj", "1.self_attn.o_proj",
        "2.self_attn.v_proj", "2.self_attn.o_proj",
    }  # fmt: skip
    kept = slice(0, 64)  # key head 0 of layer 1 looks times up, as before
    name = "model.language_model.layers.1.self_attn.k_proj.weight"
    assert torch.equal(model.state_dict()[name][kept], before[name][kept])
