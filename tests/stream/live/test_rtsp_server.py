"""A real RTSP server on this machine (gst_rtsp_server.py): what no script can stand in for."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from onlooker.stream.live.opening import open_live
from onlooker.stream.live.status import SourceStatus
from onlooker.theatre.show import Show

Eventually = Callable[[Callable[[], Any]], None]


def test_it_comes_back_when_the_server_does(rtsp_server: Callable[..., Any], eventually: Eventually) -> None:
    server = rtsp_server("--user", "bob", "--password", "s3cret/ü")
    told: list[SourceStatus] = []
    frames = []
    with open_live(server.url("bob:s3cret%2F%C3%BC@"), on_status=told.append) as source:
        server_again = threading.Thread(target=server.start)
        for frame in source:
            frames.append(frame)
            if len(frames) == 5:
                server.stop()
                eventually(lambda: source.status.state == "reconnecting")
                server_again.start()
            elif source.status.reconnects and len(frames) > 15:
                break
        server_again.join(60)
    states = [state for state, _ in itertools.groupby(status.state for status in told)]
    assert states == ["connecting", "live", "reconnecting", "live", "ended"]
    assert {status.code for status in told if status.state == "reconnecting"} <= {"lost", "refused"}
    times = [frame.time_us for frame in frames]
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(steps) > 0
    assert max(steps) > 1_000_000  # the gap, of a second at the least: that is the first delay
    assert np.median(steps) == pytest.approx(125_000, rel=0.2)  # the clip has 8 frames a second
    assert all(frame.image.shape == (224, 224, 3) for frame in frames)
    assert source.report.decoder == "opencv/ffmpeg"
    assert not any("s3cret" in status.reason for status in told)


def test_colours_are_those_of_the_clip(rtsp_server: Callable[..., Any]) -> None:
    """RGB, not BGR: the first seconds of the bundled clip, which is a theatre's."""
    with open_live(rtsp_server().url()) as source:
        image = source.next(60.0).image
    mean = image.mean(axis=(0, 1))
    known = [frame.image.mean(axis=(0, 1)) for frame in Show(7, 600.0).frames(8.0, 0, 20_000_000)]
    assert min(float(np.abs(mean - one).max()) for one in known) < 3.0
    assert min(float(np.abs(mean[::-1] - one).max()) for one in known) > 10.0


@pytest.mark.parametrize("way", [(), ("--digest",)], ids=["basic", "digest"])
def test_failures_are_told_apart(rtsp_server: Callable[..., Any], eventually: Eventually, way: tuple[str, ...]) -> None:
    server = rtsp_server("--user", "bob", "--password", "right", *way)
    with open_live(server.url("bob:right@")) as source:
        assert source.next(60.0).image.any()
    for url, state, code in (
        (server.url("bob:wrong-one@"), "failed", "auth_failed"),
        (server.url(), "failed", "auth_failed"),
        (server.url("bob:right@", "no-such-path"), "reconnecting", "not_found"),
        (server.url("bob:right@").replace("rtsp:", "rtsps:"), "reconnecting", "tls"),
    ):
        with open_live(url) as source:
            eventually(lambda source=source: source.status.code)
            status = source.status
        assert (status.code, status.state) == (code, state)
        assert "wrong-one" not in status.reason
    server.stop()
    with open_live(server.url("bob:right@")) as source:
        eventually(lambda: source.status.code)
        assert (source.status.state, source.status.code) == ("reconnecting", "refused")
