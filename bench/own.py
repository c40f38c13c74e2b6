"""Our own recall as policies: the same reader that a session uses, with one setting changed in each."""

import copy
from dataclasses import dataclass, replace
from typing import Literal

from ..memory.positions import Gaps
from ..memory.recall import RecallSettings
from ..models.backbone import HeadId
from ..stream.reading import Reader
from ..theatre.questions import Question
from .moment import Moment
from .policies import Prompt, budget_of, recent_bytes


@dataclass(frozen=True, slots=True)
class Ours:
    """Read as a session reads: gate, recall by retrieval heads and embeddings, newest keyframes encoded anew.

    recall: settings of recall in place of the reader's own, for comparing them.  positions: what becomes of the
    positions between recalled blocks.  gist_tokens: most tokens of gist around them.  reading, reading_rate: how
    recalled tokens are pruned for the question.  budget: share of the common budget of recalled tokens that recall may
    spend: pruning by whole frames.
    """

    name: str = "ours"
    heads: tuple[HeadId, ...] = ()
    fusion: Literal["heads", "embeddings", "fused"] = "fused"
    gate: Literal["auto", "always", "never"] = "auto"
    recall: RecallSettings | None = None
    positions: Gaps = "contiguous"
    gist_tokens: int = 0
    reading: str = "none"
    reading_rate: float = 0.5
    budget: float = 1.0

    def read(self, moment: Moment, question: Question) -> Prompt:
        """Let the reader choose."""
        view = copy.copy(moment.ingest)  # the same memory under other settings
        view.settings = replace(
            view.settings,
            fusion=self.fusion,
            gate=self.gate,
            positions=self.positions,
            gist_tokens=self.gist_tokens,
            reading=self.reading,
            reading_rate=self.reading_rate,
        )
        if self.budget < 1.0:
            view.settings = replace(view.settings, memory_tokens=round(self.budget * budget_of(moment)))
        reader = Reader(view, self.heads, self.recall)
        reading = reader.read(question.text)
        shown = [view.archive.span_of(block_id)[0] for block_id in reading.recalled.block_ids]
        shown += [item.time_us for item in moment.seen]
        tokens = len(reading.context) - reading.dropped
        return Prompt(reading.features, reading.positions, reading.context, reading.select, tokens, (tuple(shown),))

    def memory_bytes(self, moment: Moment) -> int:
        """Count the whole memory in true bytes, without the traces that this policy does not read."""
        archive = moment.ingest.archive
        if self.gate == "never":
            return recent_bytes(moment)
        held = archive.nbytes + recent_bytes(moment) + sum(block.nbytes for block in moment.waiting)
        if self.fusion == "embeddings":
            held -= sum(trace.nbytes for trace in archive.traces.keys.values())
        if self.fusion == "heads" and archive.traces.features is not None:
            held -= archive.traces.features.nbytes
        return held
