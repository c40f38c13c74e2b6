"""The live run, small: a real server, cameras and clients."""

import pytest

from onlooker.bench.live import LivePlan, live_table, run_live
from onlooker.errors import SettingsError


@pytest.mark.slow
def test_a_small_run_loses_nothing_and_ends_cleanly() -> None:
    report = run_live(LivePlan(minutes=0.8, cameras=12, clients=2))
    assert report.clean_exit
    assert report.lost == report.broken == 0
    assert not report.failed
    assert report.sent > 0
    assert report.asked == report.answered > 0
    assert report.marks[-1].frames >= report.sent * 0.9
    table = live_table(report)
    assert "12 cameras at 1 frame/s (10 of the server's own, 2 pushed" in table


@pytest.mark.parametrize("plan", [{"minutes": 0.0}, {"minutes": 11.0}, {"cameras": 0}, {"clients": -1}])
def test_a_plan_outside_its_limits_is_refused(plan: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="minutes"):
        LivePlan(**plan)  # type: ignore[arg-type]
