import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onlooker
from onlooker.bench.robot import QUESTIONS, RobotPlan, pictures_of, quantile, report_text, run_robot
from onlooker.cli import main
from onlooker.errors import SettingsError


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_a_quantile_is_the_value_at_or_below_which_so_many_lie(values: list[float], share: float) -> None:
    found = quantile(sorted(values), share)
    at_or_below = sum(value <= found for value in values)
    below = sum(value < found for value in values)
    assert at_or_below >= math.ceil(share * len(values))
    assert below < math.ceil(share * len(values))


@pytest.mark.parametrize(
    "plan",
    [{"seconds": 0.0}, {"rate": 0.0}, {"askers": 9}, {"sizes": ()}, {"sizes": ((8, 480),)}],
)
def test_a_plan_has_limits(plan: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        RobotPlan(**plan)  # type: ignore[arg-type]


def test_pictures_have_the_size_asked_for_and_differ() -> None:
    pictures = pictures_of((64, 48))
    assert {picture.shape for picture in pictures} == {(48, 64, 3)}
    assert len({picture.tobytes() for picture in pictures}) > len(pictures) // 2


def test_every_tick_is_run_or_counted_as_skipped_and_every_frame_accounted_for(tiny_folder: Path) -> None:
    plan = RobotPlan(seconds=1.0, sizes=((64, 48),), rate=30.0, askers=2)
    said: list[str] = []
    report = run_robot(onlooker.load(str(tiny_folder), device="cpu"), plan, said.append)
    engine, lent, direct = report.loops
    assert (engine.way, lent.way, direct.way) == ("engine", "lent", "direct")
    assert len(said) == 3
    for loop in report.loops:
        assert loop.ticks + loop.skipped >= 30
        assert 0.0 < loop.see_ms[0] <= loop.see_ms[1] <= loop.see_ms[2] <= loop.see_ms[3]
        assert loop.asked > 0
        assert loop.first_token_ms is not None and 0.0 < loop.first_token_ms[0] <= loop.first_token_ms[1]
    assert direct.dropped == 0
    assert direct.taken == direct.ticks
    # Of the frames before or after what is measured at most one each is counted to the other side: it was waiting.
    for loop in (engine, lent):
        assert abs(loop.taken + loop.dropped - loop.ticks) <= 3
    table = report_text(report)
    assert table.count("64x48") == 3
    assert f"{engine.see_ms[2]:.2f}" in table


def test_without_askers_there_are_no_first_tokens(tiny_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "robot.json"
    words = ["--seconds", "0.2", "--size", "64x48", "--askers", "0", "--no-direct", "--json", str(path)]
    with pytest.raises(SystemExit) as caught:
        main.run(["bench", "robot", *words, "--model", str(tiny_folder), "--device", "cpu"])
    assert caught.value.code == 0
    loops = json.loads(path.read_text())["loops"]
    assert [(loop["way"], loop["asked"], loop["first_token_ms"]) for loop in loops] == [
        ("engine", 0, None),
        ("lent", 0, None),
    ]


def test_a_size_that_is_none_is_refused_before_the_model_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.run(["bench", "robot", "--size", "big", "--model", "no-such-model"])
    assert caught.value.code == 2
    assert "such as 640x480" in capsys.readouterr().err


def test_questions_are_about_now_and_about_the_past() -> None:
    assert any("now" in question for question in QUESTIONS)
    assert any("was" in question for question in QUESTIONS)
    assert np.unique(QUESTIONS).size == len(QUESTIONS)
