"""Stage one: teach the vision tower and the projector what stands in each pooled cell.

Every pooled token gets dense labels: its thing's name or the sign's word (by cosine with the language model's own tied
word embeddings, so that a question's words find the tokens they name), the thing's place, the scene's colour, the
neighbour, the number of copies and the word beside it (throw-away linear heads). Position embeddings start from 2-D
sine-cosine: started at random, place is not learned.
"""

import contextlib
import math
import queue
import threading
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlavaOnevisionForConditionalGeneration

from onlooker.theatre.cast import COLOURS, PLACES, SPRITES, WORDS
from onlooker.theatre.script import MOST_COPIES, any_scene, place_of
from onlooker.theatre.stage import Scene, Stage

from .design import IMAGE_PX, POOLED_SIDE

CELLS = POOLED_SIDE * POOLED_SIDE
NAMES = (*SPRITES, *WORDS)
NAME_SCALE = 16.0
IGNORED = -100
PLACE_NAMES, COLOUR_NAMES = tuple(PLACES), tuple(COLOURS)
HEADS = {
    "place": len(PLACES),
    "colour": len(COLOURS),
    "neighbour": len(SPRITES),
    "count": MOST_COPIES,
    "word": len(WORDS),
}


def overlap(centre: tuple[float, float], width: float, height: float) -> np.ndarray:
    """Give the share of each cell's area that a box covers, [cells]."""
    edges = np.arange(POOLED_SIDE + 1) / POOLED_SIDE

    def along(middle: float, extent: float) -> np.ndarray:
        low, high = middle - extent / 2, middle + extent / 2
        return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) * POOLED_SIDE

    return np.outer(along(centre[1], height), along(centre[0], width)).reshape(-1)


def dense_labels(scene: Scene, time_us: int) -> dict[str, np.ndarray]:
    """Label each pooled cell: name (len(NAMES) = nothing) and the heads' labels; IGNORED where unclear or not asked."""
    labels = {name: np.full(CELLS, IGNORED, np.int64) for name in ("name", *HEADS)}
    labels["colour"][:] = COLOUR_NAMES.index(scene.backdrop.colour)
    progress = (time_us - scene.start_us) / max(1, scene.end_us - scene.start_us)
    things = [(a, a.centre(min(1.0, max(0.0, progress)))) for a in scene.actors]
    cover = [overlap(centre, actor.size * 0.85, actor.size * 0.85) for actor, centre in things]
    if scene.sign is not None:
        cover.append(overlap(scene.sign.centre, scene.sign.width, scene.sign.width * 88 / 192))
    if not cover:
        labels["name"][:] = len(NAMES)
        return labels
    shares = np.stack(cover)
    best = shares.argmax(0)
    for cell in range(CELLS):
        share = shares[best[cell], cell]
        if share < 0.03:
            labels["name"][cell] = len(NAMES)
        elif share >= 0.22:
            if best[cell] == len(things):
                assert scene.sign is not None
                labels["name"][cell] = NAMES.index(scene.sign.word)
                labels["neighbour"][cell] = SPRITES.index(scene.actors[0].sprite)
                labels["word"][cell] = WORDS.index(scene.sign.word)
                continue
            actor, centre = things[best[cell]]
            labels["name"][cell] = NAMES.index(actor.sprite)
            labels["place"][cell] = PLACE_NAMES.index(place_of(centre))
            if scene.kind == "pair":
                other = scene.actors[1 - best[cell]]
                labels["neighbour"][cell] = SPRITES.index(other.sprite)
            if scene.kind != "busy":
                labels["count"][cell] = len(scene.actors) - 1 if scene.kind == "group" else 0
            if scene.sign is not None:
                labels["word"][cell] = WORDS.index(scene.sign.word)
    return labels


