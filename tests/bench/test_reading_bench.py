import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from onlooker.bench.own import Ours
from onlooker.bench.reading_bench import FEWER, WHOLE, ReadingRow, chosen, readings_table, row_of, run_readings
from onlooker.bench.recall_bench import RecallPlan, run_recall
from onlooker.bench.tally import Reply
from onlooker.errors import SettingsError
from onlooker.pruning.readings import READINGS

PLAN = RecallPlan(seed=3, streams=1, minutes=1.5, answer_tokens=2)


def reply(right: bool | None, tokens: float = 10.0) -> Reply:
    return Reply("ours", "place", 0, right, None, tokens, 0)


def test_answers_are_counted_in_pairs() -> None:
    whole = [reply(True), reply(True), reply(False), reply(False)]
    row = row_of("dart", 0.5, [reply(True, 4.0), reply(False, 6.0), reply(True), reply(False)], whole)
    assert (row.accuracy, row.gained, row.lost, row.context_tokens) == (0.5, 1, 1, 7.5)


def test_every_reading_is_asked_at_every_rate_over_one_memory(backbone: Any) -> None:
    names = ["cdpruner", "fastv", FEWER]
    rows = run_readings(backbone, PLAN, (0.5, 0.1), names)
    assert [(row.reading, row.rate) for row in rows] == [(WHOLE, 1.0), *((n, r) for n in names for r in (0.5, 0.1))]
    assert len({row.questions for row in rows}) == 1
    tokens = {(row.reading, row.rate): row.context_tokens for row in rows}
    for name in names:
        assert tokens[name, 0.1] < tokens[name, 0.5] < tokens[WHOLE, 1.0]  # type: ignore[operator]
    assert rows == run_readings(backbone, PLAN, (0.5, 0.1), names)


def test_all_that_was_recalled_is_what_the_recall_benchmark_reads(backbone: Any) -> None:
    [row] = run_readings(backbone, PLAN, (0.5,), ["none"])
    heads = backbone.card.retrieval_heads
    past = [one for one in run_recall(backbone, [Ours("ours", heads)], PLAN, heads) if one.kind != "present"]
    assert row.questions == len(past)
    assert row.accuracy == sum(bool(one.right) for one in past) / len(past)
    assert row.context_tokens == pytest.approx(sum(one.context_tokens for one in past) / len(past))


def test_a_policy_can_be_made_of_any_reading(moment: Any, questions: Any) -> None:
    question = next(question for question in questions if question.spans_us)
    heads = moment.backbone.card.retrieval_heads
    whole = Ours("ours", heads, gate="always").read(moment, question)
    for name in READINGS:
        prompt = Ours(f"ours+{name}", heads, gate="always", reading=name, reading_rate=0.25).read(moment, question)
        assert (prompt.tokens < whole.tokens) is (name != "none")
        assert isinstance(prompt.answer(moment.backbone, 2), str)
    fewer = Ours("ours+fewer", heads, gate="always", budget=0.25).read(moment, question)
    assert fewer.tokens < whole.tokens and len(set(fewer.shown_us[0])) < len(set(whole.shown_us[0]))


def test_the_table_has_a_line_for_each_reading() -> None:
    rows = [
        ReadingRow(WHOLE, 1.0, 8, 0.75, 0, 0, 300.0),
        ReadingRow("dart", 0.5, 8, 0.5, 1, 3, 200.0),
        ReadingRow("dart", 0.1, 8, None, 0, 0, None),
    ]
    lines = [line.split() for line in readings_table(rows).splitlines()]
    assert lines[0] == ["reading", "at", "0.5", "+", "-", "context", "at", "0.1", "+", "-", "context"]
    assert lines[2:] == [
        ["none", "0.75", "0", "0", "300"],
        ["dart", "0.50", "1", "3", "200", "-", "0", "0", "-"],
    ]
    alone = readings_table(rows[:1]).splitlines()
    assert alone[-1].split() == ["none", "0.75", "0", "0", "300"]


def test_unknown_readings_and_rates_are_refused(backbone: Any) -> None:
    assert chosen(None) == [*READINGS, FEWER]
    with pytest.raises(SettingsError, match="there is no reading 'best'; choose from none"):
        chosen(["best"])
    with pytest.raises(SettingsError, match="a rate is 0"):
        run_readings(backbone, PLAN, (0.0,), ["dart"])


def test_the_command_writes_table_and_rows(stamped_folder: Path, tmp_path: Path) -> None:
    import typer

    from onlooker.cli.measure_reading import READING_HELP, reading

    app, out = typer.Typer(), tmp_path / "rows.json"
    app.command("reading", help=READING_HELP)(reading)
    words = ["--model", str(stamped_folder), "--streams", "1", "--minutes", "1.0", "--rates", "0.5"]
    done = CliRunner().invoke(app, [*words, "--readings", "dart", "--json", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith(("none ", "dart "))] == [
        "none",
        "dart",
    ]
    assert "questions, dart at 0.5" in done.stderr and "questions, dart" not in done.stdout
    assert [(row["reading"], row["rate"]) for row in json.loads(out.read_text())] == [("none", 1.0), ("dart", 0.5)]


@pytest.mark.parametrize("words", [["--rates", "half"], ["--readings", ","], ["--readings", "best"], ["--rates", "2"]])
def test_the_command_refuses_what_it_cannot_do(stamped_folder: Path, words: list[str]) -> None:
    import typer

    from onlooker.cli.measure_reading import reading

    app = typer.Typer()
    app.command()(reading)
    done = CliRunner().invoke(app, ["--model", str(stamped_folder), "--minutes", "0.5", *words])
    assert isinstance(done.exception, SettingsError)
