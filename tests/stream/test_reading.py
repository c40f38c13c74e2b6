"""Rules 1 and 9: what a question reads equals transformers' own forward, and evidence is honest."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from onlooker.answer import Evidence
from onlooker.errors import SettingsError
from onlooker.frame import Frame
from onlooker.memory.recall import Recalled, RecallSettings
from onlooker.memory.selection import SelectionSettings
from onlooker.models.backbone import Backbone, HeadId, Sampling
from onlooker.models.loading import load_backbone
from onlooker.settings import Settings
from onlooker.stream.evidence import Question, find_evidence, score_recent
from onlooker.stream.ingest import Ingest
from onlooker.stream.reading import Reader, Reading
from onlooker.theatre.show import Show

HEADS = (HeadId(0, 0), HeadId(1, 1))
QUESTION = "where was the red ball ?"


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(Show(3, 60, size=56).frames(2.0))


MODELS = [
    ("llava_onevision", "none"),
    ("llava_onevision", "clock"),
    ("qwen2_5_vl", "none"),
    ("qwen2_5_vl", "clock"),
    ("qwen3_vl", "none"),
]


@pytest.fixture(scope="module", params=MODELS, ids="-".join)
def model(
    request: pytest.FixtureRequest,
    make_tiny_model: Callable[..., Path],
    tiny: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Backbone, Any]:
    """A backbone of each family, without and with time stamps, and transformers' own model from the same folder."""
    family, stamps = request.param
    folder = make_tiny_model(tmp_path_factory.mktemp("model"), card={"time_stamps": stamps}, family=family)
    return load_backbone(str(folder), device="cpu"), tiny.OwnModel(folder, family)


def reader_of(backbone: Backbone, frames: Iterable[Frame], **changes: Any) -> Reader:
    settings = Settings(**{"codec": "raw", "keyframes": "all", "gate": "always", "memory_tokens": 100_000, **changes})
    ingest = Ingest(backbone, settings, HEADS)
    for frame in frames:
        ingest.see(frame)
    everything = SelectionSettings(mass=1.0, least_blocks=100_000)
    return Reader(ingest, HEADS, RecallSettings(fusion=settings.fusion, selection=everything))


def answered(backbone: Backbone, reading: Reading) -> tuple[Tensor, list[int]]:
    logits = backbone.prefill(reading.features, reading.positions, reading.context, logits=True).logits
    decoding = backbone.generate(reading.features, reading.positions, reading.context, Sampling(12))
    list(decoding)
    assert logits is not None
    return logits, decoding.token_ids


