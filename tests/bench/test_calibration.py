import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from onlooker.bench import calibration
from onlooker.bench.calibration import Calibration, Case, by_chance, by_luck, calibrate, stored, write_card
from onlooker.bench.calibration_report import markdown_report, text_report, to_dict
from onlooker.bench.calibration_streams import clip_material, theatre_material
from onlooker.bench.clips import read_clip
from onlooker.bench.head_scores import HeadScorer, reciprocal_rank, span_recall
from onlooker.bench.recall_bench import RecallPlan
from onlooker.bench.record import record
from onlooker.bench.relevance import LEAST_QUESTIONS
from onlooker.errors import ModelError, OnlookerError, SettingsError
from onlooker.models.backbone import HeadId
from onlooker.models.calibrations import Calibrations, default_folder
from onlooker.models.card import ModelCard
from onlooker.models.loading import load_backbone
from onlooker.theatre.questions import Question
from onlooker.theatre.show import Show

QUESTION = Question("x", "y", "place", ((0, 1),), 9)


def test_span_recall_and_rank() -> None:
    scores = np.array([[5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    spans = np.array([[True, False, False, False, False], [False, False, False, True, True]])
    assert span_recall(scores, spans, 1).tolist() == [0.5, 0.5]
    assert span_recall(scores, spans, 4).tolist() == [1.0, 0.5]
    assert reciprocal_rank(scores, spans).tolist() == [(1 + 1 / 4) / 2, (1 / 5 + 1) / 2]


def test_scores_are_those_of_recall(make_moment: Any, questions: Any) -> None:
    moment, _ = make_moment(codec="raw")
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
        assert np.allclose(case.scores[scorer.heads.index(head)], expected, atol=0.02)  # the index holds 8 bits


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
        calibrate(backbone, theatre_material(RecallPlan(streams=1)))


def test_chance_is_what_random_blocks_find() -> None:
    spans = np.zeros((2, 20), dtype=bool)
    spans[0, :3] = spans[1, 7] = True
    rng = np.random.default_rng(0)
    found = [spans[:, rng.permutation(20)[:4]].any(axis=1).mean() for _ in range(20_000)]
    assert abs(np.mean(found) - by_chance(spans, 4)) < 0.01
    assert by_chance(spans[:, :3], 4) == 1.0


def test_luck_is_counted() -> None:
    rng = np.random.default_rng(1)
    draws = rng.binomial(12, 0.3, 200_000)
    for found in (0.0, 5 / 12, 0.6, 1.0):
        assert by_luck(found, 12, 0.3) == pytest.approx((draws >= np.floor(found * 12)).mean(), abs=0.004)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 20])
def test_noise_is_hardly_ever_called_sure(count: int) -> None:
    """Hundreds of heads that know nothing: the best of them look good where they were picked, however few questions."""
    heads = tuple(HeadId(0, head) for head in range(200))

    def noise(seed: int) -> list[Case]:
        rng = np.random.default_rng(seed)
        return [
            Case(QUESTION, rng.normal(size=(200, 20)).astype(np.float32), rng.normal(size=(1, 20)), np.eye(20)[[n]] > 0)
            for n in rng.integers(20, size=count)
        ]

    sure = 0
    for seed in range(30):
        steps = calibration._choose(heads, noise(2 * seed), noise(2 * seed + 1), [])
        chosen = tuple(step.head for step in steps[: calibration._enough(steps)])
        result = Calibration("m", "s", 1, 1, (count, count, 0), 40, (), (), steps, chosen, 0.2)
        sure += result.sure
    assert sure <= 2
    # And what is there is found: heads that know, with enough questions.
    if count == 20:
        steps = calibration._choose(heads[:6], cases(40, 0), cases(40, 1), [])
        chosen = tuple(step.head for step in steps[: calibration._enough(steps)])
        assert Calibration("m", "s", 1, 1, (40, 40, 0), 40, (), (), steps, chosen, 0.08).sure


PLAN = RecallPlan(streams=2, minutes=1.5)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_a_calibration_is_reported_and_comes_out_the_same_again(
    make_tiny_model: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    """Grouped queries, key norms, three position axes: any head of any family is measured."""
    backbone = load_backbone(str(make_tiny_model(tmp_path, family=family)), device="cpu")
    result = calibrate(backbone, theatre_material(PLAN))
    assert result == calibrate(backbone, theatre_material(PLAN))
    assert 1 <= len(result.chosen) <= 8
    assert len(result.single) == backbone.layout.layers * backbone.layout.query_heads
    assert "Chosen (layer:head): " in text_report(result)
    page = markdown_report(result, "onlooker memory calibrate")
    assert result.relevance is not None
    assert (f"{result.relevance.threshold:g}, chosen" in page) == result.sure
    assert page.count("| --- |") >= 4 and page.startswith("# Retrieval heads")
    fields = json.loads(json.dumps(to_dict(result)))
    assert len(fields["single"]) == len(result.single) and 0 < fields["chance"] < 1
    kept = stored(result, backbone)
    assert (kept.weights, kept.fingerprint) == (backbone.weights, backbone.layout.fingerprint)
    assert kept.heads == result.chosen and kept.recall[0] <= kept.recall[1] <= kept.recall[2]


def test_clips_of_ones_own_are_watched(backbone: Any, tmp_path: Path) -> None:
    paths = [record(Show(seed, 64.0, 64), tmp_path / f"{seed}.mp4", 2.0).video.path for seed in (1, 2)]
    result = calibrate(backbone, clip_material(paths, 2.0))
    assert "2 clips at 2 frames/s: 1.mp4, 2.mp4" in text_report(result)
    assert (result.pickers, result.judges) == (1, 1) and result.questions[2] == 0
    assert result.steps[0].reworded is None
    # Entries without times are about what never was there; relevance takes enough of both kinds.
    clips = [read_clip(path) for path in paths]
    assert all(0 < len(clip.absent) < LEAST_QUESTIONS for clip in clips) and result.relevance is None
    assert ("Relevance was not measured" in text_report(result)) == result.sure


ENTRY = {"question": "where was it?", "start_s": 1, "end_s": 2.5}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (None, "no questions beside it"),
        ("{", "cannot read"),
        ("{}", "must be a JSON list"),
        ("[]", "must be a JSON list"),
        ([{}], 'entry 1 has no "question"'),
        ([ENTRY, {**ENTRY, "question": " "}], 'entry 2 has no "question"'),
        ([{**ENTRY, "start_s": "1:20"}], "a time of '1:20'"),
        ([{**ENTRY, "end_s": None}], "a time of None"),
        ([{**ENTRY, "end_s": float("nan")}], "a time of nan"),
        ([{**ENTRY, "start_s": -1}], "a time of -1"),
        ([{**ENTRY, "end_s": 1}], "ends at 1 s, not after its start at 1 s"),
        ([{**ENTRY, "start_s": 0, "end_s": 1e-9}], "ends at 1e-09 s"),
        ([{**ENTRY, "end_s": 10**400}], "a time of 1000"),
        ([{**ENTRY, "end_s": 1e300}], r"a time of 1e\+300"),
        ([{**ENTRY, "end_s": True}], "a time of True"),
        ("[" * 100_000, "cannot read"),
        ([{"question": "was there a dog?", "start_s": None, "end_s": None}], "no question with a start_s"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path: Path, entries: object, message: str) -> None:
    clip = tmp_path / "walk.mp4"
    clip.touch()
    if entries is not None:
        clip.with_suffix(".json").write_text(entries if isinstance(entries, str) else json.dumps(entries))
    with pytest.raises(SettingsError, match=message):
        clip_material([clip], 2.0)


def test_a_clip_given_twice_would_judge_what_it_picked(tmp_path: Path) -> None:
    clip = tmp_path / "walk.mp4"
    clip.touch()
    clip.with_suffix(".json").write_text(json.dumps([ENTRY]))
    with pytest.raises(SettingsError, match="given twice"):
        clip_material([clip, tmp_path / ".." / tmp_path.name / "walk.mp4"], 2.0)


def test_a_span_between_two_keyframes_is_what_stands_for_it(moment: Any) -> None:
    scorer = HeadScorer(moment)
    first, second = scorer.blocks[3].span_us
    inside = Question("where was it?", "", "place", ((first + 1, second - 1),), second)
    case = scorer.case(inside)
    assert case is not None and case.spans.sum() == 1 and case.spans[0, 3]


def test_labels_are_read(tmp_path: Path) -> None:
    clip = tmp_path / "walk.mp4"
    with pytest.raises(SettingsError, match="there is no video"):
        read_clip(clip)
    clip.touch()
    never = {"question": "was there a dog?", "start_s": None, "end_s": None, "answer": "no"}
    clip.with_suffix(".json").write_text(json.dumps([ENTRY, never]))
    read = read_clip(clip)
    assert [question.spans_us for question in read.shown] == [((1_000_000, 2_500_000),)]
    assert [question.text for question in read.absent] == ["was there a dog?"]


def test_the_command_keeps_the_choice_and_later_loads_use_it(
    make_tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onlooker.cli.main import app

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(calibration, "by_luck", lambda *_: 0.0)  # random weights may find anything or nothing
    folder = make_tiny_model(tmp_path / "model")
    before = load_backbone(str(folder), device="cpu")
    assert before.card.retrieval_heads == ()
    words = ["memory", "calibrate", "--model", str(folder), "--streams", "2", "--minutes", "1.5"]
    words += ["--report", str(tmp_path / "heads.md"), "--json", str(tmp_path / "heads.json")]
    assert "Nothing was calibrated here yet" in CliRunner().invoke(app, ["memory", "calibrations"]).stdout
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "Chosen (layer:head): " in done.stdout
    assert "codec auto was not fitted" in done.stderr  # so little is no reason to lose the heads
    assert "--minutes 1.5 " in (tmp_path / "heads.md").read_text()
    fields = json.loads((tmp_path / "heads.json").read_text())
    kept = Calibrations(default_folder()).find(before.weights)
    assert kept is not None
    assert [[head.layer, head.head] for head in kept.heads] == fields["retrieval_heads"]
    after = load_backbone(str(folder), device="cpu")
    assert (after.card.retrieval_heads, after.card.relevance) == (kept.heads, kept.relevance)
    assert after.layout.fingerprint == before.layout.fingerprint
    listed = CliRunner().invoke(app, ["memory", "calibrations"]).stdout
    assert str(folder) in listed and before.weights in listed
    # Into a model folder, when that is asked for.
    done = CliRunner().invoke(app, [*words, "--write", str(folder)], catch_exceptions=False)
    assert ModelCard.read(folder, 3, 4).retrieval_heads == kept.heads
    assert torch.is_grad_enabled()


def test_the_command_fits_the_codec_and_later_loads_use_it(
    make_tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onlooker.cli.main import app
    from onlooker.settings import Settings
    from onlooker.stream.session import Session

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(calibration, "by_luck", lambda *_: 0.02)
    folder = make_tiny_model(tmp_path / "model")
    before = load_backbone(str(folder), device="cpu")
    assert before.codec_tables is None
    with pytest.raises(SettingsError, match="memory calibrate --model"):
        Session(before, Settings(codec="auto"))
    words = ["memory", "calibrate", "--model", str(folder), "--streams", "2", "--minutes", "4", "--fps", "1"]
    done = CliRunner().invoke(app, [*words, "--codec-bits", "3"])
    assert "not surely better than luck" in str(done.exception)  # of the heads; the codec is fitted all the same
    assert "codec auto: " in done.stdout
    after = load_backbone(str(folder), device="cpu")
    assert after.codec_tables is not None and 2.0 < after.codec_tables.bits < 4.0
    assert after.weights == before.weights and after.layout.fingerprint == before.layout.fingerprint
    Session(after, Settings(codec="auto")).close()
    Calibrations(default_folder()).tables_path(after.weights).write_bytes(b"nonsense")
    with pytest.raises(SettingsError, match="calibrate the model again"):
        load_backbone(str(folder), device="cpu")


def test_heads_that_find_no_more_than_chance_are_not_kept(
    make_tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onlooker.cli.main import app

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(calibration, "by_luck", lambda *_: 0.02)  # in one try of up to eight
    folder = make_tiny_model(tmp_path / "model")
    words = ["memory", "calibrate", "--model", str(folder), "--streams", "2", "--minutes", "1.5"]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, OnlookerError) and "not surely better than luck" in str(done.exception)
    assert "not surely better than luck: chance finds 0." in done.stdout and "Relevant:" not in done.stdout
    assert not list((tmp_path / "data").rglob("*.json"))


def test_one_clip_cannot_pick_and_judge(tmp_path: Path) -> None:
    from onlooker.cli.main import app

    clip = tmp_path / "walk.mp4"
    clip.touch()
    clip.with_suffix(".json").write_text(json.dumps([ENTRY]))
    done = CliRunner().invoke(app, ["memory", "calibrate", str(clip)])
    assert isinstance(done.exception, SettingsError) and "2 clips or more" in str(done.exception)
