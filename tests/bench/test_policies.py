from itertools import pairwise
from typing import Any

import pytest
import torch

from onlooker.bench.own import Ours
from onlooker.bench.policies import Blind, FullCache, Oracle, Prompt, RecentFrames, UniformFrames, budget_of, shows
from onlooker.models.backbone import Sampling
from onlooker.settings import Settings
from onlooker.stream.session import Session
from onlooker.theatre.questions import Question

PRESENT = Question("what is on the screen now?", "nothing", "present", ((60_000_000, 63_500_000),), 63_500_000)


def logits(moment: Any, prompt: Prompt) -> Any:
    done = moment.backbone.prefill(prompt.features, prompt.positions, prompt.context, select=prompt.select, logits=True)
    return done.logits


def plain_logits(moment: Any, frames: list[Any], question: str) -> Any:
    """Run sink, frames and question in one causal pass without any context."""
    backbone = moment.backbone
    rows = [backbone.opening()]
    for frame in frames:
        rows.append(backbone.embed(backbone.tokenize(backbone.stamp(frame.time_us))))
        rows.append(backbone.encode([frame.image], [frame.time_us]).features)
    rows.append(backbone.question(question)[0])
    features = torch.cat(rows)
    return backbone.prefill(features, torch.arange(len(features))[:, None], logits=True).logits


def all_frames() -> list[Any]:
    from onlooker.theatre.show import Show

    return list(Show(5, 64.0, size=64).frames(2.0))


def test_blind_sees_no_frame(moment: Any, questions: Any) -> None:
    prompt = Blind().read(moment, questions[0])
    assert prompt.tokens == len(moment.ingest.sink)
    assert prompt.shown_us == ((),)
    assert torch.allclose(logits(moment, prompt), plain_logits(moment, [], questions[0].text), atol=1e-4)
    assert Blind().memory_bytes(moment) == 0


def test_recent_frames_are_the_last_four_as_they_came(moment: Any, questions: Any) -> None:
    frames = all_frames()[-4:]
    prompt = RecentFrames().read(moment, questions[0])
    assert prompt.shown_us == (tuple(frame.time_us for frame in frames),)
    assert torch.allclose(logits(moment, prompt), plain_logits(moment, frames, questions[0].text), atol=1e-3)


def test_uniform_frames_are_spread_over_the_stream_and_read_with_full_attention(moment: Any, questions: Any) -> None:
    prompt = UniformFrames().read(moment, questions[0])
    shown = prompt.shown_us[0]
    assert len(shown) == 64
    assert max(b - a for a, b in pairwise(shown)) <= 1_000_000
    frames = [frame for frame in all_frames() if frame.time_us in shown]
    assert torch.allclose(logits(moment, prompt), plain_logits(moment, frames, questions[0].text), atol=1e-3)


def test_full_equals_a_forward_over_everything(exact_moment: Any, questions: Any) -> None:
    prompt = FullCache().read(exact_moment, questions[0])
    assert prompt is not None
    frames = all_frames()
    assert prompt.shown_us == (tuple(frame.time_us for frame in frames),)
    expected = plain_logits(exact_moment, frames, questions[0].text)
    assert torch.allclose(logits(exact_moment, prompt), expected, atol=1e-3)


def test_full_is_left_out_where_it_does_not_fit(moment: Any, questions: Any) -> None:
    assert FullCache(limit_tokens=20).read(moment, questions[0]) is None


def test_the_oracle_reads_every_needed_span_within_the_budget(moment: Any, questions: Any) -> None:
    needing = [question for question in questions if question.spans_us]
    assert len(needing) > 5 and any(question.kind == "order" for question in needing)
    for question in needing:
        prompt = Oracle().read(moment, question)
        assert prompt.finds(question) == 1.0
        recalled = prompt.tokens - len(moment.ingest.sink) - len(moment.recent)
        assert recalled <= budget_of(moment)


def test_the_oracle_thins_a_span_that_is_longer_than_the_budget(make_moment: Any) -> None:
    moment, questions = make_moment(keyframes="all", recipe="none", memory_tokens=30)
    question = next(question for question in questions if question.spans_us)
    prompt = Oracle().read(moment, question)
    assert 0 < prompt.tokens - len(moment.ingest.sink) - len(moment.recent) <= 30
    assert prompt.finds(question) == 1.0


def test_a_span_is_found_only_by_a_frame_from_inside_it() -> None:
    span = (10, 20)
    assert [shows(time, span, 99) for time in (9, 10, 19, 20)] == [False, True, True, False]
    assert shows(20, (20, 20), 20) and shows(20, (20, 20), 99) is False
    two = Question("x", "y", "order", ((10, 20), (30, 40)), 99)
    rows = torch.zeros(1, 1)
    prompt = Prompt(rows, rows, None, None, 0.0, ((12, 35), (12,), (35,), ()))
    assert prompt.finds(two) == 0.25


def test_ours_answers_as_a_session_does(backbone: Any, moment: Any, questions: Any) -> None:
    session = Session(backbone, Settings())
    for frame in all_frames():
        session.see(frame)
    policy = Ours(heads=backbone.card.retrieval_heads)
    for question in questions[:4]:
        answer = session.ask(question.text, sampling=Sampling(max_tokens=6))
        prompt = policy.read(moment, question)
        assert prompt.answer(backbone, 6) == answer.text
        assert prompt.tokens == answer.usage["context_tokens"]


def test_the_gate_rows_differ_in_history_alone(backbone: Any, moment: Any, questions: Any) -> None:
    heads = backbone.card.retrieval_heads
    never = Ours("never", heads, gate="never").read(moment, questions[0])
    always = Ours("always", heads, gate="always").read(moment, PRESENT)
    auto = Ours("ours", heads).read(moment, PRESENT)
    recent = {item.time_us for item in moment.seen}
    assert set(never.shown_us[0]) == recent == set(auto.shown_us[0])
    assert set(always.shown_us[0]) > recent
    assert moment.ingest.settings.gate == "auto"


@pytest.mark.parametrize("fusion", ["heads", "embeddings"])
def test_memory_counts_only_the_traces_that_are_read(backbone: Any, moment: Any, fusion: Any) -> None:
    heads = backbone.card.retrieval_heads
    part = Ours("part", heads, fusion).memory_bytes(moment)
    assert part < Ours("ours", heads).memory_bytes(moment)
    assert part > moment.ingest.archive.stats().body_bytes  # the coded blocks count in any case
