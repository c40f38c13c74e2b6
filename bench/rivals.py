"""The rivals' read policies, as published, over the same memory: ReKV and LiveVLM (its second version).

Both score by mean keys, in every layer anew: what a layer retrieves depends on what the layers before it retrieved.
Retrieved tokens are laid end to end at 1-D positions, on every axis of a model that has three, as ReKV's code does.
Only reading is compared here. Both read blocks that the same ingest wrote; LiveVLM's own write policy (vision sink
bucketing into a fixed budget) is not applied, so nothing it needs was thrown away.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..memory.block import KVBlock
from ..memory.rotary import angle_table, rotate
from ..models.backbone import LayerContext
from ..theatre.questions import Question
from .moment import Moment
from .policies import Prompt, budget_of, kv_bytes

PAGE_TOKENS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Hold what a question may retrieve from: units of consecutive tokens (a frame, a page).

    keys, values: [layers, kv_heads, n, head_dim], keys raw.  bounds: int64 [units + 1], unit u is rows
    bounds[u] .. bounds[u + 1].  times_us: for each unit, the times of the frames it has tokens of.
    """

    keys: Tensor
    values: Tensor
    bounds: Tensor
    times_us: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.times_us)

    def means(self) -> Tensor:
        """Average each unit's raw keys: float32 [layers, units, kv_heads, head_dim]."""
        sums = self.keys.new_zeros(
            (*self.keys.shape[:2], self.keys.shape[2] + 1, self.keys.shape[3]), dtype=torch.float64
        )
        sums[:, :, 1:] = self.keys.double().cumsum(dim=2)
        sizes = self.bounds.diff().to(sums.device)
        means = (sums[:, :, self.bounds[1:]] - sums[:, :, self.bounds[:-1]]) / sizes[:, None]
        return means.transpose(1, 2).float()


def pool_of(blocks: list[KVBlock], like: KVBlock, page_tokens: int | None = None) -> Pool:
    """Lay blocks end to end and cut them into units: one per block, or pages of page_tokens tokens.

    like: any block, whose shape an empty pool takes.  Blocks of which pruning left nothing are no units.
    """
    blocks = [block for block in blocks if len(block)]
    keys = torch.cat([like.keys[:, :, :0].cpu(), *(block.keys for block in blocks)], dim=2)
    values = torch.cat([like.values[:, :, :0].cpu(), *(block.values for block in blocks)], dim=2)
    lengths = [len(block) for block in blocks]
    times = [block.span_us[0] for block in blocks]
    if page_tokens is None:
        bounds = [0, *torch.tensor(lengths).cumsum(0).tolist()]
        return Pool(keys, values, torch.tensor(bounds), tuple((time,) for time in times))
    owner = [time for time, length in zip(times, lengths, strict=True) for _ in range(length)]
    bounds = [*range(0, len(owner), page_tokens), len(owner)]
    pages = [tuple(sorted(set(owner[a:b]))) for a, b in pairwise(bounds)]
    return Pool(keys, values, torch.tensor(bounds), tuple(pages))


def mean_key_scores(query: Tensor, means: Tensor) -> Tensor:
    """Score units by the plain inner product of the mean query with the mean keys, over all heads at once.

    query: [query_heads, head_dim].  means: [units, kv_heads, head_dim].  Key heads are repeated for their group.
    """
    groups = query.shape[0] // means.shape[1]
    by_key_head = query.float().reshape(means.shape[1], groups, -1).sum(dim=1)  # [kv_heads, head_dim]
    return torch.einsum("ukd,kd->u", means, by_key_head)


def best_that_fit(scores: Tensor, sizes: Tensor, budget: int) -> list[int]:
    """Take units from the best one on, leaving out those that no longer fit; gives their numbers in order."""
    left, chosen = budget, []
    smallest = int(sizes.min()) if len(sizes) else 0
    for unit in scores.argsort(descending=True, stable=True).tolist():
        if left < smallest:
            break
        size = int(sizes[unit])
        if size <= left:
            chosen.append(unit)
            left -= size
    return sorted(chosen)


