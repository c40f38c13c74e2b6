"""Policies: what is put before the model when a question comes.  Here are the controls; rivals and ours are beside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..memory.block import Context, KVBlock
from ..models.backbone import Backbone, ContextSelector, Sampling
from ..stream.reading import RECALL_FRAMES
from ..theatre.questions import Question
from .moment import Moment

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """Hold what a policy chose to read.

    features, positions: the question's rows.  context, select: as Backbone.generate takes them.  tokens: tokens of the
    context, on average over layers.  shown_us: stream times of the frames of which something is in the context, one
    tuple per layer, or one for all layers where they read the same.
    """

    features: Tensor
    positions: Tensor
    context: Context | None
    select: ContextSelector | None
    tokens: float
    shown_us: tuple[tuple[int, ...], ...]

    def answer(self, backbone: Backbone, max_tokens: int = 16) -> str:
        """Decode the answer, greedily."""
        sampling = Sampling(max_tokens=max_tokens)
        pieces = backbone.generate(self.features, self.positions, self.context, sampling, select=self.select)
        return "".join(pieces).strip()

    def finds(self, question: Question) -> float:
        """Say in which share of the layers every needed span has a frame in the context."""
        found = [
            all(any(shows(time_us, span, question.asked_us) for time_us in times) for span in question.spans_us)
            for times in self.shown_us
        ]
        return sum(found) / len(found)


class Policy(Protocol):
    """Choose what a question reads, from a moment of a stream; changes nothing there."""

    @property
    def name(self) -> str:
        """The name in tables."""
        ...

    def read(self, moment: Moment, question: Question) -> Prompt | None:
        """Choose the context of a question; None where the policy cannot be run."""
        ...

    def memory_bytes(self, moment: Moment) -> int:
        """Count the bytes that must be held for the policy to answer at this moment."""
        ...


def shows(time_us: int, span: Span, asked_us: int) -> bool:
    """Say whether a frame of this time can show what happened in the span.

    A keyframe stands for the time until the next one, but shows only what was there when it was taken.
    """
    start, end = span
    return start <= time_us < end or time_us == end == asked_us


def plain_prompt(moment: Moment, question: Question, context: Context, shown_us: Sequence[int]) -> Prompt:
    """Ask over one context for all layers."""
    rows, _ = moment.backbone.question(question.text)
    positions = moment.positions(len(rows), context.next_position)
    return Prompt(rows, positions, context, None, len(context), (tuple(shown_us),))


def budget_of(moment: Moment) -> int:
    """Give the most recalled tokens that a question may read: the same number for all policies."""
    set_to = moment.ingest.settings.memory_tokens
    return RECALL_FRAMES * moment.cells if set_to is None else set_to


def kv_bytes(moment: Moment) -> int:
    """Count the bytes of every remembered block, as the model made it."""
    return sum(block.nbytes for block in moment.blocks)


def recent_bytes(moment: Moment) -> int:
    """Count the bytes of the newest keyframes' features."""
    return sum(item.tokens.nbytes for item in moment.seen)


@dataclass(frozen=True, slots=True)
class Blind:
    """Answer without a frame: what the wording alone gives away."""

    name: str = "blind"

    def read(self, moment: Moment, question: Question) -> Prompt:
        """Read the sink alone."""
        return plain_prompt(moment, question, moment.assemble([moment.ingest.sink]), ())

    def memory_bytes(self, moment: Moment) -> int:
        """Hold nothing."""
        return 0


@dataclass(frozen=True, slots=True)
class RecentFrames:
    """Read the last four frames, encoded over the sink alone (SimpleStream, arXiv 2604.02317)."""

    name: str = "recent-4"

    def read(self, moment: Moment, question: Question) -> Prompt:
        """Read the last frames as they came."""
        context, times, _ = moment.clean
        return plain_prompt(moment, question, context, times)

    def memory_bytes(self, moment: Moment) -> int:
        """Hold the frames' features."""
        return moment.clean[2]


@dataclass(frozen=True, slots=True)
class UniformFrames:
    """Read 64 frames, evenly over the stream, encoded with full attention when the question comes."""

    name: str = "uniform-64"

    def read(self, moment: Moment, question: Question) -> Prompt:
        """Read the frames; they are encoded once for all questions of the moment."""
        context, times, _ = moment.uniform
        return plain_prompt(moment, question, context, times)

    def memory_bytes(self, moment: Moment) -> int:
        """Hold the frames' features: as if it had been known which they would be."""
        return moment.uniform[2]


@dataclass(frozen=True, slots=True)
class FullCache:
    """Read everything remembered, where that is at most limit_tokens tokens."""

    limit_tokens: int = 32_768
    name: str = "full"

    def read(self, moment: Moment, question: Question) -> Prompt | None:
        """Read all blocks."""
        if sum(map(len, moment.blocks)) + len(moment.ingest.sink) > self.limit_tokens:
            return None
        return plain_prompt(moment, question, moment.all_blocks, [block.span_us[0] for block in moment.blocks])

    def memory_bytes(self, moment: Moment) -> int:
        """Hold every block."""
        return kv_bytes(moment)


@dataclass(frozen=True, slots=True)
class Oracle:
    """Read the blocks of the needed spans, which it is told, and the newest keyframes: what recall could reach."""

    name: str = "oracle"

    def read(self, moment: Moment, question: Question) -> Prompt:
        """Read the spans' blocks, each span thinned evenly to its share of the budget."""
        recent_ids = {item.block_id for item in moment.seen}
        chosen: dict[int, KVBlock] = {}
        left = budget_of(moment)
        for number, span in enumerate(question.spans_us):
            blocks = _blocks_of(moment, span, question.asked_us, recent_ids | chosen.keys())
            picked = _thinned(blocks, left // (len(question.spans_us) - number))
            left -= sum(map(len, picked))
            chosen.update((block.block_id, block) for block in picked)
        parts = [chosen[block_id] for block_id in sorted(chosen)]
        context = moment.assemble([moment.ingest.sink, *parts, moment.recent])
        shown = [block.span_us[0] for block in parts] + [item.time_us for item in moment.seen]
        return plain_prompt(moment, question, context, shown)

    def memory_bytes(self, moment: Moment) -> int:
        """Hold every block and the newest keyframes."""
        return kv_bytes(moment) + recent_bytes(moment)


def _blocks_of(moment: Moment, span: Span, asked_us: int, leave_out: set[int]) -> list[KVBlock]:
    """List the blocks whose frames show a span; where there is none, those that stand for some of it."""
    meet = [
        block
        for block in moment.blocks
        if block.span_us[0] < span[1] and block.span_us[1] > span[0] and block.block_id not in leave_out
    ]
    return [block for block in meet if shows(block.span_us[0], span, asked_us)] or meet


def _thinned(blocks: list[KVBlock], budget: int) -> list[KVBlock]:
    """Keep as many evenly spaced blocks as the budget holds."""
    for count in range(len(blocks), 0, -1):
        picked = [blocks[(2 * n + 1) * len(blocks) // (2 * count)] for n in range(count)]
        if sum(map(len, picked)) <= budget:
            return picked
    return []
