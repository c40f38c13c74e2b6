"""Reading: from a question to the context that answers it.

question ─► gate ─► probe over [sink | recent] ─► recall ─► [sink | recalled and gist, in time order | recent] ─► decode

What was recalled may be pruned for the one question (pruning.readings): before the model, or layer by layer inside it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..answer import Evidence
from ..errors import SettingsError
from ..memory.block import Context
from ..memory.context import assemble
from ..memory.gate import GateDecision, decide
from ..memory.positions import text_positions
from ..memory.recall import Recall, Recalled, RecallSettings
from ..models.backbone import ContextSelector, HeadId, Prefill
from ..pruning.inner import InnerReading
from ..pruning.readings import OuterReading, build_reading
from .evidence import (
    Question,
    Recent,
    RecentScores,
    find_evidence,
    find_likeness,
    newest,
    newest_shown,
    newest_stored,
    score_recent,
)
from .ingest import Ingest
from .seen import Seen, within
from .sieve import Asking, inner_selector, thinned, visual_tokens
from .story import story_of

RECALL_FRAMES = 16
HIT_FRAMES = 8  # hits asked of an index for each query, in whole frames' tokens; four times as many find no more
MOST_TOKENS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Hold what a question reads: its rows, the context they continue, and where that was seen.

    history: whether the past was read, because of the question's words or the caller's range.  relevant: whether
    anything that was seen has to do with the question; without it there is no evidence.  likeness: the best cosine of
    its words with anything seen, None where that was not asked.  since_us, until_us: the stretch that was asked about,
    by the caller or by the question's own words.  timings: milliseconds.  select: gives each layer its part of the
    context; None where all read all of it.  dropped: how many of its tokens a layer does not read, on average.
    """

    features: Tensor
    positions: Tensor
    context: Context
    evidence: tuple[Evidence, ...]
    recalled: Recalled
    gate: GateDecision
    history: bool
    relevant: bool
    likeness: float | None = None
    since_us: int | None = None
    until_us: int | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    select: ContextSelector | None = None
    dropped: float = 0.0

    @property
    def context_tokens(self) -> int:
        """How many tokens of the context are read, on average over layers."""
        return round(len(self.context) - self.dropped)

    @property
    def recalled_tokens(self) -> int:
        """How many of them were recalled."""
        return round(self.recalled.tokens - self.dropped)