def batches(seed: int, size: int) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Draw endless batches of single frames, uint8 [size, H, W, 3], and their labels [size, cells]."""
    rng = np.random.default_rng([0x7EA1, seed])  # the training namespace of seeds
    stages = [Stage(IMAGE_PX, backdrops_kept=4096), Stage(2 * IMAGE_PX, backdrops_kept=1024)]
    while True:
        images, labels = [], []
        for _ in range(size):
            scene = any_scene(rng, 0, 1_000_000)
            time_us = int(rng.integers(1_000_000))
            large = rng.random() < 0.3
            image = stages[large].draw(scene, time_us)
            if large:  # what a video's frame goes through
                image = image.reshape(IMAGE_PX, 2, IMAGE_PX, 2, 3).mean((1, 3)).astype(np.uint8)
            images.append(image)
            labels.append(dense_labels(scene, time_us))
        stacked = {name: torch.from_numpy(np.stack([row[name] for row in labels])) for name in labels[0]}
        yield torch.from_numpy(np.stack(images)), stacked


def ahead(iterator: Iterator, depth: int = 3) -> Iterator:
    """Draw from an iterator in a background thread, at most `depth` items ahead; closing it ends the thread."""
    ready: queue.Queue = queue.Queue(depth)
    closed = threading.Event()

    def fill() -> None:
        for item in iterator:
            while not closed.is_set():
                with contextlib.suppress(queue.Full):
                    ready.put(item, timeout=0.1)
                    break
            if closed.is_set():
                return

    worker = threading.Thread(target=fill, daemon=True)
    worker.start()
    try:
        while True:
            yield ready.get()
    finally:
        closed.set()
        worker.join()


def disturb(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn uint8 frames [n, H, W, 3] into pixel values [n, 3, H, W] in -1..1, as cameras and codecs would give them.

    That is noise, a little blur, changes of light and colour.
    """
    n = images.shape[0]
    x = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    mix = torch.rand(n, 1, 1, 1, generator=generator) * 0.7
    x = x + (blurred - x) * mix
    gain = 1 + (torch.rand(n, 3, 1, 1, generator=generator) - 0.5) * 0.12
    lift = (torch.rand(n, 3, 1, 1, generator=generator) - 0.5) * 0.10
    noise = torch.randn(x.shape, generator=generator) * (torch.rand(n, 1, 1, 1, generator=generator) * 0.08)
    return (x * gain + lift + noise).clamp(-1, 1)


def sine_cosine(side: int, width: int) -> Tensor:
    """Make 2-D sine-cosine position embeddings [side * side, width] (Vaswani et al. 2017, by axis)."""
    quarter = width // 4
    rate = torch.exp(-math.log(100.0) * torch.arange(quarter) / quarter)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    waves = [f(axis.reshape(-1, 1) * rate) for axis in (x, y) for f in (torch.sin, torch.cos)]
    return torch.cat(waves, dim=1)


def see(model: LlavaOnevisionForConditionalGeneration, pixels: Tensor) -> Tensor:
    """Run tower, projector and pooling: [n, 3, H, W] -> [n, cells, D]."""
    inner = model.model
    hidden = inner.vision_tower(pixels).last_hidden_state
    return inner.apply_pooling(inner.multi_modal_projector(hidden))


class Labels(nn.Module):
    """Score pooled features against the dense labels."""

    def __init__(self, width: int, name_ids: list[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in HEADS.items()})
        self.nothing = nn.Parameter(torch.randn(1, width) * 0.06)
        self.name_ids = name_ids

    def forward(self, features: Tensor, table: Tensor, labels: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Give the summed loss and the accuracy per label.  features: [n, cells, D]; table: word embeddings [V, D]."""
        flat = features.reshape(-1, features.shape[-1]).float()
        names = F.normalize(torch.cat((table[self.name_ids], self.nothing)).float(), dim=-1)
        logits = {"name": NAME_SCALE * F.normalize(flat, dim=-1) @ names.T}
        logits |= {name: head(flat) for name, head in self.heads.items()}
        loss, right = flat.new_zeros(()), {}
        for name, scores in logits.items():
            wanted = labels[name].reshape(-1)
            if name == "name":  # empty cells are many and easy: let them weigh a third
                weight = torch.where(wanted == len(NAMES), 0.33, 1.0)
                each = F.cross_entropy(scores, wanted, ignore_index=IGNORED, reduction="none")
                loss = loss + 2 * (each * weight).sum() / weight[wanted != IGNORED].sum()
                wanted = wanted.masked_fill(wanted == len(NAMES), IGNORED)
            else:
                loss = loss + F.cross_entropy(scores, wanted, ignore_index=IGNORED)
            kept = wanted != IGNORED
            right[name] = (scores.argmax(-1) == wanted)[kept].float().mean().item()
        return loss, right
