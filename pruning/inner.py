"""Pruning inside the model: what a question's pass reads in each layer, chosen by the attention of the layers before.

A pass over a memory has no hidden states of the visual tokens: their keys and values were made long ago.  So what
these methods save is what later layers, and every token of the answer, read.  TransPrune, which scores how a token's
own hidden state changes from layer to layer, has nothing to look at here and is not built.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ..memory.block import Context, KVBlock, KVLayout
from ..memory.rotary import angle_table, rotate
from ..models.backbone import LayerContext
from .picks import TEXT, top_rows
from .reading_stages import share_of
from .relevance import spread
from .similarity import tame
from .stages import Need, Stage, Traits

ATTENTION: frozenset[Need] = TEXT | {"attention"}


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Hold what one question's pass reads.

    context: of the parts, rotated.  parts: raw, as the context was assembled of them.  visual: int64 [v], rows of the
    context that may be dropped, rising; all others stay (the sink, text, the newest frames).  coords: int32 [v, 3].
    positions: int64 [n, axes] of the question's rows.  words: bool [n], its own words.  asked: gives raw keys [layers,
    kv_heads, n, head_dim] of the question's rows, from an earlier pass of it; None where there was none.
    """

    layout: KVLayout
    context: Context
    parts: Sequence[KVBlock]
    visual: Tensor
    coords: Tensor
    positions: Tensor
    words: Tensor
    asked: Callable[[], Tensor] | None = None

    def raw_keys(self, layer: int) -> Tensor:
        """Lay the parts' raw keys of a layer end to end: [kv_heads, len(context), head_dim]."""
        return torch.cat([part.keys[layer].to(self.context.keys.device) for part in self.parts], dim=1)

    def turned(self, vectors: Tensor) -> Tensor:
        """Rotate raw vectors [heads, n, head_dim] of the question's rows to their positions."""
        positions = self.positions.to(vectors.device)
        return rotate(vectors, *angle_table(positions, self.layout.rotary, vectors.dtype))


class Rater(Stage, Protocol):
    """Rate the context's rows by a layer's attention."""

    def rate(self, scene: Scene, layer: int, queries: Tensor, alive: Tensor) -> Tensor:
        """Rate the rows alive (int64 [a]) by raw queries [query_heads, n, head_dim]: float32 [a]."""
        ...


@dataclass(frozen=True, slots=True)
class Received:
    """Rate by the attention that the last row of the question pays, averaged over heads (FastV, PyramidDrop).

    Over the context alone: a selector is not given the keys of the question's own rows.
    """

    traits: Traits = field(default=Traits(needs=ATTENTION))

    def rate(self, scene: Scene, layer: int, queries: Tensor, alive: Tensor) -> Tensor:
        """Rate."""
        asked = scene.turned(queries)[:, -1:]
        return attention(asked, scene.context.keys[layer][:, alive]).mean(dim=(0, 1))


@dataclass(frozen=True, slots=True)
class Placeless:
    """Rate as Received, without any rotation, so that how near a token stands counts for nothing (FEATHER)."""

    traits: Traits = field(default=Traits(needs=ATTENTION))

    def rate(self, scene: Scene, layer: int, queries: Tensor, alive: Tensor) -> Tensor:
        """Rate."""
        return attention(queries[:, -1:], scene.raw_keys(layer)[:, alive]).mean(dim=(0, 1))


@dataclass(frozen=True, slots=True)
class Weighted:
    """Rate by the attention of all rows of the question, each as the question's rows attend to it (AdaptInfer).

    A row counts as much as the attention that the rows from it on pay it, on average over them and over heads.  The
    rows' own keys are those of an earlier pass (Scene.asked), which read less; without one all words count alike.
    """

    traits: Traits = field(default=Traits(needs=ATTENTION))

    def rate(self, scene: Scene, layer: int, queries: Tensor, alive: Tensor) -> Tensor:
        """Rate."""
        asked, keys = scene.turned(queries), scene.context.keys[layer][:, alive]
        if scene.asked is None:
            weight = scene.words.float()
            paid = attention(asked, keys)
        else:
            own = scene.turned(scene.asked()[layer].to(keys.dtype))
            paid = attention(asked, torch.cat((keys, own), dim=1), causal=own.shape[1])
            among = paid[:, :, len(alive) :].mean(dim=0)  # [n, n]
            later = torch.arange(len(among), 0, -1, device=among.device)
            weight = among.sum(dim=0) / later
            paid = paid[:, :, : len(alive)]
        return torch.einsum("m,hmn->n", weight.to(paid.device), paid) / len(paid)


