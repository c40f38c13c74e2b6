"""What is still answered when a memory is coded: the same questions, over the same blocks as each codec reads them."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..memory.archive import Archive
from ..memory.block import KVBlock
from ..memory.codecs.codec import Codec
from ..memory.group import Body
from ..memory.store import RamStore
from ..models.backbone import Backbone, HeadId
from ..settings import Settings
from ..theatre.questions import Question
from .codec_distortion import Coded, Row, measure_codecs
from .codec_samples import Group, group_of, sampled
from .moment import Moment
from .own import Ours
from .policies import Oracle
from .recall_bench import RecallPlan, moments_of, reply_of
from .tally import Reply, aligned


@dataclass(frozen=True, slots=True)
class CodecAnswers:
    """Hold how questions about the past were answered over what one codec reads back.

    bits: true bits a number.  ours, oracle: right of asked, with the blocks that recall finds and with those that hold
    the answer.
    """

    codec: str
    bits: float
    ours: tuple[int, int]
    oracle: tuple[int, int]


@dataclass(frozen=True, slots=True)
class CodecReport:
    """Hold rate, distortion and answers of all codecs."""

    title: str
    distortion: tuple[Row, ...]
    answers: tuple[CodecAnswers, ...]


def run_codecs(
    backbone: Backbone,
    codecs: Sequence[Coded],
    raw: Codec,
    plan: RecallPlan,
    heads: tuple[HeadId, ...],
    told: Callable[[str], None] = lambda _: None,
) -> CodecReport:
    """Stream every show once, uncoded; then, at its end, read it back from each codec and ask the same questions.

    raw: the codec that keeps blocks as they are.  The indexes are the same for all: what is compared is reading.
    """
    streams, replies, sizes = [], dict[str, list[Reply]](), dict[str, list[tuple[float, int]]]()
    settings = replace(Settings(), codec="raw")
    for number, show in enumerate(plan.shows()):
        title = f"stream {number + 1} of {plan.streams}"
        told(f"{title}: watching")
        *_, (moment, questions) = moments_of(backbone, show, plan, settings, heads, title)
        streams.append(sampled(moment, questions))
        for codec in codecs:
            told(f"{title}: {len(questions)} questions over {codec.name}")
            view, nbytes, numbers = read_back(moment, codec, raw)
            sizes.setdefault(codec.name, []).append((nbytes, numbers))
            replies.setdefault(codec.name, []).extend(_asked(view, questions, heads, plan))
    told("measuring distortion")
    rows = measure_codecs(streams, backbone.layout, codecs)
    found = [
        CodecAnswers(
            codec.name,
            8.0 * sum(size for size, _ in sizes[codec.name]) / sum(count for _, count in sizes[codec.name]),
            _right(replies[codec.name], "ours"),
            _right(replies[codec.name], "oracle"),
        )
        for codec in codecs
    ]
    title = f"{plan.streams} streams of {plan.minutes:g} min at {plan.fps:g} frames/s, seed {plan.seed}"
    return CodecReport(title, tuple(rows), tuple(found))


def read_back(moment: Moment, codec: Coded, raw: Codec) -> tuple[Moment, float, int]:
    """Give the same moment over blocks that a codec read back, the bytes it took, and of how many numbers."""
    archive = moment.ingest.archive
    parts = list(_groups(archive))
    found = codec.reread([group for _, _, group in parts])
    store = RamStore()
    for (group_id, body, _), (keys, values) in zip(parts, found.groups, strict=True):
        kept = replace(body, codec=raw.name, codes=raw.encode(keys, values))
        store.put(group_id, b"", kept.to_bytes())
    view = copy.copy(moment.ingest)
    view.archive = archive.over(store)
    numbers = sum(group.keys.numel() + group.values.numel() for _, _, group in parts)
    return Moment(view, moment.newest, moment.redraw), found.nbytes, numbers


def answers_table(report: CodecReport) -> str:
    """Write the answers as a table; the first codec is what the others are compared with."""
    lines = [["codec", "true bits", "ours", "oracle", "ours against " + report.answers[0].codec]]
    first = _share(report.answers[0].ours)
    for item in report.answers:
        lines.append(
            [
                item.codec,
                f"{item.bits:.2f}",
                f"{_share(item.ours):.3f}",
                f"{_share(item.oracle):.3f}",
                f"{100 * (_share(item.ours) - first):+.1f} points",
            ]
        )
    return aligned(lines)


def _groups(archive: Archive) -> Iterator[tuple[int, Body, Group]]:
    for group_id in archive.group_ids:
        blocks: list[KVBlock] = [archive.get(block_id) for block_id in archive.blocks_of(group_id)]
        yield group_id, Body.from_bytes(archive.store.body(group_id)), group_of(blocks)


def _asked(view: Moment, questions: Sequence[Question], heads: tuple[HeadId, ...], plan: RecallPlan) -> Iterator[Reply]:
    for question in questions:
        for policy in (Ours("ours", heads), Oracle()):
            yield reply_of(policy, view, question, plan.answer_tokens)


def _right(replies: Sequence[Reply], policy: str) -> tuple[int, int]:
    asked = [reply for reply in replies if reply.policy == policy]
    return sum(bool(reply.right) for reply in asked), len(asked)


def _share(right: tuple[int, int]) -> float:
    return right[0] / max(1, right[1])
