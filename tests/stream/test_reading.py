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
from transformers import DynamicCache, LlavaOnevisionForConditionalGeneration
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from onlooker.answer import Evidence
from onlooker.bench.theatre import Show
from onlooker.errors import SettingsError
from onlooker.frame import Frame
from onlooker.memory.recall import Recall, Recalled, RecallSettings
from onlooker.memory.selection import SelectionSettings
from onlooker.models.backbone import Backbone, HeadId, Sampling
from onlooker.models.loading import load_backbone
from onlooker.settings import Settings
from onlooker.stream.evidence import Question, find_evidence, score_recent
from onlooker.stream.ingest import Ingest
from onlooker.stream.reading import Reader, Reading

HEADS = (HeadId(0, 0), HeadId(1, 1))
QUESTION = "where was the red ball ?"


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(Show(3, 60, size=56).frames(2.0))


@pytest.fixture(scope="module", params=["none", "clock"])
def model(
    request: pytest.FixtureRequest, make_tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Backbone, Any]:
    """A backbone, without and with time stamps, and transformers' own model from the same folder."""
    folder = make_tiny_model(tmp_path_factory.mktemp("model"), card={"time_stamps": request.param})
    own = LlavaOnevisionForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return load_backbone(str(folder), device="cpu"), own.eval()


def reader_of(backbone: Backbone, frames: Iterable[Frame], **changes: Any) -> Reader:
    ingest = Ingest(backbone, Settings(**{"keyframes": "all", "gate": "always", **changes}), HEADS)
    for frame in frames:
        ingest.see(frame)
    reader = Reader(ingest, HEADS)
    if ingest.settings.memory_tokens is None:
        reader.budget = 100_000
    everything = SelectionSettings(mass=1.0, least_blocks=100_000)
    reader.recall = Recall(ingest.archive, RecallSettings(fusion=ingest.settings.fusion, selection=everything))
    return reader


def stamped(backbone: Backbone, frame: Frame) -> Tensor:
    """A whole frame's rows: its time stamp's and its visual tokens'."""
    stamp = backbone.stamp(frame.time_us)
    rows = backbone.encode([frame.image], [frame.time_us]).features
    return torch.cat((backbone.embed(backbone.tokenize(stamp)), rows)) if stamp else rows


def answered(backbone: Backbone, reading: Reading) -> tuple[Tensor, list[int]]:
    logits = backbone.prefill(reading.features, reading.positions, reading.context, logits=True).logits
    decoding = backbone.generate(reading.features, reading.positions, reading.context, Sampling(12))
    list(decoding)
    assert logits is not None
    return logits, decoding.token_ids


def greedy(own: Any, rows: Tensor, position: int, cache: DynamicCache) -> tuple[Tensor, list[int]]:
    """transformers' forward of the question over a cache, then greedy decoding, step by step."""
    ids: list[int] = []
    first = None
    while True:
        at = torch.arange(position, position + len(rows))[None]
        with torch.no_grad():
            out = own(inputs_embeds=rows[None], position_ids=at, past_key_values=cache, use_cache=True)
        logits, cache, position = out.logits[0, -1], out.past_key_values, position + len(rows)
        first = logits if first is None else first
        token = int(logits.argmax())
        if token == 3 or len(ids) == 12:
            return first, ids
        ids.append(token)
        rows = own.get_input_embeddings()(torch.tensor([token])).detach()


def test_everything_kept_equals_one_forward(model: tuple[Backbone, Any], frames: list[Frame]) -> None:
    """With a window that never ends and all blocks read, the memory is one causal pass with a 4-D mask."""
    backbone, own = model
    reader = reader_of(backbone, frames[:13], recipe="none", chunk_frames=4, window_frames=64, recent_frames=1)
    reading = reader.read(QUESTION, until_us=frames[12].time_us)  # the waiting frame is left out
    assert reading.recalled.block_ids == tuple(range(12))
    parts = [backbone.opening(), *(stamped(backbone, frame) for frame in frames[:12]), reading.features]
    rows = torch.cat(parts)
    assert len(reading.context) + len(reading.features) == len(rows)
    mask = torch.full((len(rows), len(rows)), torch.finfo(torch.float32).min).triu(1)
    with torch.no_grad():
        out = own(inputs_embeds=rows[None], attention_mask=mask[None, None], position_ids=torch.arange(len(rows))[None])
    logits, ids = answered(backbone, reading)
    torch.testing.assert_close(logits, out.logits[0, -1], atol=1e-4, rtol=0)
    assert ids == greedy(own, rows, 0, DynamicCache())[1] and ids


