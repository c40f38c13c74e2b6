"""Scores of every query head for calibration: what recall would see if all heads were indexed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..memory.moments import Moments
from ..models.backbone import HeadId
from ..theatre.questions import Question
from .moment import Moment
from .rivals import mean_key_scores, pool_of

MOMENT_ROWS = 16  # as memory/traces.py: so many of a block's vectors enter the moments


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Hold one question with its scores over n blocks.

    scores: float32 [heads, n], z units, as recall scores blocks.  mean_keys: float32 [layers, n], ReKV's scores.
    spans: bool [spans, n], which blocks show each needed span.
    """

    question: Question
    scores: NDArray[np.float32]
    mean_keys: NDArray[np.float32]
    spans: NDArray[np.bool_]


class HeadScorer:
    """Score the archive's blocks at one moment for all query heads of all layers."""

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        layout = moment.backbone.layout
        self.heads = tuple(HeadId(layer, head) for layer in range(layout.layers) for head in range(layout.query_heads))
        left_out = {item.block_id for item in moment.seen}
        archive = moment.ingest.archive
        ids = [block_id for block_id in archive.block_ids if block_id not in left_out]
        self.blocks = [block for block in map(archive.get, ids) if len(block)]
        self._pool = pool_of(self.blocks, moment.ingest.sink)
        self._means = self._pool.means()
        self._group = layout.query_heads // layout.kv_heads
        self._moments: dict[tuple[int, int], Moments] = {}
        # Every block that was ever seen counts in the moments, those that are read anyway too.
        for layer in range(layout.layers):
            for kv_head in range(layout.kv_heads):
                moments = self._moments[layer, kv_head] = Moments(layout.head_dim)
                for block in map(archive.get, archive.block_ids):
                    step = -(-len(block) // MOMENT_ROWS) or 1
                    moments.add(block.keys[layer, kv_head, ::step].float().cpu().numpy())

    def case(self, question: Question) -> Case | None:
        """Score the blocks for a question; None when no block that is not read anyway stands for a needed span."""
        spans = np.array([self._blocks_of(span) for span in question.spans_us])
        if not len(spans) or not spans.any(axis=1).all():
            return None
        moment = self.moment
        rows, words = moment.backbone.question(question.text)
        near = moment.assemble([moment.ingest.sink, moment.recent])
        positions = moment.positions(len(rows), near.next_position)
        queries = moment.backbone.prefill(rows, positions, near, heads=self.heads).queries
        scores = np.stack([self._scores(head, queries[head]) for head in self.heads])
        return Case(question, scores, self._mean_scores(queries, words.cpu()), spans)

    def _blocks_of(self, span: Sequence[int]) -> list[bool]:
        """Say which blocks' keyframes show a span; where none was taken in it, which blocks stand for some of it."""
        shown = [_shows(block.span_us[0], span) for block in self.blocks]
        if any(shown):
            return shown
        return [block.span_us[0] < span[1] and block.span_us[1] > span[0] for block in self.blocks]

    def _scores(self, head: HeadId, query: Tensor) -> NDArray[np.float32]:
        """Take the best token of each block for each question token, in z, then the best question token: [n]."""
        kv_head = head.head // self._group
        keys = self._pool.keys[head.layer, kv_head].float()  # [tokens, head_dim]
        asked = query.float().cpu()
        best = np.maximum.reduceat((asked @ keys.T).numpy(), self._pool.bounds[:-1].numpy(), axis=1)  # [m, n]
        z = self._moments[head.layer, kv_head].standardise(best, asked.numpy())
        return np.asarray(z.max(axis=0), dtype=np.float32)

    def _mean_scores(self, queries: Mapping[HeadId, Tensor], words: Tensor) -> NDArray[np.float32]:
        """Score by mean keys and the mean query of all heads, layer by layer: [layers, n]."""
        layout = self.moment.backbone.layout
        rows = []
        for layer in range(layout.layers):
            means = [
                queries[HeadId(layer, head)].float().cpu()[words].mean(dim=0) for head in range(layout.query_heads)
            ]
            rows.append(mean_key_scores(torch.stack(means), self._means[layer]).numpy())
        return np.stack(rows)


def span_recall(scores: NDArray[np.floating], spans: NDArray[np.bool_], top: int) -> NDArray[np.float64]:
    """Give for each row of scores [rows, n] the share of spans [s, n] with a block among the top ones: [rows]."""
    chosen = np.argsort(-scores, axis=1, kind="stable")[:, :top]  # [rows, top]
    found = spans[:, chosen].any(axis=2)  # [s, rows]
    return np.asarray(found.mean(axis=0), dtype=np.float64)


def reciprocal_rank(scores: NDArray[np.floating], spans: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give for each row of scores [rows, n] the mean over spans of 1 / rank of the span's best block: [rows]."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(scores.shape[1])[None, :], axis=1)
    best = np.stack([ranks[:, span].min(axis=1) for span in spans])  # [s, rows]
    return np.asarray((1.0 / (best + 1.0)).mean(axis=0), dtype=np.float64)


def _shows(time_us: int, span: Sequence[int]) -> bool:
    return span[0] <= time_us < span[1]
