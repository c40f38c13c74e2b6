"""Calibration of codec `auto`: from keys, values and queries that a model made to the tables of its codec.

Distortion is counted where it is felt.  An error e of a raw key moves a query's logit by q.R(D)e / sqrt(head_dim) for
a token D positions back, so keys are measured by W = E[R(D)'q q'R(D)] / head_dim over queries and distances (after
OSCAR's and Block-GTQ's metrics, which leave the distance out), in logits squared.  Values are measured by their own
spread, layer by layer.  `effects` scales both by what errors in a layer were measured to do to the model's output.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import SettingsError
from ..block import KVLayout
from ..rotary import angle_table, rotate
from .columns import columns_of, to_matrix
from .digits import PER_BYTE
from .grids import fit_points
from .tables import LEVELS, CodecTables, block_heads

BITS = 2.0
LEAST_TOKENS = 256
_MOST_TOKENS = 8192  # of the samples that grids are fitted to, evenly taken; means and axes see all of them
_MOST_QUERIES = 2048
_DISTANCE, _DISTANCES = 512, 32  # how far back tokens may be, in positions, and how many distances stand for it
_RIDGE = 1e-3  # of the metric's mean, added: what no query looked at must not be lost altogether
_REACH = 2.0  # how much further than calibration's numbers the codec follows


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Hold one block's transform: basis [width, width], mean and reach [width], and what its grids cost.

    points: for every number of levels from LEVELS[1], [width, levels].  errors: float64 [len(LEVELS), width], weighted
    distortion of each component for each number of levels.
    """

    basis: Tensor
    mean: Tensor
    reach: Tensor
    points: tuple[Tensor, ...]
    errors: Tensor