def test_window_and_clean_recent_frames_equal_own_forward(model: tuple[Backbone, Any], frames: list[Frame]) -> None:
    """Chunks over [sink | last four frames], the recent frames over the sink alone, all read in one context."""
    backbone, own = model
    reader = reader_of(backbone, frames[:14], recipe="none", chunk_frames=3, window_frames=4, recent_frames=1)
    reading = reader.read(QUESTION)
    assert reading.recalled.block_ids == tuple(range(12))

    layout = backbone.layout
    raw: list[list[Tensor]] = [[] for _ in range(layout.layers)]
    for number, layer in enumerate(own.model.language_model.layers):
        layer.self_attn.k_proj.register_forward_hook(lambda _m, _i, out, n=number: raw[n].append(out.detach()))
    Part = tuple[list[Tensor], list[Tensor]]  # raw keys and values of each layer, [1, kv_heads, n, head_dim]

    def laid(parts: list[Part]) -> tuple[DynamicCache, int]:
        cache, length = DynamicCache(), sum(part[0][0].shape[2] for part in parts)
        cos, sin = own.model.language_model.rotary_emb(torch.zeros(1), torch.arange(length)[None])
        for layer in range(layout.layers if length else 0):
            keys = torch.cat([part[0][layer] for part in parts], dim=2)
            keys = apply_rotary_pos_emb(keys, keys, cos, sin)[1]
            cache.update(keys, torch.cat([part[1][layer] for part in parts], dim=2), layer)
        return cache, length

    def run(rows: Tensor, before: list[Part]) -> Part:
        cache, length = laid(before)
        for layer in raw:
            layer.clear()
        at = torch.arange(length, length + len(rows))[None]
        with torch.no_grad():
            done = own(inputs_embeds=rows[None], position_ids=at, past_key_values=cache, use_cache=True).past_key_values
        keys = [layer[0].view(1, -1, layout.kv_heads, layout.head_dim).transpose(1, 2) for layer in raw]
        return keys, [layer.values[:, :, length:] for layer in done.layers]

    sink = run(backbone.opening(), [])
    blocks: list[Part] = []
    for start in range(0, 12, 3):
        rows = [stamped(backbone, frame) for frame in frames[start : start + 3]]
        keys, values = run(torch.cat(rows), [sink, *blocks[-4:]])
        lengths = [len(row) for row in rows]
        split = [[torch.split(layer, lengths, dim=2) for layer in tensors] for tensors in (keys, values)]
        blocks += [([k[n] for k in split[0]], [v[n] for v in split[1]]) for n in range(3)]
    recent = run(torch.cat([stamped(backbone, frame) for frame in frames[12:14]]), [sink])
    cache, length = laid([sink, *blocks, recent])

    assert reading.context.next_position == length == len(reading.context)
    for layer, held in enumerate(cache.layers):
        torch.testing.assert_close(reading.context.keys[layer], held.keys[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(reading.context.values[layer], held.values[0], atol=1e-4, rtol=0)
    own_logits, own_ids = greedy(own, reading.features, length, cache)
    logits, ids = answered(backbone, reading)
    torch.testing.assert_close(logits, own_logits, atol=1e-4, rtol=0)
    assert ids == own_ids and ids


@pytest.mark.parametrize("fusion", ["heads", "embeddings", "fused"])
def test_recent_frames_are_scored_as_recall_scores_blocks(
    tiny_backbone: Backbone, frames: list[Frame], fusion: str
) -> None:
    """Stored over the sink alone and unpruned, the same frames get the same scores either way (up to fp16)."""
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
        assert scores.mean[0] == pytest.approx(recalled.scores[recalled.block_ids.index(number)], abs=0.02)
        assert scores.best[0] <= recalled.relevance + 0.02


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

    def get(self, block_id: int) -> Any:
        class Block:
            span_us = (block_id * 10, block_id * 10 + 10)

        return Block

    def thumbnail(self, block_id: int) -> bytes:
        return b"%d" % block_id


def evidence_of(scores: dict[int, float], relevance: float, chance: float = 3.0) -> tuple[Evidence, ...]:
    recalled = Recalled(tuple(scores), tuple(scores.values()), (), relevance, chance, None, len(scores))
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
    recalled = Recalled((1,), (2.0,), (), 2.0, 3.0, likeness, 1)  # below chance
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
