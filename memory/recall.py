"""Recall: which remembered blocks a question needs, and how sure that is.

The score of a block for a calibrated head and a question token is the best of its tokens, z = (k - mean)·q /
sqrt(q' Cov q); for the visual features it is the same with the question token's embedding as q.  A head's score of a
block is the best over question tokens, the block's score the mean over heads.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import RecallError, SettingsError
from ..models.backbone import HeadId
from .archive import Archive
from .selection import Candidates, Readable, SelectionSettings, select
from .traces import Trace, unit

Fusion = Literal["heads", "embeddings", "fused"]

_RARE = 0.01  # share of questions whose best score may pass `chance` by chance


@dataclass(frozen=True, slots=True)
class RecallSettings:
    """Say how blocks are scored and chosen.

    fusion: which scores count; both are joined by reciprocal rank (Cormack et al. 2009, constant 60).  top_tokens: hits
    asked of an index for each query.
    """

    fusion: Fusion = "fused"
    top_tokens: int = 512
    selection: SelectionSettings = field(default_factory=SelectionSettings)

    def __post_init__(self) -> None:
        if self.top_tokens < 1:
            raise SettingsError(f"top_tokens must be at least 1, not {self.top_tokens}")


@dataclass(frozen=True, slots=True)
class Recalled:
    """Hold what a question called up.

    block_ids: in time order.  scores: z of each; minus infinity for a neighbour that was no hit itself.  relevance: the
    best z of any block.  chance: the z that as many normally distributed scores would pass in one question of a
    hundred; a relevance not above it says that nothing relevant is remembered (a cosine's
    z hardly passes sqrt(D), so embeddings of fewer than about 50 dimensions alone never get above it).  likeness: the
    best cosine of a word of the question with a visual token of any block, what a calibrated model's relevance is
    judged by; None where visual features were not asked.  tokens: how many they are together.
    """

    block_ids: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    relevance: float = 0.0
    chance: float = 0.0
    likeness: float | None = None
    tokens: int = 0

    def only(self, block_ids: Collection[int], tokens: int) -> "Recalled":
        """Leave out the blocks that could not be read; tokens: of the others."""
        if len(block_ids) == len(self.block_ids):
            return self
        kept = [place for place, block_id in enumerate(self.block_ids) if block_id in block_ids]
        ids = tuple(self.block_ids[place] for place in kept)
        return replace(self, block_ids=ids, scores=tuple(self.scores[place] for place in kept), tokens=tokens)


class Recall:
    """Ask an archive which blocks a question needs.  Reads the archive, changes nothing in it."""

    def __init__(self, archive: Archive, settings: RecallSettings | None = None) -> None:
        self.archive = archive
        self.settings = settings or RecallSettings()

    def search(
        self,
        queries: Mapping[HeadId, Tensor],
        embeddings: Tensor,
        words: Tensor,
        budget_tokens: int,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
        exclude: Collection[int] = (),
    ) -> Recalled:
        """Choose the blocks to read, at most budget_tokens tokens.

        queries: raw (unrotated) queries [m, head_dim] of calibrated heads, m the question's tokens.  embeddings: the
        question tokens [m, D].  words: bool [m], which rows are the question's own words.  since_us, until_us: only
        blocks whose span meets [since_us, until_us), neighbours too.  exclude: blocks that are read anyway.  Raises
        RecallError for queries of heads that are not indexed, or of shapes that do not fit.
        """
        groups = self._score(queries, embeddings, words, since_us, until_us)
        if not groups:
            return Recalled()
        ids = np.unique(np.concatenate([row.block_ids for group in groups for row in group.heads]))
        readable = Readable(*self.archive.sizes(since_us, until_us), exclude)
        ids = ids[np.isfinite(readable.sizes(ids))]
        if not len(ids):
            return Recalled()
        laid = [[_spread(head, ids) for head in group.heads] for group in groups]
        sources = np.stack([np.mean([z.max(axis=0) for z in group], axis=0) for group in laid])  # [sources, n]
        evidence = sources.mean(axis=0)
        voices = [np.max(group, axis=0) for group in laid]  # one voice per question token and source
        candidates = Candidates(
            block_ids=ids,
            overall=_fuse(sources),
            evidence=evidence,
            voices=np.concatenate(voices),
            source=np.repeat(np.arange(len(voices)), [len(voice) for voice in voices]),
        )

        chosen = sorted(select(candidates, budget_tokens, readable, self.settings.selection))
        z_of = dict(zip(ids.tolist(), evidence.tolist(), strict=True))
        scores = tuple(z_of.get(block_id, -math.inf) for block_id in chosen)
        return Recalled(
            block_ids=tuple(chosen),
            scores=scores,
            relevance=float(sources.max()),
            chance=max(group.chance for group in groups),
            likeness=max((group.likeness_of(ids) for group in groups if group.cosines), default=None),
            tokens=sum(readable.size(block_id) or 0 for block_id in chosen),
        )

    def _score(
        self,
        queries: Mapping[HeadId, Tensor],
        embeddings: Tensor,
        words: Tensor,
        since_us: int | None,
        until_us: int | None,
    ) -> list["_Source"]:
        """Search the indexes of every source of scores that is wanted and has something to say."""
        settings, traces = self.settings, self.archive.traces
        asked = words.detach().to("cpu", torch.bool).numpy()
        sources = []
        if settings.fusion != "embeddings":
            pairs = []
            for head, rows in queries.items():
                trace = traces.keys.get(traces.key_head(head))
                if trace is None:
                    raise RecallError(f"no keys are indexed for head {head.head} of layer {head.layer}; recalibrate")
                pairs.append((trace, _rows(rows, trace, asked)))
            sources.append(self._search(pairs, since_us, until_us))
        if settings.fusion != "heads" and traces.features is not None:
            vectors = unit(_rows(embeddings, traces.features, asked)[asked])
            sources.append(self._search([(traces.features, vectors)], since_us, until_us, cosines=True))
        return [source for source in sources if source is not None]

    def _search(
        self,
        pairs: list[tuple[Trace, NDArray[np.float32]]],
        since_us: int | None,
        until_us: int | None,
        cosines: bool = False,
    ) -> "_Source | None":
        heads, tries = [], 1
        for trace, vectors in pairs:
            hits = trace.index.search(vectors, self.settings.top_tokens, since_us, until_us)
            if not len(hits.block_ids) or not len(vectors):
                continue
            z = trace.moments.standardise(hits.scores, vectors)
            floor = trace.moments.standardise(hits.floor[:, None], vectors)[:, 0]
            heads.append(_Scores(hits.block_ids, z, floor, hits.scores.max(axis=0)))
            tries = max(tries, trace.index.count(since_us, until_us) * len(vectors))
        return _Source(heads, math.sqrt(2.0 * math.log(tries / _RARE)), cosines) if heads else None


@dataclass(frozen=True, slots=True, eq=False)
class _Scores:
    """Hold one head's z [m, n] of the blocks it hit, and what is the most that other blocks may have [m].

    products: the best inner product of any query with each block [n].
    """

    block_ids: NDArray[np.int64]
    z: NDArray[np.float64]
    floor: NDArray[np.float64]
    products: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """Hold the scores of one source's heads.  cosines: whether its inner products are of vectors of length 1."""

    heads: list[_Scores]
    chance: float
    cosines: bool

    def likeness_of(self, ids: NDArray[np.int64]) -> float:
        """Find the best inner product of any of the blocks ids; minus infinity when none of them was hit."""
        best = (head.products[np.isin(head.block_ids, ids)].max(initial=-np.inf) for head in self.heads)
        return float(max(best))