def calibrate_codec(
    samples: Sequence[tuple[Tensor, Tensor]],
    queries: Sequence[Tensor],
    layout: KVLayout,
    *,
    bits: float = BITS,
    effects: Tensor | None = None,
    source: str = "",
) -> CodecTables:
    """Measure the tables of codec `auto`.

    samples: raw keys and values [layers, kv_heads, n, head_dim] of groups as ingest makes them.  queries: raw queries
    [query_heads, m, head_dim] of questions, per layer.  bits: of a number on average, above 0 and at most 8.  effects:
    [layers, 2], what one unit of the keys' and of the values' error in a layer weighs; all alike when left out.
    source: where the samples are from, in words.  Raises SettingsError for too few samples or another shape.
    """
    tokens = sum(keys.shape[2] for keys, _ in samples)
    if tokens < LEAST_TOKENS:
        raise SettingsError(f"{tokens} tokens are too few to calibrate a codec; give {LEAST_TOKENS} or more")
    if len(queries) != layout.layers or not all(len(q) == layout.query_heads and q.shape[1] for q in queries):
        raise SettingsError(f"give queries [{layout.query_heads}, m, {layout.head_dim}] for {layout.layers} layers")
    if not 0.0 < bits <= 8.0:
        raise SettingsError(f"bits is {bits}; give more than 0 and at most 8")
    weights = torch.ones(layout.layers, 2) if effects is None else effects
    matrix = torch.cat([to_matrix(keys.cpu(), values.cpu(), layout) for keys, values in samples])
    width = block_heads(layout.kv_heads, layout.head_dim) * layout.head_dim
    per_side = columns_of(layout) // width // 2
    per_layer = per_side // layout.layers
    blocks: list[_Block] = []
    for number in range(2 * per_side):
        side, layer = number // per_side, number % per_side // per_layer
        own = matrix[:, number * width : (number + 1) * width].double()
        if side == 0:
            first = number % per_layer * (width // layout.head_dim)
            metric = _query_metric(queries[layer], layout, first, width // layout.head_dim)
            scale = float(weights[layer, 0])
        else:
            start = (per_side + layer * per_layer) * width
            spread = matrix[:, start : start + per_layer * width].double().var(dim=0, correction=0).sum()
            metric = torch.eye(width, dtype=torch.float64)
            scale = float(weights[layer, 1]) / max(float(spread), 1e-12)
        blocks.append(_block(own, metric, scale))
    levels = _spend(torch.cat([block.errors for block in blocks], dim=1), bits)  # [columns]
    points = {}
    for place, count in enumerate(LEVELS[1:]):
        every = torch.cat([block.points[place] for block in blocks])  # [columns, count]
        points[count] = every[levels == place + 1].to(torch.float16)
    return CodecTables(
        shape=(layout.layers, layout.kv_heads, layout.head_dim),
        basis=torch.stack([block.basis for block in blocks]),
        mean=torch.stack([block.mean for block in blocks]),
        reach=torch.stack([block.reach for block in blocks]),
        levels=levels.to(torch.uint8).reshape(len(blocks), width),
        points=points,
        source=source,
    )


def _query_metric(queries: Tensor, layout: KVLayout, first: int, heads: int) -> Tensor:
    """Give W of some key heads side by side, float64 [heads x head_dim, heads x head_dim]."""
    group = layout.query_heads // layout.kv_heads
    step = -(-queries.shape[1] // _MOST_QUERIES)
    asked = queries[:, ::step].float().cpu()
    distances = torch.linspace(1, _DISTANCE, _DISTANCES).long()[:, None].expand(-1, layout.rotary.axes)
    cos, sin = angle_table(distances, layout.rotary, torch.float32)  # [distances, head_dim]
    parts = []
    for head in range(first, first + heads):
        own = asked[head * group : (head + 1) * group].reshape(-1, 1, layout.head_dim)
        # R(P - p)'q: a key p is met by a query P as if the query were turned by what lies between them.
        turned = rotate(own, cos, sin).reshape(-1, layout.head_dim).double()
        parts.append(turned.T @ turned / len(turned) / layout.head_dim)
    metric: Tensor = torch.block_diag(*parts)
    return metric


def _block(own: Tensor, metric: Tensor, scale: float) -> _Block:
    """Measure one block.  own: float64 [n, width].  metric: positive semidefinite [width, width]."""
    own = torch.where(own.isfinite(), own, own[own.isfinite()].mean() if own.isfinite().any() else 0.0)
    mean = own.mean(dim=0)
    centred = own - mean
    values, vectors = torch.linalg.eigh(metric)
    values = values.clamp_min(0) + _RIDGE * values.clamp_min(0).mean() + 1e-12
    root, unroot = (vectors * values.sqrt()) @ vectors.T, (vectors * values.rsqrt()) @ vectors.T
    felt = centred @ root
    axes = torch.linalg.eigh(felt.T @ felt / len(felt)).eigenvectors.flip(1)  # [width, components]
    basis = axes.T @ unroot  # a row per component
    basis = (basis / basis.norm(dim=1, keepdim=True)).to(torch.float16)
    # A unit of a component weighs what its row of the basis weighs; the rows were rounded, so it is measured on them.
    weigh = ((basis.double() @ root) ** 2).sum(dim=1)
    step = -(-len(centred) // _MOST_TOKENS)
    components = (centred[::step] @ torch.linalg.inv(basis.double())).float()  # [n, width]
    fitted = [fit_points(components, levels) for levels in LEVELS[1:]]
    errors = torch.stack([components.double().square().mean(dim=0), *(error.double() for _, error in fitted)])
    return _Block(
        basis=basis,
        mean=mean.float(),
        reach=(centred.abs().amax(dim=0) * _REACH).float(),
        points=tuple(points for points, _ in fitted),
        errors=errors * weigh * scale,
    )


def _spend(errors: Tensor, bits: float) -> Tensor:
    """Give every component its number of levels: a place in LEVELS, int64 [components].

    The least sum of errors [len(LEVELS), components] at so many bits a component: every component takes what its
    error falls by most at one price of a bit (Shoham and Gersho, 1988), and the price is found by halving.
    """
    cost = torch.tensor([0.0, *(8 / PER_BYTE[levels] for levels in LEVELS[1:])], dtype=torch.float64)[:, None]
    low, high = -100.0, 100.0  # logarithms of the price
    for _ in range(80):
        middle = (low + high) / 2
        if float(cost[(errors + math.exp(middle) * cost).argmin(dim=0)].mean()) > bits:
            low = middle
        else:
            high = middle
    return (errors + math.exp(high) * cost).argmin(dim=0)
