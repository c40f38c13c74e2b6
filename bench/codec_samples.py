"""What codecs are calibrated and measured on: groups that ingest made, and the queries of questions about them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..memory.block import Context, KVBlock
from ..memory.codecs.calibration import BITS, calibrate_codec
from ..memory.codecs.tables import CodecTables
from ..models.backbone import Backbone, HeadId
from ..settings import Settings
from ..theatre.questions import Question
from .calibration_streams import Material
from .moment import Moment
from .policies import Oracle, Prompt

_NOISE = 0.1  # error put into a layer to see what it does: of logits squared, and of the values' spread
_LEAST_EFFECT = 0.01  # of the greatest: material that never uses a layer is no proof that nothing does
_EFFECT_QUESTIONS = 40  # of a stream


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Hold one chunk's keys, raw, and values [layers, kv_heads, n, head_dim], at positions int64 [n, axes]."""

    keys: Tensor
    values: Tensor
    positions: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Hold a stream's groups in time order and, for each question, its raw queries [layers, query_heads, m, head_dim].

    effects: [layers, 2], what a unit of error of the keys and of the values of a layer does to the answers, in nats.
    """

    groups: tuple[Group, ...]
    queries: tuple[Tensor, ...]
    effects: Tensor | None = None


def calibrate_on(
    backbone: Backbone,
    material: Material,
    settings: Settings | None = None,
    bits: float = BITS,
    told: Callable[[str], None] = lambda _: None,
) -> CodecTables:
    """Watch material and measure the tables of codec `auto` on it.  Raises SettingsError as calibrate_codec does."""
    # What another codec left of the keys would be measured again; twice the usual tokens say more.
    exact = replace(settings or Settings(prune_rate=0.5), codec="raw")
    streams = []
    for number, watched in enumerate(material.watch(backbone, exact, told), 1):
        told(f"stream {number} of {material.count}: asking {len(watched.shown)} questions for the codec")
        streams.append(sampled(watched.moment, watched.shown, effects=True))
    told("fitting the codec's tables")
    queries = [question for stream in streams for question in stream.queries]
    effects = torch.stack([stream.effects for stream in streams if stream.effects is not None]).mean(dim=0)
    return calibrate_codec(
        [(group.keys, group.values) for stream in streams for group in stream.groups],
        [torch.cat([asked[layer] for asked in queries], dim=1) for layer in range(backbone.layout.layers)],
        backbone.layout,
        bits=bits,
        effects=effects.clamp_min(_LEAST_EFFECT * float(effects.max())),
        source=material.title,
    )


def sampled(moment: Moment, questions: Sequence[Question], effects: bool = False) -> Sampled:
    """Take a stream's groups out of its memory, and ask questions over the blocks that they need.

    The memory must keep raw keys (codec "raw").  effects: measure what error in each layer does as well.
    """
    archive, size = moment.ingest.archive, moment.ingest.settings.chunk_frames
    chunks: dict[int, list[KVBlock]] = {}
    for block_id in archive.block_ids:
        chunks.setdefault(block_id // size, []).append(archive.get(block_id))
    groups = tuple(group_of(blocks) for blocks in chunks.values() if any(map(len, blocks)))
    oracle = Oracle()
    prompts = [oracle.read(moment, question) for question in questions]
    queries = tuple(queries_of(moment.backbone, prompt) for prompt in prompts)
    if not effects:
        return Sampled(groups, queries)
    step = -(-len(prompts) // _EFFECT_QUESTIONS) or 1
    chosen = list(zip(prompts[::step], queries[::step], strict=True))
    return Sampled(groups, queries, effects_of(moment.backbone, chosen))


def group_of(blocks: Sequence[KVBlock]) -> Group:
    """Lay a chunk's blocks end to end."""
    return Group(
        torch.cat([block.keys for block in blocks], dim=2),
        torch.cat([block.values for block in blocks], dim=2),
        torch.cat([block.positions + (block.place or 0) for block in blocks]),
    )


def queries_of(backbone: Backbone, prompt: Prompt) -> Tensor:
    """Give the raw queries of a question's tokens in all heads: float32 [layers, query_heads, m, head_dim]."""
    layout = backbone.layout
    heads = tuple(HeadId(layer, head) for layer in range(layout.layers) for head in range(layout.query_heads))
    found = backbone.prefill(prompt.features, prompt.positions, prompt.context, heads=heads).queries
    flat = torch.stack([found[head].float().cpu() for head in heads])
    return flat.reshape(layout.layers, layout.query_heads, -1, layout.head_dim)


def effects_of(backbone: Backbone, prompts: Sequence[tuple[Prompt, Tensor]]) -> Tensor:
    """Measure what error in a layer's keys and values does to the answers: [layers, 2].

    Noise goes into one layer of what a question reads, of such size that logits move by 0.1 squared, or values by 0.1
    of their spread; the effect is by how many nats the first token of the answer changes (Kullback and Leibler), per
    unit of the error that codecs/calibration.py counts.  prompts: with their queries, as queries_of gives them.
    """
    layout = backbone.layout
    effects = torch.zeros(layout.layers, 2, dtype=torch.float64)
    made = torch.Generator().manual_seed(0)
    for prompt, queries in prompts:
        context = prompt.context
        if context is None:
            continue
        true = _answer(backbone, prompt, context)
        for layer in range(layout.layers):
            size = layout.head_dim * _NOISE / float(queries[layer].square().sum(dim=-1).mean())
            keys = _noisy(context.keys, layer, size, made)
            effects[layer, 0] += _nats(true, _answer(backbone, prompt, replace(context, keys=keys)))
            size = _NOISE * float(context.values[layer].float().var(dim=1, correction=0).mean())
            values = _noisy(context.values, layer, size, made)
            effects[layer, 1] += _nats(true, _answer(backbone, prompt, replace(context, values=values)))
    # A layer's error is counted as the sum over its key heads; of values it is a share of the layer's spread already.
    return effects / (max(len(prompts), 1) * _NOISE * torch.tensor([layout.kv_heads, 1.0]))


def _noisy(whole: Tensor, layer: int, variance: float, made: torch.Generator) -> Tensor:
    """Give a copy of [layers, kv_heads, n, head_dim] with noise in one layer; keys may be turned, noise looks alike."""
    noise = torch.randn(whole[layer].shape, generator=made) * variance**0.5
    copy = whole.clone()
    copy[layer] += noise.to(copy)
    return copy


def _answer(backbone: Backbone, prompt: Prompt, context: Context) -> Tensor:
    """Give the logarithms of the first answer token's probabilities."""
    logits = backbone.prefill(prompt.features, prompt.positions, context, logits=True).logits
    if logits is None:
        raise TypeError("a backbone gave no logits where they were asked for")
    return logits.double().log_softmax(dim=-1).cpu()


def _nats(true: Tensor, found: Tensor) -> float:
    return float((true.exp() * (true - found)).sum())
