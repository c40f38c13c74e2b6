"""A soak in small: caps hold, figures add up, the memory is asked after it was opened anew."""

from pathlib import Path
from typing import Any

import pytest

from onlooker.bench.soak import Mark, SoakPlan, SoakReport, report_text, run_soak
from onlooker.errors import SettingsError
from onlooker.settings import MIB, Settings


def test_a_small_soak(backbone: Any, tmp_path: Path) -> None:
    plan = SoakPlan(hours=0.1, fps=1.0, marks=3)
    settings = Settings(disk_bytes=64 * MIB, archive_bytes=2 * MIB)
    told: list[str] = []
    report = run_soak(backbone, plan, settings, tmp_path / "memory", told=told.append)
    assert [round(mark.hours, 3) for mark in report.marks] == [0.033, 0.067, 0.1]
    assert [mark.frames for mark in report.marks] == [120, 240, 360]
    assert all(0 < mark.host_bytes <= 2 * MIB and 0 < mark.disk_bytes <= 64 * MIB for mark in report.marks)
    assert all(0 < mark.first_token_ms <= mark.worst_ms for mark in report.marks)
    first, last = report.knows
    assert sum(first.asked.values()) > 0 and sum(last.asked.values()) > 0
    assert all(first.right[kind] <= asked for kind, asked in first.asked.items())
    text = report_text(report)
    assert "the first stretch" in text and "the last stretch" in text and "Growth a day" in text
    assert len(told) == 4


def test_planted_events_are_in_the_first_and_the_last_stretch() -> None:
    plan = SoakPlan(hours=24.0)
    first, last = plan.stages
    assert first == (0, 3_600_000_000) and last[1] == 86_400_000_000 and last[1] - last[0] == 3_600_000_000
    events = plan.show.events(86_400_000_000)
    early = [scene for scene in events if scene.end_us <= first[1]]
    late = [scene for scene in events if scene.start_us >= last[0]]
    assert len(early) + len(late) == len(events) and abs(len(early) - len(late)) <= 1 and len(events) > 30
    assert plan.show.planted == plan.show.planted  # decided by the seed alone


def test_slopes_are_those_of_a_line() -> None:
    def mark(hours: float, value: float) -> Mark:
        return Mark(hours, 1, 1, value, value, value, 1000, int(value * 10), 5, 0, 0)

    marks = tuple(mark(hour, 100.0 + 10.0 * hour) for hour in range(1, 25))
    report = SoakReport(SoakPlan(), Settings(), marks, (), 0.1)
    mean = sum(100.0 + 10.0 * hour for hour in range(7, 25)) / 18
    assert report.slope("first_token_ms") == pytest.approx(240.0 / mean)
    assert report.slope("host_bytes") == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("wrong", [{"hours": 0.0}, {"fps": 0.0}, {"marks": 1}])
def test_a_plan_outside_its_limits_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="marks"):
        SoakPlan(**wrong)
