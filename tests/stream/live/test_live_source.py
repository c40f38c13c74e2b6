import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onlooker.errors import SettingsError, SourceError
from onlooker.stream.live.failure import Failure
from onlooker.stream.live.limits import LiveLimits

LOST = Failure("lost", "cam: lost")
REFUSED = Failure("refused", "cam: refused")
WRONG = Failure("auth_failed", "cam: wrong password")

Eventually = Callable[[Callable[[], Any]], None]


def test_it_comes_back_for_ever_and_says_how_it_does(stage: Any, shot: Any, eventually: Eventually) -> None:
    source = stage.open(*[REFUSED] * 9, [shot(1), LOST], REFUSED, [shot(2), ValueError("odd"), shot(3)], [shot(4)])
    eventually(lambda: source.status.received == 3)
    assert source.status.reconnects == 2
    assert len(stage.delays) == 12
    assert all(1.0 <= delay <= 30.0 for delay in stage.delays)
    assert stage.delays[8] >= 15.0  # nine failures: half a minute, or half of it
    eventually(lambda: stage.states()[-1] == "live")
    codes = [status.code for status in stage.told if status.state == "reconnecting"]
    assert [code for code, _ in itertools.groupby(codes)] == ["refused", "lost", "refused", "unknown"]
    assert stage.states()[0] == "connecting"
    assert "ValueError" in stage.told[-2].reason
    assert [(status.code, status.reason) for status in stage.told if status.state == "live"] == [(None, "")] * 3


def test_a_listener_hears_of_changes_alone(stage: Any, shot: Any, eventually: Eventually) -> None:
    source = stage.open(REFUSED, REFUSED, REFUSED, [*(shot(n) for n in range(50))])
    eventually(lambda: source.status.received == 50)
    eventually(lambda: stage.states()[-1] == "live")
    source.close()
    assert stage.states() == ["connecting", "reconnecting", "live", "ended"]
    assert (stage.told[1].code, stage.told[1].retry_s) == ("refused", pytest.approx(stage.delays[0]))


def test_a_wrong_password_is_failed_and_tried_rarely(stage: Any, shot: Any, eventually: Eventually) -> None:
    source = stage.open(WRONG, WRONG, [shot(1)])
    eventually(lambda: source.status.state == "live")
    assert all(delay >= 60.0 for delay in stage.delays)
    assert stage.states()[:2] == ["connecting", "failed"]


def test_a_healthy_minute_starts_the_delays_anew(stage: Any, shot: Any, eventually: Eventually) -> None:
    gates = [threading.Event() for _ in range(3)]
    source = stage.open(*[REFUSED] * 6, [*(shot(n, after=gate) for n, gate in enumerate(gates)), LOST], [shot(3)])
    for number, gate in enumerate(gates):
        gate.set()
        eventually(lambda number=number: source.status.received > number)
        stage.clock.now += 31.0 if number < 2 else 0.0
    eventually(lambda: source.status.received == 4)
    assert stage.delays[5] >= 15.0
    assert stage.delays[6] <= 2.0


def test_a_still_connection_is_stale_until_a_frame_comes(stage: Any, shot: Any, eventually: Eventually) -> None:
    more = threading.Event()
    source = stage.open([shot(1), shot(2, after=more)])
    eventually(lambda: stage.states() == ["connecting", "live"])
    stage.clock.now += 3.5
    eventually(lambda: stage.states()[-1] == "stale")
    assert source.status.age_us == 3_500_000
    assert "no frame for 3 s" in source.status.reason
    more.set()
    eventually(lambda: stage.states()[-1] == "live")


def test_the_newest_frame_wins_and_drops_are_counted(stage: Any, shot: Any, eventually: Eventually) -> None:
    source = stage.open([shot(n) for n in range(100)])
    eventually(lambda: source.status.received == 100)
    assert source.status.dropped == 99
    frame = source.next()
    assert (int(frame.image[0, 0, 0]), frame.seq) == (99, 99)
    assert source.report.delivered == 1
    with pytest.raises(SourceError, match=r"no new frame came within 0\.01 s"):
        source.next(0.01)


def test_each_frame_is_handed_out_once(stage: Any, shot: Any, eventually: Eventually) -> None:
    """By iterating or by next(), whoever comes first."""
    gates = [threading.Event() for _ in range(6)]
    source = stage.open([shot(n, after=gate) for n, gate in enumerate(gates)])
    frames = iter(source)
    got = []
    for number, gate in enumerate(gates):
        gate.set()
        got.append((next(frames) if number % 2 else source.next(60.0)).seq)
    assert got == [0, 1, 2, 3, 4, 5]
    assert source.status.dropped == 0


def test_read_waits_for_a_frame_that_comes_from_now_on(stage: Any, shot: Any, eventually: Eventually) -> None:
    more = threading.Event()
    source = stage.open([shot(1), shot(2, after=more)])
    eventually(lambda: source.status.received == 1)
    with pytest.raises(SourceError, match=r"no frame came within 0\.01 s"):
        source.read(0.01)  # the first one waits, but came before
    got: list[int] = []
    reader = threading.Thread(target=lambda: got.append(int(source.read(60.0).image[0, 0, 0])))
    reader.start()
    more.set()
    reader.join(60)
    assert got in ([2], [])  # the frame may have come before the reader asked
    if got:
        with pytest.raises(SourceError):
            source.next(0.01)  # it was taken


