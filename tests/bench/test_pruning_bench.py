import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from onlooker.bench.precoded import precode
from onlooker.bench.pruning_bench import MINUTES, Cost, Outcome, PruningPlan, run_pruning
from onlooker.bench.pruning_plot import plot_lines
from onlooker.bench.pruning_table import lines_of, report_text, write_lines
from onlooker.cli.main import app
from onlooker.errors import ModelError, SettingsError
from onlooker.models.backbone import Backbone
from onlooker.models.tokens import TOWER_PLANES
from onlooker.theatre.stress import StressShow


def outcome(recipe: str, rate: float, run: int, right: int, of: int = 4) -> Outcome:
    marks = tuple(("text", number < right) for number in range(of))
    return Outcome(recipe, rate, run, rate, marks, 0.1, None if recipe == "last-n" else 0.5, 20.0, 100.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"recipes": ("shears",)}, "no recipe 'shears'; choose from .*novelty"),
        ({"rates": ()}, "rates"),
        ({"rates": (1.0,)}, "rates"),
        ({"rates": (0.0,)}, "rates"),
        ({"seed": -1}, "seed"),
        ({"seeds": 0}, "streams"),
        ({"streams": 2000}, "streams"),
        ({"fps": 0.0}, "fps"),
    ],
)
def test_a_plan_outside_its_limits_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        PruningPlan(**wrong)  # type: ignore[arg-type]


def test_runs_share_no_stream() -> None:
    shows = [show.seed for seed in (0, 1) for _, show in PruningPlan(seed=seed, seeds=3, streams=2).shows()]
    assert len(set(shows)) == 12


def test_every_recipe_sees_the_same_tokens_at_the_cost_of_one_pass(backbone: Backbone) -> None:
    frames = list(StressShow(0, 64, strains=("bursts",)).frames(0.5))[:10]
    stream = precode(backbone, frames)
    times = [frame.time_us for frame in frames]
    plain = stream.encode([], times)
    assert plain.times_us == tuple(times)
    assert not plain.extras.keys() & TOWER_PLANES
    assert stream.encode([], times, None, frozenset({"saliency"})).extras["saliency"].shape[0] == len(plain)
    assert stream.tower_s.keys() == {frozenset(), TOWER_PLANES}
    with pytest.raises(ModelError, match="no frame of 77 us"):
        stream.encode([], [77])
    with pytest.raises(ModelError, match="no frames"):
        precode(backbone, [])


def test_a_run_measures_every_recipe_at_every_rate(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PruningPlan(("novelty", "random", "last-n"), (0.1, 0.5), seeds=1, fps=0.5)
    assert plan.names == ("none", "novelty", "random", "last-n")
    monkeypatch.setattr(PruningPlan, "shows", lambda _: iter([(0, StressShow(0, 112, strains=("bursts", "text")))]))
    told: list[str] = []
    outcomes, costs = run_pruning(backbone, plan, backbone.card.retrieval_heads, told.append)
    assert [(one.recipe, one.rate) for one in outcomes] == [
        ("none", 1.0),
        *((name, rate) for name in ("novelty", "random", "last-n") for rate in (0.1, 0.5)),
    ]
    asked = [strain for strain, _ in outcomes[0].right]
    assert all([strain for strain, _ in one.right] == asked for one in outcomes)
    assert outcomes[0].kept == 1.0
    for one in outcomes[1:]:
        assert one.kept <= one.rate + 1 / 60 + 0.02, "more than the rate and a first frame"
    assert [cost.recipe for cost in costs] == list(plan.names)
    for cost in costs:
        assert len(cost.state_bytes) == len(MINUTES)
        assert cost.state_bytes[0] == cost.state_bytes[1], "what pruning remembers grew with the stream"
    assert "to go" in told[-1]


def test_a_line_sums_up_runs_and_the_table_says_what_is_lost() -> None:
    outcomes = [outcome("none", 1.0, run, 4) for run in (0, 1)]
    outcomes += [outcome("random", 0.1, 0, 2), outcome("random", 0.1, 1, 4), outcome("last-n", 0.1, 0, 1)]
    lines = lines_of(outcomes)
    assert [(line.recipe, line.n, line.accuracy) for line in lines] == [
        ("none", 8, 1.0),
        ("random", 8, 0.75),
        ("last-n", 4, 0.25),
    ]
    assert lines[1].spread == pytest.approx(0.5 / 2**0.5)
    assert lines[2].spread is None
    costs = [Cost(name, (), 1.0, (16, 16)) for name in ("none", "random", "last-n")]
    text = report_text(lines, costs)
    assert text.index("random") < text.index("last-n"), "the better one stands first"
    assert "75.0%" in text
    assert "±0.35" in text


def test_lines_are_written_and_drawn(tmp_path: Path) -> None:
    outcomes = [outcome("none", 1.0, 0, 4), outcome("random", 0.1, 0, 2), outcome("random", 0.25, 0, 3)]
    lines, costs = lines_of(outcomes), [Cost("none", (), 1.0, (0, 0)), Cost("random", ("pixels",), 1.0, (0, 0))]
    write_lines(tmp_path / "out.json", lines, costs)
    told = json.loads((tmp_path / "out.json").read_text())
    assert [line["accuracy"] for line in told["lines"]] == [1.0, 0.5, 0.75]
    plot_lines(lines, tmp_path / "out.png", "trial", "random")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--recipes", "shears"), "no recipe 'shears'"),
        (("--recipes", ","), "name some"),
        (("--rates", "much"), "give shares"),
        (("--rates", "2"), "give shares"),
        (("--plot", "/nowhere/out.png"), "no folder"),
        (("--plot", "out.xyz"), "cannot be drawn"),
    ],
)
def test_the_command_refuses_nonsense_before_it_begins(arguments: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, ["bench", "pruning", *arguments])
    assert result.exit_code != 0
    assert isinstance(result.exception, SettingsError)
    assert message in str(result.exception)
