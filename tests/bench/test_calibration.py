import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from onlooker.bench import calibration
from onlooker.bench.calibration import Case, calibrate, markdown_report, text_report, write_card
from onlooker.bench.head_scores import HeadScorer, reciprocal_rank, span_recall
from onlooker.bench.questions import Question
from onlooker.bench.recall_bench import RecallPlan
from onlooker.errors import ModelError, SettingsError
from onlooker.models.backbone import HeadId
from onlooker.models.card import ModelCard

QUESTION = Question("x", "y", "place", ((0, 1),), 9)


def test_span_recall_and_rank() -> None:
    scores = np.array([[5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    spans = np.array([[True, False, False, False, False], [False, False, False, True, True]])
    assert span_recall(scores, spans, 1).tolist() == [0.5, 0.5]
    assert span_recall(scores, spans, 4).tolist() == [1.0, 0.5]
    assert reciprocal_rank(scores, spans).tolist() == [(1 + 1 / 4) / 2, (1 / 5 + 1) / 2]


def test_scores_are_those_of_recall(moment: Any, questions: Any) -> None:
    scorer = HeadScorer(moment)
    case = next(case for case in map(scorer.case, questions) if case is not None)
    rows, _ = moment.backbone.question(case.question.text)
    near = moment.assemble([moment.ingest.sink, moment.recent])
    heads = moment.backbone.card.retrieval_heads
    queries = moment.backbone.prefill(rows, moment.positions(len(rows), near.next_position), near, heads=heads).queries
    for head in heads:
        traces = moment.ingest.archive.traces
        trace = traces.keys[traces.key_head(head)]
        asked = queries[head].numpy()
        hits = trace.index.search(asked, 100_000)
        z = trace.moments.standardise(hits.scores, asked).max(axis=0)
        by_id = dict(zip(hits.block_ids.tolist(), z.tolist(), strict=True))
        expected = [by_id[block.block_id] for block in scorer.blocks]
        assert np.allclose(case.scores[scorer.heads.index(head)], expected, atol=0.02)  # the index holds fp16


def test_what_is_read_anyway_is_no_candidate(moment: Any) -> None:
    recent = {item.block_id for item in moment.seen}
    scorer = HeadScorer(moment)
    assert recent.isdisjoint(block.block_id for block in scorer.blocks)
    last = moment.seen[-1].time_us
    assert scorer.case(Question("what is it?", "y", "place", ((last, last + 1),), last)) is None
    assert scorer.case(Question("what is it?", "no", "presence", (), last)) is None


def cases(count: int, seed: int) -> list[Case]:
    """Make cases of 6 heads: head 2 finds even questions, head 4 odd ones, the others nothing in particular."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        spans = np.zeros((1, 50), dtype=bool)
        spans[0, rng.integers(50)] = True
        scores = rng.normal(size=(6, 50)).astype(np.float32)
        scores[2 if number % 2 else 4] += 8.0 * spans[0]
        made.append(Case(QUESTION, scores, rng.normal(size=(3, 50)).astype(np.float32), spans))
    return made


def test_heads_are_chosen_for_what_they_find_together() -> None:
    heads = tuple(HeadId(0, head) for head in range(6))
    steps = calibration._choose(heads, cases(60, 0), cases(60, 1), cases(60, 2))
    assert {steps[0].head.head, steps[1].head.head} == {2, 4}
    assert steps[0].judging.recall < 0.75 and steps[1].judging.recall > 0.95
    assert calibration._enough(steps) == 2
    assert len(steps) == 6
    low, high = steps[0].judging.low, steps[0].judging.high
    assert low < steps[0].judging.recall < high


def test_mean_keys_are_measured_beside() -> None:
    names = [name for name, found in calibration._baselines(cases(40, 0)) if found.recall < 0.4]
    assert len(names) == 2 and all("mean keys" in name for name in names)


def test_heads_are_written_where_the_card_reads_them(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        write_card(tmp_path, [HeadId(1, 2)])
    (tmp_path / "config.json").write_text("{}")
    write_card(tmp_path, [HeadId(1, 2), HeadId(0, 3)])
    assert ModelCard.read(tmp_path, 3, 4).retrieval_heads == (HeadId(1, 2), HeadId(0, 3))
    (tmp_path / "onlooker.json").write_text(json.dumps({"time_stamps": "clock", "retrieval_heads": [[0, 0]]}))
    write_card(tmp_path, [HeadId(2, 1)])
    card = ModelCard.read(tmp_path, 3, 4)
    assert (card.time_stamps, card.retrieval_heads, card.relevance) == ("clock", (HeadId(2, 1),), None)
    write_card(tmp_path, [HeadId(2, 1)], 0.25)
    assert ModelCard.read(tmp_path, 3, 4).relevance == 0.25


def test_a_card_that_is_broken_is_said_before_calibrating(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for broken, why in (("{", "cannot read"), ("[]", "must hold a JSON object")):
        (tmp_path / "onlooker.json").write_text(broken)
        with pytest.raises(ModelError, match=f"{why}.*mend it"):
            calibration.card_fields(tmp_path)


def test_one_stream_cannot_pick_and_judge(backbone: Any) -> None:
    with pytest.raises(SettingsError, match="2 streams"):
        calibrate(backbone, RecallPlan(streams=1))


def test_a_calibration_is_reported_and_comes_out_the_same_again(backbone: Any) -> None:
    plan = RecallPlan(streams=2, minutes=1.0)
    result = calibrate(backbone, plan)
    assert result == calibrate(backbone, plan)
    assert 1 <= len(result.chosen) <= 8
    assert len(result.single) == backbone.layout.layers * backbone.layout.query_heads
    assert "Chosen: " in text_report(result)
    page = markdown_report(result, "onlooker bench calibrate")
    assert result.relevance is not None and f"{result.relevance.threshold:g}, chosen" in page
    assert page.count("| --- |") >= 4 and page.startswith("# Retrieval heads")


def test_the_command_writes_report_and_heads(stamped_folder: Path, tmp_path: Path) -> None:
    from onlooker.cli.main import app

    (tmp_path / "config.json").write_text("{}")
    words = ["bench", "calibrate", "--model", str(stamped_folder), "--streams", "2", "--minutes", "1"]
    words += ["--report", str(tmp_path / "heads.md"), "--write", str(tmp_path)]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "Chosen: " in done.stdout
    card = ModelCard.read(tmp_path, 3, 4)
    assert card.retrieval_heads and card.relevance is not None
    assert "--minutes 1 " in (tmp_path / "heads.md").read_text()
    assert torch.is_grad_enabled()