def test_latest_takes_nothing_and_refuses_what_is_old(stage: Any, shot: Any, eventually: Eventually) -> None:
    source = stage.open([shot(7)])
    eventually(lambda: source.status.received == 1)
    assert [int(source.latest().image[0, 0, 0]) for _ in range(3)] == [7, 7, 7]
    assert source.next().seq == 0
    assert source.latest().seq == 0  # it was taken, and is the newest all the same
    stage.clock.now += 0.6
    with pytest.raises(SourceError, match=r"0\.60 s old; the limit asked for is 0\.5 s"):
        source.latest()
    assert source.latest(max_age_s=1.0).seq == 0


def test_reads_say_why_there_is_nothing(stage: Any) -> None:
    stage.gate = threading.Event()
    source = stage.open(WRONG)
    with pytest.raises(SourceError, match=r"no frame has come yet|wrong password"):
        source.latest()
    with pytest.raises(SourceError, match="camera/1: no frame came within"):
        source.read(0.05)


def test_time_counts_from_the_opening_and_gaps_are_gaps(stage: Any, shot: Any) -> None:
    gates = [threading.Event() for _ in range(3)]
    source = stage.open(
        [shot(1, 10_000_000, gates[0]), shot(2, 10_040_000, gates[1]), LOST], [shot(3, 5, gates[2])], start_us=7_000_000
    )
    times = []
    for gate, passed in zip(gates, (0.25, 0.05, 30.0), strict=True):
        stage.clock.now += passed
        gate.set()
        times.append(source.next(60.0).time_us)
    assert times[0] == 7_250_000
    assert times[1] == pytest.approx(7_290_000, abs=30)  # 50 ms later, but 40 ms by the camera's clock
    assert times[2] == 37_300_000
    assert source.origin_unix_us == 500_000_000 * 1_000_000 - 7_000_000


def test_a_rate_limit_goes_by_time_and_is_no_drop(stage: Any, shot: Any, eventually: Eventually) -> None:
    gates = [threading.Event() for _ in range(21)]
    source = stage.open([shot(n, after=gate) for n, gate in enumerate(gates)], fps=2.0)
    got = []
    for number, gate in enumerate(gates):
        gate.set()
        eventually(lambda number=number: source.status.received == number + 1)
        try:
            got.append(source.next(0.0).time_us)
        except SourceError:
            pass
        stage.clock.now += 0.1
    assert got == [0, 500_000, 1_000_000, 1_500_000, 2_000_000]
    assert source.status.dropped == 0
    assert source.report.decoded == 21


def test_iterating_ends_by_the_clock_though_no_frame_comes(stage: Any, shot: Any, eventually: Eventually) -> None:
    source = stage.open([shot(1)], end_us=5_000_000)
    frames = iter(source)
    assert next(frames).seq == 0
    stage.clock.now += 5.0
    assert list(frames) == []
    assert source.status.state == "ended"


def test_iterating_ends_when_it_is_stopped(stage: Any) -> None:
    stop = threading.Event()
    source = stage.open(stop=stop)
    threading.Timer(0.05, stop.set).start()
    assert list(source) == []


def test_the_end_of_a_source_comes_after_its_last_frame(stage: Any, shot: Any, eventually: Eventually) -> None:
    source = stage.open([shot(1), shot(2), None])
    eventually(lambda: source.status.state == "ended")
    assert [int(frame.image[0, 0, 0]) for frame in source] == [2]
    with pytest.raises(SourceError, match="was closed"):
        next(iter(source))


def test_a_reader_is_released_by_the_end(stage: Any, shot: Any) -> None:
    go = threading.Event()
    source = stage.open([shot(1, after=go), None])
    failures: list[SourceError] = []

    def read() -> None:
        try:
            while True:
                source.read()
        except SourceError as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    go.set()
    reader.join(60)
    assert len(failures) == 1


def test_pictures_of_odd_shapes_become_rgb(stage: Any, scripted: Any, shot: Any) -> None:
    gates = [threading.Event() for _ in range(4)]
    shapes = [(4, 6), (4, 6, 1), (4, 6, 4), (2, 2, 3)]
    source = stage.open([shot(255, after=gate, shape=shape) for gate, shape in zip(gates, shapes, strict=True)])
    assert source.info.width == 0
    for gate, shape in zip(gates, shapes, strict=True):
        gate.set()
        image = source.next(60.0).image
        assert image.shape == (*shape[:2], 3)
        assert image.dtype == np.uint8
        assert image.min() == 255
        assert (source.info.height, source.info.width) == shape[:2]
    assert source.info.duration_us is None