class Retrieval:
    """Retrieve for every layer while the question runs through, then hold what was retrieved for decoding.

    The retrieved tokens lie right before `end`, the position of the question, after them the window; the sink keeps
    the positions from 0.  words: bool [n], which of the question's rows ask.
    """

    def __init__(self, moment: Moment, pool: Pool, means: Tensor, budget: int, window: list[KVBlock]) -> None:
        self.moment, self.pool, self.means, self.budget = moment, pool, means, budget
        self.sizes = pool.bounds.diff()
        self.chosen: dict[int, list[int]] = {}
        self._contexts: dict[int, LayerContext] = {}
        self._window = window
        self._window_tokens = sum(map(len, window))
        self.end = len(moment.ingest.sink) + budget + self._window_tokens

    def retrieve(self, layer: int, queries: Tensor) -> LayerContext:
        """Choose a layer's units by the mean of these raw queries [query_heads, n, head_dim]."""
        scores = mean_key_scores(queries.float().mean(dim=1).to(self.means.device), self.means[layer])
        self.chosen[layer] = best_that_fit(scores, self.sizes, self.budget)
        self._contexts[layer] = self._context(layer, self.chosen[layer])
        return self._contexts[layer]

    def held(self, layer: int, queries: Tensor) -> LayerContext:
        """Give what was retrieved for the layer."""
        return self._contexts[layer]

    def tokens(self) -> float:
        """Count the context's tokens, on average over layers."""
        return sum(context.keys.shape[1] for context in self._contexts.values()) / len(self._contexts)

    def shown_us(self) -> tuple[tuple[int, ...], ...]:
        """List the times of the frames in each layer's context."""
        window = [block.span_us[0] for block in self._window]
        return tuple(
            tuple(sorted({time for unit in units for time in self.pool.times_us[unit]}.union(window)))
            for _, units in sorted(self.chosen.items())
        )

    def _context(self, layer: int, units: list[int]) -> LayerContext:
        sink, layout, bounds = self.moment.ingest.sink, self.moment.backbone.layout, self.pool.bounds.tolist()
        rows = [torch.arange(bounds[unit], bounds[unit + 1]) for unit in units]
        index = torch.cat(rows) if rows else torch.empty(0, dtype=torch.int64)
        device = self.moment.backbone.device
        keys = [sink.keys[layer], self.pool.keys[layer][:, index], *(block.keys[layer] for block in self._window)]
        values = [sink.values[layer], self.pool.values[layer][:, index], *(b.values[layer] for b in self._window)]
        after = len(index) + self._window_tokens
        positions = torch.cat((self.moment.positions(len(sink), 0), self.moment.positions(after, self.end - after)))
        cos, sin = angle_table(positions, layout.rotary, layout.dtype)
        joined = torch.cat([part.to(device) for part in keys], dim=1)
        return LayerContext(rotate(joined, cos, sin), torch.cat([part.to(device) for part in values], dim=1))


def retrieved_prompt(moment: Moment, question: Question, retrieval: Retrieval) -> Prompt:
    """Run the question's own words to retrieve, then ask over what was retrieved (ReKV's two passes)."""
    backbone = moment.backbone
    rows, words = backbone.question(question.text)
    asked = rows[words] if bool(words.any()) else rows
    backbone.prefill(asked, moment.positions(len(asked), retrieval.end), select=retrieval.retrieve)
    positions = moment.positions(len(rows), retrieval.end)
    return Prompt(rows, positions, None, retrieval.held, retrieval.tokens(), retrieval.shown_us())


@dataclass(slots=True)
class _Made:
    """Keep what was made for the last moment."""

    moment: Moment | None = None
    pool: Pool | None = None
    means: Tensor | None = None

    def get(self, moment: Moment, make: Callable[[], Pool]) -> tuple[Pool, Tensor]:
        if self.moment is not moment or self.pool is None or self.means is None:
            self.moment, self.pool = moment, make()
            self.means = self.pool.means()
        return self.pool, self.means


class ReKV:
    """Read as ReKV does (arXiv 2503.00540): the frames of best mean key, in each layer its own, and nothing else.

    Recent frames are in the context only if they are retrieved.  The budget is all that ours reads: recalled tokens
    and newest keyframes.
    """

    name = "rekv"

    def __init__(self) -> None:
        self._made = _Made()

    def read(self, moment: Moment, question: Question) -> Prompt:
        """Retrieve whole frames."""
        pool, means = self._made.get(moment, lambda: pool_of(moment.blocks, moment.ingest.sink))
        budget = budget_of(moment) + len(moment.recent)
        return retrieved_prompt(moment, question, Retrieval(moment, pool, means, budget, []))

    def memory_bytes(self, moment: Moment) -> int:
        """Hold every block, and a mean key for each."""
        _, means = self._made.get(moment, lambda: pool_of(moment.blocks, moment.ingest.sink))
        return kv_bytes(moment) + means.numel() * means.element_size()


class LiveVLM:
    """Read as LiveVLM does (arXiv 2505.15269v2): pages of 16 tokens by their mean raw key, and the whole window.

    As published 40 % of the pages are read, whatever the stream's length; here as many as the common budget holds.
    """

    name = "livevlm"

    def __init__(self) -> None:
        self._made = _Made()

    def read(self, moment: Moment, question: Question) -> Prompt:
        """Retrieve pages of what has left the window."""
        window = self._window(moment)
        pool, means = self._made.get(moment, lambda: self._pages(moment))
        return retrieved_prompt(moment, question, Retrieval(moment, pool, means, budget_of(moment), window))

    def memory_bytes(self, moment: Moment) -> int:
        """Hold every block, and a mean key for each page."""
        _, means = self._made.get(moment, lambda: self._pages(moment))
        return kv_bytes(moment) + means.numel() * means.element_size()

    def _window(self, moment: Moment) -> list[KVBlock]:
        return [*moment.ingest.window.blocks, *moment.waiting]

    def _pages(self, moment: Moment) -> Pool:
        inside = {block.block_id for block in self._window(moment)}
        outside = [block for block in moment.blocks if block.block_id not in inside]
        return pool_of(outside, moment.ingest.sink, PAGE_TOKENS)
