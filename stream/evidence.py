"""Evidence: where the answer to a question was seen, and whether anything relevant was seen at all.

Recent keyframes are scored here as recall scores stored blocks, by the same heads and features against the same
moments, so that both compete on one scale.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..answer import Evidence
from ..errors import StorageError
from ..memory.archive import Archive
from ..memory.block import KVBlock
from ..memory.recall import Recalled, RecallSettings
from ..memory.traces import Trace, unit
from ..models.backbone import HeadId
from .seen import Seen

MOST_EVIDENCE = 4
# A stretch is shown as evidence when its score comes this near to the best one's.
EVIDENCE_SHARE = 0.8
# Share of questions whose best score may pass `chance` by chance, as in recall.
RARE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Recent:
    """Hold recent keyframes encoded over the sink alone.  lengths: tokens of each in block, time stamp included."""

    seen: tuple[Seen, ...]
    block: KVBlock
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RecentScores:
    """Hold the z of each recent keyframe: the mean over sources, and the best source's.

    While nothing was stored that z could be measured by, mean is 0 and best minus infinity.  chance: what as many
    normally distributed scores would pass in one question of a hundred.  likeness: the best cosine of each keyframe's
    visual tokens with a word of the question, None where visual features were not asked.
    """

    mean: NDArray[np.float64]
    best: NDArray[np.float64]
    chance: float
    likeness: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """Hold a question as recall reads it.

    rows: its embeddings [m, D].  words: bool [m], its own words among them.  queries: raw queries [m, head_dim].
    """

    rows: Tensor
    words: Tensor
    queries: Mapping[HeadId, Tensor]


def score_recent(recent: Recent, question: Question, archive: Archive, settings: RecallSettings) -> RecentScores | None:
    """Score recent keyframes against all that the archive ever took in; None while there is nothing to measure by.

    Likeness needs no archive: it is measured from the first keyframe on.
    """
    traces, sources, tries = archive.traces, list[NDArray[np.float64]](), 1
    words, likeness = question.words.cpu().numpy(), None
    if settings.fusion != "embeddings":
        heads = []
        for head, queries in question.queries.items():
            layer, kv_head = traces.key_head(head)
            asked = _numpy(queries)
            held = _numpy(recent.block.keys[layer, kv_head])
            heads.append(_best(traces.keys[layer, kv_head], asked, held, recent.lengths))
            tries = max(tries, len(asked) * len(held))
        measured = [head for head in heads if head is not None]
        if measured:
            sources.append(np.mean(measured, axis=0))
    if settings.fusion != "heads" and traces.features is not None and words.any():
        asked = unit(_numpy(question.rows)[words])
        held = unit(_numpy(torch.cat([item.features for item in recent.seen])))
        lengths = [len(item.features) for item in recent.seen]
        likeness = _by_frame((asked @ held.T).max(axis=0), lengths)
        found = _best(traces.features, asked, held, lengths)
        if found is not None:
            sources.append(found)
            tries = max(tries, len(asked) * len(held))
    if not sources:
        unknown = np.zeros(len(recent.seen))
        return None if likeness is None else RecentScores(unknown, unknown - np.inf, 0.0, likeness)
    chance = math.sqrt(2.0 * math.log(tries / RARE))
    return RecentScores(np.mean(sources, axis=0), np.max(sources, axis=0), chance, likeness)


def find_likeness(recalled: Recalled, scores: RecentScores | None) -> float | None:
    """Find the best cosine of the question's words with anything seen; None where visual features were not asked."""
    found = [] if recalled.likeness is None else [recalled.likeness]
    if scores is not None and scores.likeness is not None:
        found.append(float(scores.likeness.max()))
    return max(found, default=None)


