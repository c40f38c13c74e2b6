"""Reading: from a question to the context that answers it.

    question ─► gate ─► probe over [sink | recent] ─► recall ─► [sink | recalled, in time order | recent] ─► decode
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..answer import Evidence
from ..memory.block import Context, KVBlock
from ..memory.context import assemble
from ..memory.gate import GateDecision, decide
from ..memory.recall import Recall, Recalled, RecallSettings
from ..models.backbone import HeadId
from .ingest import Ingest, Seen

RECALL_FRAMES = 16
MOST_EVIDENCE = 4
# A stretch is shown as evidence when its score comes this near to the best one's.
EVIDENCE_SHARE = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Hold what a question reads: its rows, the context they continue, and where that was seen."""

    features: Tensor
    positions: Tensor
    context: Context
    evidence: tuple[Evidence, ...]
    recalled: Recalled
    gate: GateDecision
    relevant: bool


class Reader:
    """Prepare a question's context.  Reads the memory and changes nothing in it."""

    def __init__(self, ingest: Ingest, heads: tuple[HeadId, ...]) -> None:
        self.ingest, self.heads = ingest, heads
        settings = ingest.settings
        fusion = settings.fusion if heads else "embeddings"
        self.recall = Recall(ingest.archive, RecallSettings(fusion=fusion))
        cells = ingest.backbone.grid[0] * ingest.backbone.grid[1]
        self.budget = RECALL_FRAMES * cells if settings.memory_tokens is None else settings.memory_tokens

    def read(self, question: str, since_us: int | None = None, until_us: int | None = None) -> Reading:
        """Choose and assemble the context of a question."""
        ingest, backbone = self.ingest, self.ingest.backbone
        rows, words = backbone.question(question)
        gate = decide(question, ingest.now_us, ingest.settings.gate, ingest.start_us)
        if gate.range is not None and since_us is None and until_us is None:
            since_us, until_us = gate.range.since_us, gate.range.until_us
        seen = ingest.recent()
        if until_us is not None:
            seen = [item for item in seen if item.time_us < until_us]
        recent = ingest.prefill_frames(seen)
        near = [ingest.sink] + ([recent] if recent is not None else [])
        recalled, recent_z = Recalled(), 0.0
        history = gate.history or since_us is not None or until_us is not None
        if history and len(ingest.archive):
            probe = assemble(backbone.layout, near, device=backbone.device)
            asked = backbone.prefill(rows, self._positions(len(rows), probe), probe, heads=self.heads)
            exclude = {item.block_id for item in seen}
            recalled = self.recall.search(
                asked.queries, rows, words, self.budget, since_us=since_us, until_us=until_us, exclude=exclude
            )
            recent_z = self._recent_score(seen, rows, words)
        blocks = [ingest.archive.get(block_id) for block_id in recalled.block_ids]
        context = assemble(backbone.layout, [near[0], *blocks, *near[1:]], device=backbone.device)
        positions = self._positions(len(rows), context)
        relevant = not history or max(recalled.relevance, recent_z) > recalled.chance
        evidence = self._evidence(recalled, seen, recent, recent_z, history) if relevant else ()
        return Reading(rows, positions, context, evidence, recalled, gate, relevant and bool(evidence))

    def _positions(self, count: int, context: Context) -> Tensor:
        start, layout = context.next_position, self.ingest.backbone.layout
        return torch.arange(start, start + count, device=context.keys.device)[:, None].expand(count, layout.rotary.axes)

    def _recent_score(self, seen: list[Seen], rows: Tensor, words: Tensor) -> float:
        """Score the recent frames as recall scores blocks by their features, so that they compete as evidence."""
        trace = self.ingest.archive.traces.features
        if trace is None or not seen or not bool(words.any()):
            return 0.0
        asked = torch.nn.functional.normalize(rows[words].float(), dim=-1).cpu()
        held = torch.nn.functional.normalize(torch.cat([item.features for item in seen]).float(), dim=-1).cpu()
        scores = (asked @ held.T).numpy()
        return float(np.max(trace.moments.standardise(scores, asked.numpy())))

    def _evidence(
        self, recalled: Recalled, seen: list[Seen], recent: KVBlock | None, recent_z: float, history: bool
    ) -> tuple[Evidence, ...]:
        """List the stretches that count, best first: recalled hits, and the newest frame for questions about now."""
        now = self.ingest.now_us
        if not history or not recalled.hits:
            if recent is None:
                return ()
            last = seen[-1]
            return (Evidence(last.time_us, now, recent_z, "recent", last.thumbnail),)
        best = max(recent_z, *recalled.scores)
        found: list[Evidence] = []
        last_id = None
        for block_id, score in zip(recalled.block_ids, recalled.scores, strict=True):
            if score < EVIDENCE_SHARE * best:
                continue
            start, end = self.ingest.archive.get(block_id).span_us
            shot = self.ingest.archive.thumbnail(block_id)
            if found and last_id == block_id - 1:  # the stretch goes on
                before = found.pop()
                shot = shot if score > before.score else before.thumbnail
                start, score = before.start_us, max(score, before.score)
            found.append(Evidence(start, end, score, "recalled", shot))
            last_id = block_id
        if recent is not None and recent_z >= EVIDENCE_SHARE * best and recent_z > recalled.chance:
            found.append(Evidence(seen[0].time_us, now, recent_z, "recent", seen[-1].thumbnail))
        return tuple(sorted(found, key=lambda item: -item.score)[:MOST_EVIDENCE])