class Tape:
    """A stream laid out by hand: where each frame stands, by the published rules, without the code under test.

    On one axis tokens follow each other.  With stamps each frame is a part of its own, and what follows its cells
    stands one past their larger side.  Under absolute time (no stamps on three axes) all frames share their h and w,
    and t counts half seconds, in a run of frames without a gap.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone, self.axes = backbone, backbone.layout.rotary.axes
        self.clocked = self.axes == 3 and not backbone.stamp(0)

    def frame(self, frame: Frame) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Features, positions within the frame, planes, and which rows are visual."""
        tokens = self.backbone.encode([frame.image], [frame.time_us])
        stamp, ends = self.backbone.stamp(frame.time_us), ("<|vision_start|>", "<|vision_end|>")
        before, after = (stamp + ends[0], ends[1]) if self.axes == 3 and not self.clocked else (stamp, "")
        head, tail = (self.backbone.embed(self.backbone.tokenize(text)) for text in (before, after))
        n, (height, width) = len(head), tokens.grid
        if self.axes == 1:
            positions = torch.arange(n + len(tokens))[:, None]
        else:
            cells = [(n, n + h, n + w) for h in range(height) for w in range(width)]
            last = n + max(height, width)
            positions = torch.tensor([*[(k, k, k) for k in range(n)], *cells, *[(last, last, last)] * len(tail)])
        visual = torch.zeros(len(positions), dtype=torch.bool)
        visual[n : n + len(tokens)] = True
        planes = tokens.extras.get("deepstack")
        if planes is not None:
            whole = planes.new_zeros(len(positions), *planes.shape[1:])
            whole[visual] = planes
            planes = whole
        return torch.cat((head, tokens.features, tail)), positions, planes, visual

    def lay(self, frames: list[Frame], start: tuple[int, ...], since: Frame) -> tuple[dict[str, Any], tuple[int, ...]]:
        """Frames from a start on; since: the frame that stands at the start.  Gives the next frame's start, too."""
        rows = []
        for frame in frames:
            features, positions, planes, visual = self.frame(frame)
            if self.clocked:
                moved = torch.tensor((start[0] + (frame.time_us - since.time_us) // 500_000, *start[1:]))
                rows.append((features, positions + moved, planes, visual))
            else:
                rows.append((features, positions + torch.tensor(start), planes, visual))
                start = tuple(int(rows[-1][1].max()) + 1 for _ in start)
        features, positions, planes, visual = zip(*rows, strict=True)
        whole = None if planes[0] is None else torch.cat(planes)
        laid = {"features": torch.cat(features), "positions": torch.cat(positions)}
        return {**laid, "planes": whole, "visual": torch.cat(visual)}, start


def text_at(features: Tensor, start: int, axes: int) -> dict[str, Any]:
    return {"features": features, "positions": torch.arange(start, start + len(features))[:, None].expand(-1, axes)}


def test_everything_kept_equals_one_forward(model: tuple[Backbone, Any], frames: list[Frame]) -> None:
    """With a window that never ends and all blocks read, the memory is one causal pass."""
    backbone, own = model
    tape = Tape(backbone)
    reader = reader_of(backbone, frames[:13], recipe="none", chunk_frames=4, window_frames=64, recent_frames=1)
    reading = reader.read(QUESTION, until_us=frames[12].time_us)  # the waiting frame is left out
    assert reading.recalled.block_ids == tuple(range(12))
    opening = backbone.opening()
    video, _ = tape.lay(frames[:12], (len(opening),) * tape.axes, frames[0])
    _, cache = own.forward(**text_at(opening, 0, tape.axes))
    _, cache = own.forward(**video, cache=cache)
    start = int(video["positions"].max()) + 1
    assert reading.context.next_position == start
    assert len(reading.context) == len(opening) + len(video["features"])
    own_logits, own_ids = own.greedy(reading.features, start, cache, 12)
    logits, ids = answered(backbone, reading)
    torch.testing.assert_close(logits, own_logits, atol=1e-4, rtol=0)
    assert ids == own_ids and ids


@pytest.mark.parametrize("positions", ["contiguous", "kept"])
def test_window_and_clean_recent_frames_equal_own_forward(
    model: tuple[Backbone, Any], frames: list[Frame], positions: str
) -> None:
    """Chunks over [sink | last four frames], the recent frames over the sink alone, all read in one context.

    The window had frames before it that are gone: its first frame stands right behind the sink.
    """
    backbone, own = model
    tape, layout = Tape(backbone), backbone.layout
    reader = reader_of(
        backbone,
        frames[:14],
        recipe="none",
        chunk_frames=3,
        window_frames=4,
        recent_frames=1,
        positions=positions,
    )
    reading = reader.read(QUESTION)
    assert reading.recalled.block_ids == tuple(range(12))
    raw, _ = own.listen()
    Part = tuple[list[Tensor], list[Tensor]]  # raw keys and values of each layer, [kv_heads, n, head_dim]

    def laid(parts: list[tuple[Part, Tensor]]) -> DynamicCache:
        cache = DynamicCache()
        for layer in range(layout.layers if parts else 0):
            keys = torch.cat([own.rotate(part[0][layer], at) for part, at in parts], dim=1)
            cache.update(keys[None], torch.cat([part[1][layer] for part, _ in parts], dim=1)[None], layer)
        return cache

    def run(rows: dict[str, Any], before: list[tuple[Part, Tensor]]) -> Part:
        for layer in raw:
            layer.clear()
        length = sum(len(at) for _, at in before)
        _, done = own.forward(**rows, cache=laid(before))
        return [layer[0] for layer in raw], [layer.values[0, :, length:] for layer in done.layers]

    opening = text_at(backbone.opening(), 0, tape.axes)
    sink, first = (run(opening, []), opening["positions"]), (len(opening["features"]),) * tape.axes
    lengths = [len(tape.frame(frame)[0]) for frame in frames[:14]]
    blocks: list[Part] = []
    for start in range(0, 12, 3):
        held = max(0, start - 4)
        window, after = tape.lay(frames[held:start], first, frames[held]) if start else ({}, first)
        spans = torch.tensor([0, *lengths[held:start]]).cumsum(0).tolist()
        before = [sink]
        for block, begin, end in zip(blocks[held:start], spans, spans[1:], strict=False):
            before.append((block, window["positions"][begin:end]))
        rows, _ = tape.lay(frames[start : start + 3], after, frames[held])
        keys, values = run(rows, before)
        split = [[torch.split(layer, lengths[start : start + 3], dim=1) for layer in part] for part in (keys, values)]
        blocks += [([k[n] for k in split[0]], [v[n] for v in split[1]]) for n in range(3)]
    past, after = tape.lay(frames[:12], first, frames[0])
    clean, _ = tape.lay(frames[12:14], first, frames[12])
    recent = run(clean, [sink])
    near, _ = tape.lay(frames[12:14], after, frames[0])
    spans = torch.tensor([0, *lengths[:12]]).cumsum(0).tolist()
    cache = laid(
        [
            sink,
            *((block, past["positions"][a:b]) for block, a, b in zip(blocks, spans, spans[1:], strict=False)),
            (recent, near["positions"]),
        ]
    )

    start = int(near["positions"].max()) + 1
    assert reading.context.next_position == start
    for layer, kept in enumerate(cache.layers):
        torch.testing.assert_close(reading.context.keys[layer], kept.keys[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(reading.context.values[layer], kept.values[0], atol=1e-4, rtol=0)
    own_logits, own_ids = own.greedy(reading.features, start, cache, 12)
    logits, ids = answered(backbone, reading)
    torch.testing.assert_close(logits, own_logits, atol=1e-4, rtol=0)
    assert ids == own_ids and ids


@pytest.mark.parametrize("fusion", ["heads", "embeddings", "fused"])
def test_recent_frames_are_scored_as_recall_scores_blocks(
    tiny_backbone: Backbone, frames: list[Frame], fusion: str
) -> None:
    """Stored over the sink alone and unpruned, the same frames get the same scores either way.

    Up to what the memory's copy of the vectors is coded by: 8 bits a number of keys, 4 of features.
    """
    near = 0.02 if fusion == "heads" else 0.1
    reader = reader_of(
        tiny_backbone, frames[:9], recipe="none", window_frames=0, chunk_frames=1, recent_frames=4, fusion=fusion
    )
    ingest = reader.ingest
    rows, words = tiny_backbone.question(QUESTION)
    context_rows = torch.arange(len(rows))[:, None]
    question = Question(rows, words, tiny_backbone.prefill(rows, context_rows, heads=HEADS).queries)
    recalled = reader.recall.search(question.queries, rows, words, 100_000)
    for number in range(4, 8):
        seen = [item for item in ingest.recent() if item.block_id == number] or [ingest._encoded[number - 8]]
        recent = reader._encoded(seen)
        assert recent is not None
        scores = score_recent(recent, question, ingest.archive, reader.recall.settings)
        assert scores is not None
        assert scores.mean[0] == pytest.approx(recalled.scores[recalled.block_ids.index(number)], abs=near)
        assert scores.best[0] <= recalled.relevance + near


def test_nothing_stored_yet_is_read_from_the_recent_frames(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    reader = reader_of(tiny_backbone, frames[:5])
    reading = reader.read(QUESTION)
    assert reading.relevant and reading.recalled.block_ids == ()
    [evidence] = reading.evidence
    assert (evidence.start_us, evidence.end_us) == (frames[0].time_us, frames[4].time_us)
    assert evidence.source == "recent" and evidence.thumbnail.startswith(b"\xff\xd8")


def test_a_question_about_now_names_the_newest_frame(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    reader = reader_of(tiny_backbone, frames[:30], gate="auto")
    reading = reader.read("what is on the screen now ?")
    assert not reading.history and reading.recalled.tokens == 0
    [evidence] = reading.evidence
    assert (evidence.start_us, evidence.end_us, evidence.source) == (frames[29].time_us, frames[29].time_us, "recent")


@pytest.mark.parametrize("question", [QUESTION, "what was seen at 0:05 ?", "what was seen 5 seconds ago ?"])
def test_never_is_never(tiny_backbone: Backbone, frames: list[Frame], question: str) -> None:
    reader = reader_of(tiny_backbone, frames[:30], gate="never")
    reading = reader.read(question)
    assert reading.recalled.block_ids == () and reading.since_us is None
    assert len(reading.context) == len(reader.ingest.sink) + 6 * 4
    assert reader.read(question, since_us=0, until_us=5_000_000).recalled.block_ids == ()
    assert not reading.history


def test_a_range_asks_history_whatever_the_words_are(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    reading = reader_of(tiny_backbone, frames[:30], gate="auto").read("what is on the screen now ?", since_us=0)
    assert reading.history and not reading.gate.history and reading.recalled.block_ids


def test_a_range_leaves_everything_else_out(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    reader = reader_of(tiny_backbone, frames[:30], recipe="none")  # blocks 0 to 23, then 24 to 29 wait
    sink = len(reader.ingest.sink)

    def read(since: int | None, until: int | None) -> tuple[tuple[int, ...], int]:
        at = [None if frame is None else frames[frame].time_us for frame in (since, until)]
        reading = reader.read(QUESTION, *at)
        blocks = reading.recalled.block_ids
        for evidence in reading.evidence:
            assert at[0] is None or evidence.end_us >= at[0]
            assert at[1] is None or evidence.start_us < at[1]
        return blocks, (len(reading.context) - sink) // 4 - len(blocks)

    assert read(5, 9) == ((5, 6, 7, 8), 0)
    assert read(None, 3) == ((0, 1, 2), 0)
    assert read(22, 26) == ((22, 23), 2)
    assert read(26, None) == ((), 4)
    assert read(29, None) == ((), 1)


@pytest.mark.parametrize(("since_us", "until_us"), [(10**9, None), (None, -1), (10**9, 2 * 10**9)])
def test_a_range_in_which_nothing_was_seen(
    tiny_backbone: Backbone, frames: list[Frame], since_us: int | None, until_us: int | None
) -> None:
    reader = reader_of(tiny_backbone, frames[:30])
    reading = reader.read(QUESTION, since_us, until_us)
    assert not reading.relevant and reading.evidence == ()
    assert len(reading.context) == len(reader.ingest.sink)
    assert not reader.read("what was seen at 55:00 ?").relevant


def test_no_memory_tokens_means_no_memory(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    reader = reader_of(tiny_backbone, frames[:30], memory_tokens=0)
    reading = reader.read(QUESTION)
    assert reading.recalled.tokens == 0
    assert all(evidence.source == "recent" for evidence in reading.evidence)


def test_blocks_of_no_tokens_can_be_read(tiny_backbone: Backbone) -> None:
    still = np.full((56, 56, 3), 90, np.uint8)
    frames = [Frame(still, number * 1000) for number in range(40)]
    reader = reader_of(tiny_backbone, frames, prune_rate=0.05, recent_frames=1)
    reading = reader.read(QUESTION)
    assert len(reading.context) >= len(reader.ingest.sink) + 4
    assert reader.read(QUESTION, since_us=20_000, until_us=25_000).evidence == ()


def test_questions_between_keyframes_share_the_recent_pass(
    tiny_backbone: Backbone, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = reader_of(tiny_backbone, frames[:16], chunk_frames=8, recent_frames=4)
    calls: list[int] = []
    prefill_frames = reader.ingest.prefill_frames
    monkeypatch.setattr(reader.ingest, "prefill_frames", lambda seen: calls.append(len(seen)) or prefill_frames(seen))
    first = reader.read(QUESTION)
    again = reader.read(QUESTION)
    assert torch.equal(first.context.keys, again.context.keys) and first.evidence == again.evidence
    reader.read("what is seen now ?")
    assert calls == [8]
    reader.ingest.see(frames[16])
    assert reader.read(QUESTION).context.keys.shape != first.context.keys.shape
    assert calls == [8, 4]


def test_embeddings_alone_need_no_probe(
    tiny_backbone: Backbone, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = reader_of(tiny_backbone, frames[:16], fusion="embeddings")
    reader.read(QUESTION)
    monkeypatch.setattr(tiny_backbone, "prefill", lambda *_, **__: pytest.fail("a pass that nothing reads"))
    assert reader.read(QUESTION).recalled.block_ids


def test_too_long_or_wordless_questions_are_refused(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    reader = reader_of(tiny_backbone, frames[:3])
    with pytest.raises(SettingsError, match=r"the limit is 1024"):
        reader.read("ball " * 1100)
    with pytest.raises(SettingsError, match="no words of its own"):
        reader.read("<video><|im_end|>")


class Stored:
    """Blocks of one second each, as find_evidence reads an archive."""

    def span_of(self, block_id: int) -> tuple[int, int]:
        return block_id * 10, block_id * 10 + 10

    def thumbnail(self, block_id: int) -> bytes:
        return b"%d" % block_id


def evidence_of(scores: dict[int, float], relevance: float, chance: float = 3.0) -> tuple[Evidence, ...]:
    recalled = Recalled(tuple(scores), tuple(scores.values()), relevance, chance, None, len(scores))
    archive: Any = Stored()
    return find_evidence(archive, recalled, None, None, 1000)


def test_evidence_joins_hits_and_leaves_neighbours_out() -> None:
    none = -math.inf
    found = evidence_of({1: none, 2: 5.0, 3: 5.5, 4: none, 7: none, 8: 6.0, 9: 2.0, 20: 5.0}, relevance=7.0)
    assert [(item.start_us, item.end_us, item.score, item.thumbnail) for item in found] == [
        (80, 90, 6.0, b"8"),
        (20, 40, 5.5, b"3"),
        (200, 210, 5.0, b"20"),
    ]
    assert len(evidence_of({number * 2: 5.0 for number in range(9)}, relevance=7.0)) == 4


def test_evidence_is_empty_when_nothing_is_relevant() -> None:
    assert evidence_of({1: 2.9, 2: -math.inf}, relevance=2.9) == ()
    assert evidence_of({}, relevance=9.0) == ()  # what was not read is no evidence
    assert evidence_of({1: -math.inf}, relevance=9.0) == ()


@pytest.mark.parametrize(("likeness", "least", "found"), [(0.6, 0.5, 1), (0.4, 0.5, 0), (None, 0.5, 0), (0.6, None, 0)])
def test_a_calibrated_threshold_decides_in_place_of_chance(
    likeness: float | None, least: float | None, found: int
) -> None:
    archive: Any = Stored()
    recalled = Recalled((1,), (2.0,), 2.0, 3.0, likeness, 1)  # below chance
    assert len(find_evidence(archive, recalled, None, None, 1000, least)) == found
    above = replace(recalled, relevance=4.0)
    assert len(find_evidence(archive, above, None, None, 1000, least)) == (0 if likeness == 0.4 else 1)


@pytest.mark.parametrize("count", [5, 30])  # nothing is stored yet, or most of it is
@pytest.mark.parametrize("fusion", ["embeddings", "fused"])
def test_the_card_decides_what_is_relevant(
    tiny_backbone: Backbone, frames: list[Frame], monkeypatch: pytest.MonkeyPatch, fusion: str, count: int
) -> None:
    reader = reader_of(tiny_backbone, frames[:count], fusion=fusion)
    likeness = reader.read(QUESTION).likeness
    assert likeness is not None and -1.0 <= likeness <= 1.0
    for least, relevant in ((likeness - 0.01, True), (likeness + 0.01, False)):
        monkeypatch.setattr(tiny_backbone, "card", replace(tiny_backbone.card, relevance=least))
        reading = reader.read(QUESTION)
        assert reading.relevant is relevant and bool(reading.evidence) is relevant


def test_before_anything_is_stored_evidence_is_what_resembles_the_question(
    tiny_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (5, 56, 56, 3), dtype=np.uint8)
    frames = [Frame(picture, number * 1_000_000) for number, picture in enumerate(pictures)]
    alone = [reader_of(tiny_backbone, [frame]).read(QUESTION).likeness or 0.0 for frame in frames]
    second, best = sorted(alone)[-2:]
    assert best > second + 1e-4
    monkeypatch.setattr(tiny_backbone, "card", replace(tiny_backbone.card, relevance=(best + second) / 2))
    reading = reader_of(tiny_backbone, frames).read(QUESTION)
    assert reading.likeness == pytest.approx(best, abs=1e-5)
    assert [item.start_us for item in reading.evidence] == [frames[alone.index(best)].time_us]


def test_heads_alone_have_nothing_to_measure_by_before_anything_is_stored(
    tiny_backbone: Backbone, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_backbone, "card", replace(tiny_backbone.card, relevance=0.99))
    reading = reader_of(tiny_backbone, frames[:5], fusion="heads").read(QUESTION)
    assert reading.likeness is None and len(reading.evidence) == 1


def test_likeness_counts_recent_frames(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    """Recent frames are compared whole: with all of them recent, or stored whole, the best cosine is the same."""
    settings = {"recipe": "none", "window_frames": 0, "chunk_frames": 1, "fusion": "embeddings"}
    few = reader_of(tiny_backbone, frames[:9], recent_frames=1, **settings).read(QUESTION).likeness
    many = reader_of(tiny_backbone, frames[:9], recent_frames=9, **settings).read(QUESTION).likeness
    assert few is not None and many == pytest.approx(few, abs=2e-3)


def test_evidence_takes_the_best_below_zero_too() -> None:
    """The mean over sources may be negative where one source alone is sure."""
    assert [item.score for item in evidence_of({1: -1.0, 5: -0.5}, relevance=4.0)] == [-0.5]