def find_evidence(
    archive: Archive,
    recalled: Recalled,
    recent: Recent | None,
    scores: RecentScores | None,
    now_us: int,
    least: float | None = None,
) -> tuple[Evidence, ...]:
    """List the stretches that a question about the past was answered from, best first; none if none is relevant.

    Only what was read counts: what recall found relevant but the budget left out is no evidence.  least: the likeness
    above which something is relevant, as calibrated; where it is None, or visual features were not asked, z above
    chance is.
    """
    if recent is not None and not recalled.block_ids and not _measured(scores, least):
        first, last = recent.seen[0], recent.seen[-1]  # all that was ever seen, and nothing to measure it by
        return (Evidence(first.time_us, _end(last, now_us), 0.0, "recent", last.thumbnail),)
    chance = max(recalled.chance, scores.chance if scores is not None else 0.0)
    shots: list[tuple[int, Evidence]] = []
    remembered = recalled.relevance > chance
    if least is not None and recalled.likeness is not None:
        remembered = recalled.likeness > least
    if remembered:
        for block_id, score in zip(recalled.block_ids, recalled.scores, strict=True):
            if score > -math.inf:  # else a neighbour, read for the story around a hit
                start_us, end_us = archive.span_of(block_id)
                shots.append((block_id, Evidence(start_us, end_us, score, "recalled", _picture(archive, block_id))))
    if recent is not None and scores is not None:
        relevant = scores.best > chance
        if least is not None and scores.likeness is not None:
            relevant = scores.likeness > least
        for item, score, counts in zip(recent.seen, scores.mean.tolist(), relevant.tolist(), strict=True):
            if counts:
                shot = Evidence(item.time_us, _end(item, now_us), score, "recent", item.thumbnail)
                shots.append((item.block_id, shot))
    return _merge(shots)


def newest(recent: Recent | None, now_us: int) -> tuple[Evidence, ...]:
    """Name the newest keyframe, which is what a question about now is answered from."""
    if recent is None:
        return ()
    last = recent.seen[-1]
    return (Evidence(last.time_us, _end(last, now_us), 0.0, "recent", last.thumbnail),)


def newest_stored(archive: Archive, count: int) -> Recalled:
    """Choose the newest stored blocks, where there are no newer keyframes at hand."""
    ids = archive.block_ids[-count:]
    return Recalled(ids, tuple(0.0 for _ in ids), tokens=sum(archive.size(block_id) or 0 for block_id in ids))


def newest_shown(archive: Archive, recalled: Recalled) -> tuple[Evidence, ...]:
    """Name the newest of the blocks that newest_stored chose."""
    if not recalled.block_ids:
        return ()
    last = recalled.block_ids[-1]
    return (Evidence(*archive.span_of(last), 0.0, "recalled", _picture(archive, last)),)


def _picture(archive: Archive, block_id: int) -> bytes:
    """Read a thumbnail; a damaged one costs the picture, not the answer."""
    try:
        return archive.thumbnail(block_id)
    except StorageError:
        return b""


def _measured(scores: RecentScores | None, least: float | None) -> bool:
    """Say whether recent keyframes can be told relevant or not: by likeness where that is calibrated, else by z."""
    if scores is None:
        return False
    return (least is not None and scores.likeness is not None) or bool(np.isfinite(scores.best).all())


def _merge(shots: Sequence[tuple[int, Evidence]]) -> tuple[Evidence, ...]:
    """Keep the best shots, given by block number and in order of it, and join those that follow each other."""
    best = max((shot.score for _, shot in shots), default=0.0)
    least = EVIDENCE_SHARE * best if best > 0.0 else best
    found: list[Evidence] = []
    last_id = None
    for block_id, shot in shots:
        if shot.score < least:
            continue
        if found and last_id == block_id - 1 and found[-1].source == shot.source:
            before = found.pop()
            top = shot if shot.score > before.score else before
            shot = replace(top, start_us=before.start_us, end_us=shot.end_us)
        found.append(shot)
        last_id = block_id
    return tuple(sorted(found, key=lambda shot: -shot.score)[:MOST_EVIDENCE])


def _end(item: Seen, now_us: int) -> int:
    return now_us if item.end_us is None else item.end_us


def _best(
    trace: Trace, queries: NDArray[np.float32], vectors: NDArray[np.float32], lengths: Sequence[int]
) -> NDArray[np.float64] | None:
    """Find the best z of each keyframe's vectors [n, dim], by their lengths; None with nothing to measure by."""
    if not len(queries) or trace.moments.count < 2:
        return None
    return _by_frame(trace.moments.standardise(queries @ vectors.T, queries).max(axis=0), lengths)


def _by_frame(scores: NDArray[np.floating], lengths: Sequence[int]) -> NDArray[np.float64]:
    """Take the best of each keyframe's scores [n], by their lengths."""
    return np.asarray(np.maximum.reduceat(scores, np.cumsum([0, *lengths[:-1]])), dtype=np.float64)


def _numpy(vectors: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = vectors.detach().to("cpu", torch.float32).numpy()
    return array