def _rows(vectors: Tensor, trace: Trace, words: NDArray[np.bool_]) -> NDArray[np.float32]:
    if vectors.shape != (len(words), trace.index.dim):
        raise RecallError(
            f"a question of {len(words)} tokens needs vectors [{len(words)}, {trace.index.dim}], "
            f"not {list(vectors.shape)}; ask with the model that wrote the memory"
        )
    array: NDArray[np.float32] = vectors.detach().to("cpu", torch.float32).numpy()
    return array


def _spread(head: _Scores, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lay a head's scores out over the blocks ids.

    A block that was no hit gets what it may at most have: the score at which hits were cut off; where nothing was
    cut off it has no token in this index, and gets the row's lowest score.
    """
    lowest = np.where(np.isneginf(head.z), np.inf, head.z).min(axis=1)
    fill = np.where(np.isneginf(head.floor), lowest, head.floor)
    fill = np.where(np.isfinite(fill), fill, 0.0)
    z = np.repeat(fill[:, None], len(ids), axis=1)
    shared, here, there = np.intersect1d(ids, head.block_ids, assume_unique=True, return_indices=True)
    if len(shared):
        z[:, here] = np.maximum(head.z[:, there], fill[:, None])
    return z


def _fuse(sources: NDArray[np.float64]) -> NDArray[np.float64]:
    """Join the scores [sources, n] to one order [n], all above 0."""
    if len(sources) > 1:
        ranks = (-sources).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        fused: NDArray[np.float64] = (1.0 / (61.0 + ranks)).sum(axis=0)
        return fused
    return np.asarray(np.maximum(sources[0], 1e-6), dtype=np.float64)
