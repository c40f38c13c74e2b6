from typing import Any

import pytest
import torch

from onlooker.bench.policies import FullCache, budget_of
from onlooker.bench.rivals import (
    LiveVLM,
    ReKV,
    Retrieval,
    best_that_fit,
    mean_key_scores,
    pool_of,
    retrieved_prompt,
)


def logits(moment: Any, prompt: Any) -> Any:
    done = moment.backbone.prefill(prompt.features, prompt.positions, prompt.context, select=prompt.select, logits=True)
    return done.logits


@pytest.mark.parametrize("page", [None, 16])
def test_a_unit_is_the_mean_of_its_raw_keys(moment: Any, page: int | None) -> None:
    blocks = moment.blocks[:9]
    pool = pool_of(blocks, moment.ingest.sink, page)
    tokens = torch.cat([block.keys for block in blocks], dim=2)
    sizes = [len(block) for block in blocks] if page is None else [16] * (tokens.shape[2] // 16)
    sizes += [tokens.shape[2] - sum(sizes)] if sum(sizes) < tokens.shape[2] else []
    start = 0
    for unit, length in enumerate(sizes):
        expected = tokens[:, :, start : start + length].mean(dim=2)
        assert torch.allclose(pool.means()[:, unit], expected, atol=1e-5)
        start += length
    assert len(pool) == len(sizes)


def test_a_page_knows_the_frames_it_has_tokens_of(moment: Any) -> None:
    blocks = moment.blocks[:9]
    pool = pool_of(blocks, moment.ingest.sink, 16)
    owner = [block.span_us[0] for block in blocks for _ in range(len(block))]
    for page, times in enumerate(pool.times_us):
        assert set(times) == set(owner[page * 16 : page * 16 + 16])


def test_scores_are_the_concatenated_inner_product_over_query_heads() -> None:
    generator = torch.Generator().manual_seed(3)
    query = torch.randn(4, 8, generator=generator)
    means = torch.randn(5, 2, 8, generator=generator)
    naive = [sum(float(query[head] @ means[unit, head // 2]) for head in range(4)) for unit in range(5)]
    assert torch.allclose(mean_key_scores(query, means), torch.tensor(naive), atol=1e-5)


def test_units_are_taken_from_the_best_one_while_they_fit() -> None:
    scores, sizes = torch.tensor([0.1, 0.9, 0.5, 0.8]), torch.tensor([2, 3, 4, 2])
    assert best_that_fit(scores, sizes, 7) == [0, 1, 3]
    assert best_that_fit(scores, sizes, 11) == [0, 1, 2, 3]
    assert best_that_fit(scores, sizes, 1) == []
    assert best_that_fit(torch.empty(0), torch.empty(0, dtype=torch.int64), 9) == []


def test_rekv_chooses_by_the_mean_query_of_the_questions_words(moment: Any, questions: Any) -> None:
    pool = pool_of(moment.blocks, moment.ingest.sink)
    means = pool.means()
    retrieval = Retrieval(moment, pool, means, 40, [])
    retrieved_prompt(moment, questions[0], retrieval)
    rows, words = moment.backbone.question(questions[0].text)
    # The first layer's queries depend on nothing that was retrieved.
    from onlooker.models.backbone import HeadId

    heads = [HeadId(0, head) for head in range(4)]
    done = moment.backbone.prefill(rows, moment.positions(len(rows), 0), heads=heads)
    query = torch.stack([done.queries[head][words].mean(dim=0) for head in heads])
    expected = best_that_fit(mean_key_scores(query, means[0]), pool.bounds.diff(), 40)
    assert retrieval.chosen[0] == expected
    assert len({tuple(units) for units in retrieval.chosen.values()}) > 1  # every layer has its own


def test_rekv_with_room_for_everything_is_the_full_cache(moment: Any, questions: Any) -> None:
    pool = pool_of(moment.blocks, moment.ingest.sink)
    everything = sum(len(block) for block in moment.blocks)
    prompt = retrieved_prompt(moment, questions[0], Retrieval(moment, pool, pool.means(), everything, []))
    full = FullCache().read(moment, questions[0])
    assert full is not None
    assert torch.allclose(logits(moment, prompt), logits(moment, full), atol=1e-4)
    assert prompt.answer(moment.backbone, 6) == full.answer(moment.backbone, 6)
    assert prompt.shown_us == full.shown_us * 3


def test_pages_with_room_for_everything_and_the_window_are_the_full_cache(moment: Any, questions: Any) -> None:
    window = moment.blocks[-5:]
    pool = pool_of(moment.blocks[:-5], moment.ingest.sink, 16)
    budget = sum(len(block) for block in moment.blocks[:-5])
    prompt = retrieved_prompt(moment, questions[0], Retrieval(moment, pool, pool.means(), budget, window))
    full = FullCache().read(moment, questions[0])
    assert full is not None
    assert torch.allclose(logits(moment, prompt), logits(moment, full), atol=1e-4)


def test_both_stay_in_the_common_budget(moment: Any, questions: Any) -> None:
    sink, budget = len(moment.ingest.sink), budget_of(moment)
    window = [*moment.ingest.window.blocks, *moment.waiting]
    for question in questions[:5]:
        rekv = ReKV().read(moment, question)
        assert sink < rekv.tokens <= sink + budget + len(moment.recent)
        livevlm = LiveVLM().read(moment, question)
        assert sink < livevlm.tokens <= sink + budget + sum(map(len, window))
        for times in livevlm.shown_us:
            assert set(times) >= {block.span_us[0] for block in window}


def test_pages_work_before_anything_has_left_the_window(backbone: Any) -> None:
    from onlooker.bench.moment import Moment
    from onlooker.settings import Settings
    from onlooker.stream.ingest import Ingest
    from onlooker.theatre.questions import Question
    from onlooker.theatre.show import Show

    ingest = Ingest(backbone, Settings(), ())
    frames = list(Show(5, 64.0, size=64).frames(2.0))[:3]
    for frame in frames:
        ingest.see(frame)
    moment = Moment(ingest, frames, lambda times: [])
    question = Question("what is there now?", "nothing", "present", ((0, 1_000_000),), 1_000_000)
    prompt = LiveVLM().read(moment, question)
    assert prompt.finds(question) == 1.0
    assert isinstance(prompt.answer(backbone, 3), str)
