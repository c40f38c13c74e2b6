import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.live.failure import Failure
from onlooker.stream.live.health import Health

LOST, WRONG = Failure("lost", "gone"), Failure("auth_failed", "no")

events = st.lists(
    st.tuples(st.sampled_from(["connecting", "arrived", "lost", "wrong", "look", "ended"]), st.floats(0, 20)),
    max_size=60,
)


@given(events)
def test_whatever_happens_the_status_is_sound(script: list[tuple[str, float]]) -> None:
    health, now, arrived, failed_before = Health(3.0), 0.0, 0, False
    for event, passed in script:
        now += passed
        match event:
            case "connecting":
                health.connecting()
            case "arrived":
                arrived += health.state != "ended"
                health.arrived(now)
                failed_before = False
            case "lost" | "wrong" if health.state != "ended":
                health.broke(LOST if event == "lost" else WRONG, now, 5.0)
                failed_before = True
            case "look":
                health.look(now, "cam")
            case "ended":
                health.ended()
        status = health.status(now, 0)
        assert status.received == arrived
        assert (status.code is None) == (status.reason == "")
        assert status.state != "live" or status.code is None
        assert status.state not in ("failed", "stale") or status.code is not None
        assert status.state != "failed" or status.code == "auth_failed"
        assert status.retry_s is None or status.state in ("reconnecting", "failed")
        assert status.fps >= 0.0
        assert status.reconnects <= arrived
    assert failed_before in (True, False)


def test_the_way_of_a_camera_that_is_lost_and_comes_back() -> None:
    health = Health(3.0)
    seen = [health.state]

    def note() -> None:
        seen.append(health.state)

    health.broke(LOST, 1.0, 2.0)
    note()
    assert health.status(2.0, 0).retry_s == pytest.approx(1.0)
    health.connecting()
    assert health.status(3.0, 0).code == "lost"  # why it is not live stays until it is
    health.arrived(4.0)
    note()
    health.look(7.1, "cam")
    note()
    assert "no frame for 3 s" in health.status(7.1, 0).reason
    health.arrived(7.2)
    note()
    health.broke(WRONG, 8.0, 60.0)
    note()
    health.arrived(70.0)
    health.ended()
    note()
    assert seen == ["connecting", "reconnecting", "live", "stale", "live", "failed", "ended"]
    status = health.status(71.0, 5)
    assert (status.reconnects, status.received, status.dropped, status.age_us) == (1, 3, 5, 1_000_000)


@pytest.mark.parametrize("fps", [0.5, 1, 4, 30, 120])
def test_the_rate_is_that_of_the_last_seconds(fps: float) -> None:
    health = Health(3.0)
    now = 0.0
    for number in range(round(20 * fps)):
        now = number / fps
        health.arrived(now)
    assert health.fps(now) == pytest.approx(fps, rel=0.01)
    assert health.fps(now + 2.5 / fps + 2) < 0.9 * fps
    assert health.fps(now + 6) == 0.0
