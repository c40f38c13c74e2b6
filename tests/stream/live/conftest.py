"""Feeds that do what a script says, a clock that is set by hand, and a real RTSP server where there is one."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onlooker.stream.live.failure import Failure, FeedError
from onlooker.stream.live.feed import Arrival, Pause
from onlooker.stream.live.limits import LiveLimits
from onlooker.stream.live.live_source import LiveSource
from onlooker.stream.live.status import SourceStatus

HERE = Path(__file__).parent
CLIP = HERE.parents[2] / "examples" / "theatre.mp4"
PYTHON = "/usr/bin/python3"  # Debian's own: the only one that sees python3-gi
PATIENCE_S = 60.0


class Clock:
    """Tell the time that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Shot:
    """A frame of a script.  stamp_us: by the camera's clock.  after: what must be set before it comes."""

    image: Any
    stamp_us: int | None = None
    after: threading.Event | None = None


Step = Shot | Failure | Exception | None
"""None: the end of the source."""


@dataclass
class ScriptedFeed:
    """Give one connection after the other, as written; then hang until `over` is set.

    A connection is a list of steps, a failure to connect, or an event: connecting hangs until it is set.
    """

    script: Sequence[Sequence[Step] | Failure | threading.Event]
    kind: Any = "rtsp"
    name: str = "rtsp://user:***@camera/1"
    identity: str = "rtsp://camera/1"
    exact: bool = False
    stamped: bool = True
    size: tuple[int, int] = (0, 0)
    over: threading.Event = field(default_factory=threading.Event)
    tries: int = 0
    closed: int = 0

    def connect(self, now_us: Callable[[], int], pause: Pause) -> "ScriptedConnection":
        number, self.tries = self.tries, self.tries + 1
        now = self.script[number] if number < len(self.script) else self.over
        if isinstance(now, Failure):
            raise FeedError(now)
        if isinstance(now, threading.Event):
            now.wait(PATIENCE_S)
            return ScriptedConnection(self, [Shot(picture(99)), Failure("lost", "it hung")])
        return ScriptedConnection(self, now)


@dataclass
class ScriptedConnection:
    feed: ScriptedFeed
    steps: Sequence[Step]
    decoder: str = "script"
    number: int = -1

    def advance(self) -> Arrival | None:
        self.number += 1
        if self.number >= len(self.steps):
            self.feed.over.wait(PATIENCE_S)
            raise FeedError(Failure("lost", "the script is over"))
        step = self.steps[self.number]
        if step is None:
            return None
        if isinstance(step, Failure):
            raise FeedError(step)
        if isinstance(step, Exception):
            raise step
        if step.after is not None:
            assert step.after.wait(PATIENCE_S)
        return Arrival(step.stamp_us)

    def picture(self) -> NDArray[np.generic]:
        step = self.steps[self.number]
        assert isinstance(step, Shot)
        return np.asarray(step.image)

    def close(self) -> None:
        self.feed.closed += 1


def picture(value: int, *shape: int) -> NDArray[np.uint8]:
    return np.full(shape or (4, 6, 3), value, np.uint8)


@dataclass
class Stage:
    """Open live sources on scripts; nothing in them waits for the real clock."""

    clock: Clock = field(default_factory=Clock)
    told: list[SourceStatus] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    opened: list[tuple[LiveSource, ScriptedFeed]] = field(default_factory=list)
    limits: LiveLimits = LiveLimits(tick_s=0.005, close_s=0.05)  # noqa: RUF009 - frozen
    gate: threading.Event | None = None

    def open(self, *script: Any, feed: ScriptedFeed | None = None, **options: Any) -> LiveSource:
        feed = feed or ScriptedFeed(script)
        stopped = threading.Event()

        def pause(seconds: float) -> bool:
            self.delays.append(seconds)
            if self.gate is not None:
                self.gate.wait(PATIENCE_S)
            return stopped.is_set()

        options = {"limits": self.limits, "clock": self.clock, "wall": lambda: 5e8, "pause": pause} | options
        source = LiveSource(feed, on_status=self.told.append, **options)
        self.opened.append((source, feed))
        source_close = source.close

        def close() -> None:
            stopped.set()
            source_close()

        source.close = close  # type: ignore[method-assign]
        return source

    def states(self) -> list[str]:
        return [status.state for status in self.told]

    def tear_down(self) -> None:
        for source, feed in self.opened:
            feed.over.set()
            source.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    if made.gate is not None:
        made.gate.set()
    made.tear_down()
    eventually(lambda: not live_threads())


@pytest.fixture
def shot() -> Callable[..., Shot]:
    """Make a step of a script: shot(value, stamp_us=..., after=..., shape=...)."""

    def make(
        value: int,
        stamp_us: int | None = None,
        after: threading.Event | None = None,
        shape: tuple[int, ...] = (4, 6, 3),
    ) -> Shot:
        return Shot(picture(value, *shape), stamp_us, after)

    return make


@pytest.fixture
def scripted() -> type[ScriptedFeed]:
    return ScriptedFeed


@pytest.fixture(name="eventually")
def eventually_() -> Callable[[Callable[[], Any]], None]:
    return eventually


@pytest.fixture(name="live_threads")
def live_threads_() -> Callable[[], list[threading.Thread]]:
    return live_threads


def eventually(true: Callable[[], Any]) -> None:
    """Wait until something is true; fail when it never is."""
    until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.002)


def live_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(("onlooker-live", "onlooker-read"))]


class RtspServer:
    """Run gst_rtsp_server.py; the same port every time it is started."""

    def __init__(self, *words: str) -> None:
        self.words, self.port = words, 0
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        command = [PYTHON, str(HERE / "gst_rtsp_server.py"), str(CLIP), "--port", str(self.port), *self.words]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("port "), line
        self.port = int(line.split()[1])

    def stop(self) -> None:
        """Kill it: its connections break off, as when a camera loses power."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def url(self, user: str = "", path: str = "theatre") -> str:
        return f"rtsp://{user}127.0.0.1:{self.port}/{path}"


NEEDED = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
missing = [name for name in ("filesrc", "qtdemux", "h264parse", "rtph264pay") if Gst.ElementFactory.find(name) is None]
assert not missing, missing
"""


@pytest.fixture(scope="session")
def rtsp_servers() -> None:
    """Skip where no server can run; fail there if ONLOOKER_REQUIRE says that it must."""
    problem = ""
    if not sys.platform.startswith("linux") or shutil.which(PYTHON) is None:
        problem = f"there is no {PYTHON}"
    else:
        done = subprocess.run([PYTHON, "-c", NEEDED], capture_output=True, text=True, check=False, timeout=300)
        if done.returncode != 0:
            problem = (done.stderr.strip().splitlines() or ["it failed"])[-1]
    if problem and "rtsp" in os.environ.get("ONLOOKER_REQUIRE", "").split(","):
        pytest.fail(f"GStreamer's RTSP server cannot run: {problem}")
    if problem:
        pytest.skip(f"GStreamer's RTSP server cannot run: {problem}")


@pytest.fixture
def rtsp_server(rtsp_servers: None) -> Iterator[Callable[..., RtspServer]]:
    """Start RTSP servers; none is left behind."""
    started: list[RtspServer] = []

    def start(*words: str) -> RtspServer:
        started.append(RtspServer(*words))
        return started[-1]

    yield start
    for server in started:
        server.stop()