def test_a_picture_that_is_none_is_a_failure_with_a_reason(stage: Any, shot: Any, eventually: Eventually) -> None:
    source = stage.open([shot(1, shape=(2, 2, 7))], [shot(2)])
    eventually(lambda: source.status.state == "live" and source.report.decoded == 2)
    assert ("failed", "codec") in [(status.state, status.code) for status in stage.told]


def test_a_call_that_hangs_is_left_behind(stage: Any, shot: Any, eventually: Eventually) -> None:
    hung = threading.Event()
    source = stage.open(hung, [shot(5)], [shot(6)])
    eventually(lambda: stage.opened[0][1].tries == 1)
    stage.clock.now += 46.0
    eventually(lambda: source.status.state == "live")
    assert [status.code for status in stage.told if status.state == "reconnecting"] == ["timeout"]
    hung.set()  # the old connection wakes up; nothing that it brings counts
    eventually(lambda: stage.opened[0][1].closed == 1)
    assert (source.status.received, int(source.latest(100.0).image[0, 0, 0])) == (1, 5)


def test_sleep_of_the_machine_counts_as_time_of_the_stream_and_hangs_nothing(
    stage: Any, shot: Any, eventually: Eventually
) -> None:
    awake, more = 77.0, threading.Event()
    source = stage.open([shot(1), shot(2, after=more)], awake=lambda: awake)
    first = source.next(60.0)
    stage.clock.now += 3600.0  # an hour of sleep
    eventually(lambda: source.status.state == "stale")
    more.set()
    second = source.next(60.0)
    assert second.time_us - first.time_us == pytest.approx(3_600_000_000, abs=1000)
    assert "reconnecting" not in stage.states()  # the call that slept along was not given up


def test_the_clock_of_a_live_source_counts_the_sleep_of_the_machine(shot: Any, scripted: Any) -> None:
    from onlooker.stream.live.live_source import LiveSource

    asked: list[int] = []
    clock_gettime = time.clock_gettime
    feed = scripted([[shot(1)]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "CLOCK_BOOTTIME", 7, raising=False)
        patch.setattr(time, "clock_gettime", lambda clock: asked.append(clock) or clock_gettime(time.CLOCK_MONOTONIC))
        with LiveSource(feed) as source:
            asked.clear()
            assert source.now_us >= 0 and set(asked) == {7}
            feed.over.set()


def test_no_more_than_three_calls_hang_at_a_time(stage: Any, shot: Any, eventually: Eventually) -> None:
    hung = [threading.Event() for _ in range(3)]
    source = stage.open(*hung, [shot(5)])
    feed = stage.opened[0][1]
    for number in range(3):
        eventually(lambda number=number: feed.tries == number + 1)
        stage.clock.now += 46.0
    eventually(lambda: len(stage.delays) > 10)  # it waits, again and again
    assert feed.tries == 3
    hung[1].set()
    eventually(lambda: source.status.state == "live")
    for event in hung:
        event.set()


def test_closing_does_not_wait_for_a_call_that_hangs(
    stage: Any, eventually: Eventually, live_threads: Callable[[], list[threading.Thread]]
) -> None:
    hung = threading.Event()
    source = stage.open(hung)
    eventually(lambda: stage.opened[0][1].tries == 1)
    source.close()
    source.close()
    assert [thread.name.partition("-rtsp")[0] for thread in live_threads()] == ["onlooker-read"]
    assert source.status.state == "ended"
    hung.set()


def test_leaving_the_loop_ends_all_threads(
    stage: Any, shot: Any, eventually: Eventually, live_threads: Callable[[], list[threading.Thread]]
) -> None:
    source = stage.open([shot(1), LOST], [shot(2), LOST], [shot(3)])
    for _ in source:
        break
    stage.opened[0][1].over.set()
    eventually(lambda: not live_threads())


def test_a_source_that_is_dropped_ends_its_threads(
    shot: Any, scripted: Any, eventually: Eventually, live_threads: Callable[[], list[threading.Thread]]
) -> None:
    from onlooker.stream.live.live_source import LiveSource

    feed = scripted([[shot(1)]])
    assert LiveSource(feed).name == feed.name  # nobody holds it any more
    feed.over.set()
    eventually(lambda: not live_threads())


def test_a_listener_s_mistake_does_not_end_the_source(
    stage: Any, scripted: Any, shot: Any, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    from onlooker.stream.live.live_source import LiveSource

    def fail(status: object) -> None:
        raise ValueError("mine")

    feed = scripted([REFUSED, [shot(1)]])
    with LiveSource(feed, on_status=fail, pause=lambda seconds: False) as source:
        eventually(lambda: source.status.received == 1)
        feed.over.set()
    assert "whoever listens to its state raised an error" in caplog.text


def test_settings_outside_their_limits_are_refused(scripted: Any) -> None:
    from onlooker.stream.live.live_source import LiveSource

    for options in ({"fps": 0.0}, {"start_us": -1}, {"end_us": 0}):
        with pytest.raises(SettingsError):
            LiveSource(scripted([]), **options)
    with pytest.raises(SettingsError, match="stale_s is 0"):
        LiveLimits(stale_s=0)