class Reader:
    """Prepare a question's context.  Reads the memory and changes nothing in it.

    Recent keyframes are encoded once and kept for the questions that come before the next keyframe.  recall: settings
    of recall in place of those that follow from the session's.
    """

    def __init__(self, ingest: Ingest, heads: tuple[HeadId, ...], recall: RecallSettings | None = None) -> None:
        self.ingest, self.heads = ingest, heads
        self._settings = recall
        self._reading = build_reading(ingest.settings.reading, ingest.settings.reading_rate)
        self._recent: Recent | None = None

    @property
    def recall(self) -> Recall:
        """The search of the archive, by what a frame's size is known to be now."""
        settings = self._settings
        if settings is None:
            fusion = self.ingest.settings.fusion if self.heads else "embeddings"
            settings = RecallSettings(fusion=fusion, top_tokens=max(1, HIT_FRAMES * self.ingest.cells))
        return Recall(self.ingest.archive, settings)

    @property
    def budget(self) -> int:
        """The most recalled tokens that a question reads."""
        set_to = self.ingest.settings.memory_tokens
        return RECALL_FRAMES * self.ingest.cells if set_to is None else set_to

    def refresh(self) -> None:
        """Forget what an earlier question left."""
        self._recent = None

    def read(self, question: str, since_us: int | None = None, until_us: int | None = None) -> Reading:
        """Choose and assemble the context of a question.

        Raises SettingsError for a question that is too long or has no words of its own.
        """
        ingest, backbone = self.ingest, self.ingest.backbone
        clock = [time.perf_counter()]
        rows, words = backbone.question(question)
        check_question(rows, words)
        gate = decide(question, ingest.now_us, ingest.settings.gate, ingest.start_us)
        if gate.history and gate.range is not None and since_us is None and until_us is None:
            since_us, until_us = gate.range.since_us, gate.range.until_us
        # A range that the caller gives is about the past whatever the words are, but "never" means never.
        ranged = since_us is not None or until_us is not None
        history = gate.history or (ranged and ingest.settings.gate != "never")
        seen = ingest.recent()
        recent = self._encoded([item for item in seen if _meets(item, ingest.now_us, since_us, until_us)])
        near = [recent.block] if recent is not None else []
        recalled, scores = Recalled(), None
        probe: Prefill | None = None

        def probed() -> Prefill:
            nonlocal probe
            if probe is None:
                over = assemble(backbone.layout, [ingest.sink, *near], device=backbone.device)
                probe = backbone.prefill(rows, self._positions(len(rows), over), over, heads=self.heads)
            return probe

        clock.append(time.perf_counter())
        if history:
            asked = Question(rows, words, {})
            if self.recall.settings.fusion != "embeddings" and len(ingest.archive):
                asked = Question(rows, words, probed().queries)
            clock.append(time.perf_counter())
            recalled, scores = self._search(asked, recent, since_us, until_us)
        if not history and not seen:  # behind a crash only stored keyframes are left to say what is there now
            recalled = newest_stored(ingest.archive, ingest.settings.recent_frames)
        blocks = ingest.archive.read(recalled.block_ids, backbone.device)
        recalled = recalled.only({block.block_id for block in blocks}, sum(map(len, blocks)))
        asking = Asking(rows, words, lambda: probed().keys)
        if isinstance(self._reading, OuterReading) and self._reading.rate < 1.0:
            blocks = thinned(blocks, asking, ingest.archive, self._reading)
            recalled = replace(recalled, tokens=sum(map(len, blocks)))
        told = {*recalled.block_ids, *(item.block_id for item in (recent.seen if recent is not None else ()))}
        budget = ingest.settings.gist_tokens if history else 0
        story = story_of(ingest.archive, told, budget, since_us, until_us, backbone.device) if budget else []
        past = sorted([*blocks, *story], key=lambda block: block.block_id)
        parts = [ingest.sink, *past, *near]
        context = assemble(backbone.layout, parts, device=backbone.device, gaps=ingest.settings.positions)
        positions, select, dropped = self._positions(len(rows), context), None, 0.0
        if isinstance(self._reading, InnerReading) and (count := visual_tokens(blocks)):
            ids = set(recalled.block_ids)
            select = inner_selector(self._reading, backbone.layout, context, parts, ids, asking, positions)
            left = self._reading.left(count, backbone.layout.layers)
            dropped = count - sum(left) / len(left)
        if history:
            least = backbone.card.relevance
            evidence = find_evidence(ingest.archive, recalled, recent, scores, ingest.now_us, least)
        else:
            evidence = newest(recent, ingest.now_us) or newest_shown(ingest.archive, recalled)
        clock.append(time.perf_counter())
        return Reading(
            features=rows,
            positions=positions,
            context=context,
            evidence=evidence,
            recalled=recalled,
            gate=gate,
            history=history,
            relevant=bool(evidence),
            likeness=find_likeness(recalled, scores),
            since_us=since_us,
            until_us=until_us,
            timings={"probe_ms": (clock[-2] - clock[0]) * 1e3, "recall_ms": (clock[-1] - clock[-2]) * 1e3},
            select=select,
            dropped=dropped,
        )

    def _encoded(self, seen: Sequence[Seen]) -> Recent | None:
        """Encode recent keyframes over the sink, or take what an earlier question left of just these."""
        held = self._recent
        if held is not None and [item.block_id for item in held.seen] == [item.block_id for item in seen]:
            if held.seen[-1] is not seen[-1]:
                held = Recent(tuple(seen), held.block, held.lengths)  # stored meanwhile: its end is known now
        else:
            block = self.ingest.prefill_frames(seen)
            lengths = tuple(self.ingest.length(item) for item in seen)
            held = Recent(tuple(seen), block, lengths) if block is not None else None
        self._recent = held
        return held

    def _search(
        self, asked: Question, recent: Recent | None, since_us: int | None, until_us: int | None
    ) -> tuple[Recalled, RecentScores | None]:
        recall = self.recall
        recalled = recall.search(
            asked.queries,
            asked.rows,
            asked.words,
            self.budget,
            since_us=since_us,
            until_us=until_us,
            exclude={item.block_id for item in recent.seen} if recent is not None else (),
        )
        scores = score_recent(recent, asked, recall.archive, recall.settings) if recent is not None else None
        return recalled, scores

    def _positions(self, count: int, context: Context) -> Tensor:
        axes = self.ingest.backbone.layout.rotary.axes
        return text_positions(count, context.next_position, axes, context.keys.device)


def check_question(rows: Tensor, words: Tensor) -> None:
    """Raise SettingsError for a question of too many rows [n, D], or none of whose rows are words, bool [n]."""
    if len(rows) > MOST_TOKENS:
        raise SettingsError(f"the question is {len(rows)} tokens long; the limit is {MOST_TOKENS}: ask a shorter one")
    if not bool(words.any()):
        raise SettingsError("the question has no words of its own, only special tokens; ask something in words")


def _meets(item: Seen, now_us: int, since_us: int | None, until_us: int | None) -> bool:
    """Say whether a keyframe was the newest one at some time in [since_us, until_us)."""
    end_us = now_us + 1 if item.end_us is None else item.end_us
    return within(item.time_us, end_us, since_us, until_us)
