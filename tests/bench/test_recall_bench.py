import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from onlooker.bench.recall_bench import RecallPlan, choose, policies_of, run_recall
from onlooker.errors import SettingsError

PLAN = RecallPlan(seed=3, streams=1, minutes=0.6, answer_tokens=2)


def test_every_policy_answers_the_same_questions_and_again_the_same(backbone: Any) -> None:
    heads = backbone.card.retrieval_heads
    first = run_recall(backbone, choose(policies_of(heads), None), PLAN, heads)
    again = run_recall(backbone, choose(policies_of(heads), None), PLAN, heads)
    assert first == again
    names = [
        "blind", "recent-4", "uniform-64", "full", "oracle", "rekv", "livevlm",
        "ours-heads", "ours-embeddings", "ours", "ours-always", "ours-never",
    ]  # fmt: skip
    assert list(dict.fromkeys(reply.policy for reply in first)) == names
    asked = {name: [(r.kind, r.delay_s) for r in first if r.policy == name] for name in names}
    assert all(asked[name] == asked["blind"] for name in names)
    kinds = {kind for kind, _ in asked["blind"]}
    assert "present" in kinds and len(kinds) > 2


def test_leaving_policies_out_changes_no_other(backbone: Any) -> None:
    heads = backbone.card.retrieval_heads
    every = run_recall(backbone, choose(policies_of(heads), ["oracle", "rekv", "ours"]), PLAN, heads)
    alone = run_recall(backbone, choose(policies_of(heads), ["ours"]), PLAN, heads)
    assert alone == [reply for reply in every if reply.policy == "ours"]


def test_seeds_share_no_stream() -> None:
    seeds = [show.seed for seed in (0, 1) for show in RecallPlan(seed=seed, streams=1000).shows()]
    assert len(set(seeds)) == 2000


@pytest.mark.parametrize("wrong", [{"streams": 0}, {"seed": -1}, {"minutes": 0.1}, {"fps": 0.0}, {"per_event": 0}])
def test_plans_outside_their_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        RecallPlan(**wrong)


def test_unknown_policies_are_refused() -> None:
    with pytest.raises(SettingsError, match="no retrieval heads"):
        choose(policies_of(()), ["ours-heads"])
    with pytest.raises(SettingsError, match="choose from blind"):
        choose(policies_of(()), ["all"])


def test_the_command_writes_table_and_rows(stamped_folder: Path, tmp_path: Path) -> None:
    from onlooker.cli.main import app

    rows, plot = tmp_path / "rows.json", tmp_path / "plot.png"
    words = ["bench", "recall", "--model", str(stamped_folder), "--streams", "1", "--minutes", "0.6"]
    words += ["--policies", "blind,ours", "--json", str(rows), "--plot", str(plot), "--held-out-wording"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "wordings held out of training" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith(("blind ", "ours "))] == [
        "blind", "ours", "blind", "ours",
    ]  # fmt: skip
    assert "min seen" in done.stderr and "min seen" not in done.stdout
    assert {row["policy"] for row in json.loads(rows.read_text())} == {"blind", "ours"}
    assert plot.stat().st_size > 10_000