@dataclass(frozen=True, slots=True)
class InnerReading:
    """Drop recalled tokens while the question runs through the layers; what is dropped at one stays dropped.

    cuts: where, as layer numbers or shares of the depth.  rate: share of the recalled visual tokens that is left behind
    the last cut; each cut keeps the same share of what the one before left.  A cut is rated in the layer before it,
    which still reads all that the cut may drop.  stride: cells of a frame whose row and column are multiples of it
    stay first of all, within the same count; 0 for none.
    """

    name: str
    rater: Rater
    rate: float
    cuts: tuple[float, ...]
    stride: int = 0

    @property
    def stages(self) -> dict[str, Stage]:
        """Give the stages by name."""
        return {"rate": self.rater}

    def left(self, count: int, layers: int) -> tuple[int, ...]:
        """Say how many of count tokens each layer reads."""
        cuts = self._cuts(layers)
        shares = [self.rate ** (sum(cut <= layer for cut in cuts) / max(1, len(cuts))) for layer in range(layers)]
        return tuple(count if share == 1.0 else share_of(count, share) for share in shares)

    def selector(self, scene: Scene) -> "Selector":
        """Make what gives each layer its context, for one pass after the other of this one question."""
        return Selector(self, scene)

    def _cuts(self, layers: int) -> tuple[int, ...]:
        """Give the layers from which on less is read: none before layer 1, which the first layer rates."""
        placed = (int(cut if cut >= 1 else cut * layers + 0.5) for cut in self.cuts)
        return tuple(sorted({min(max(1, cut), layers - 1) for cut in placed})) if layers > 1 else ()


class Selector:
    """Give each layer of one question's pass its context.  Its only state is what is left, and each pass starts anew.

    A ContextSelector of the backbone.
    """

    def __init__(self, reading: InnerReading, scene: Scene) -> None:
        self._reading, self._scene = reading, scene
        self._left = reading.left(len(scene.visual), scene.layout.layers)
        rows = torch.arange(len(scene.context), device=scene.context.keys.device)
        self._rows = rows
        self._always = torch.ones_like(rows, dtype=torch.bool)
        self._always[scene.visual] = False
        self._visual = torch.arange(len(scene.visual), device=rows.device)  # left of scene.visual, by number
        self._alive: Tensor | None = None  # rows of the context, None for all

    def __call__(self, layer: int, queries: Tensor) -> LayerContext:
        """Give a layer's context, and rate what the next one reads by these raw queries."""
        context = self._scene.context
        if layer == 0:
            self._alive = None
            self._visual = torch.arange(len(self._scene.visual), device=self._rows.device)
        keys, values = context.keys[layer], context.values[layer]
        if self._alive is not None:
            keys, values = keys[:, self._alive], values[:, self._alive]
        if layer + 1 < len(self._left) and self._left[layer + 1] < self._left[layer]:
            self._drop(layer, queries, self._left[layer + 1])
        return LayerContext(keys, values)

    def _drop(self, layer: int, queries: Tensor, count: int) -> None:
        """Keep the best count of the visual tokens that are left."""
        scene, reading = self._scene, self._reading
        alive = self._rows if self._alive is None else self._alive
        rated = tame(reading.rater.rate(scene, layer, queries, alive))
        scores = torch.zeros(len(self._rows), device=rated.device).index_copy_(0, alive, rated)
        scores = scores[scene.visual[self._visual]]
        if reading.stride:
            cells = scene.coords.to(scores.device)[self._visual, 1:]
            grid = (cells % reading.stride == 0).all(dim=1)
            scores = spread(scores) + 2.0 * grid
        self._visual = self._visual[top_rows(scores, count)]
        stays = self._always.clone()
        stays[scene.visual[self._visual]] = True
        self._alive = stays.nonzero().squeeze(1)


def attention(queries: Tensor, keys: Tensor, causal: int = 0) -> Tensor:
    """Give each query's attention, float32 [query_heads, m, n], of [query_heads, m, d] to [kv_heads, n, d].

    Scaled by sqrt(d), as all supported models do.  causal: the last so many keys are the queries' own rows, and none
    sees a later one.
    """
    heads, rows, dim = queries.shape
    groups = heads // keys.shape[0]
    packed = queries.float().reshape(keys.shape[0], groups * rows, dim)
    scores = (packed @ keys.float().transpose(1, 2) / dim**0.5).reshape(heads, rows, -1)
    if causal:
        before = scores.shape[2] - causal
        later = torch.ones(rows, causal, dtype=torch.bool, device=scores.device).triu(causal - rows + 1)
        scores[:, :, before:] = scores[:, :, before:].masked_fill(later, -torch.inf)
    paid: Tensor = scores.softmax(dim=-1)
    return paid
