"""The live run: a server of its own process under many cameras and many questions, and what that costs it."""

import asyncio
import os
import re
import secrets
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from ..errors import OnlookerError, SettingsError
from ..theatre.show import Show
from .live_load import ACT_S, LiveLoad
from .tally import aligned, size

START_S = 120.0
STOP_S = 60.0
DECLARED = 10
"""How many of the cameras are the server's own; the others are pushed over websockets."""


@dataclass(frozen=True, slots=True)
class LivePlan:
    """Say what is run.  cameras: at a frame a second each, DECLARED of them the server's own.  clients: that ask.

    Raises SettingsError for a value outside its limits.
    """

    minutes: float = 10.0
    cameras: int = 50
    clients: int = 10
    model: str = "pocket"

    def __post_init__(self) -> None:
        if not 0.1 <= self.minutes <= ACT_S / 60 or not 1 <= self.cameras <= 1000 or not 0 <= self.clients <= 1000:
            raise SettingsError(
                f"give 0.1 to {ACT_S / 60:g} minutes, 1 to 1000 cameras and 0 to 1000 clients, not {self}"
            )


@dataclass(frozen=True, slots=True)
class LiveMark:
    """Hold figures at one moment.  after_s: since the load began.  answered: since the mark before.

    resident_bytes: of the server's process.  memory_bytes: as its memories count themselves.
    """

    after_s: float
    resident_bytes: int
    memory_bytes: int
    frames: int
    taken: int
    dropped: int
    answered: int
    first_ms: float
    first_p95_ms: float


@dataclass(frozen=True, slots=True)
class LiveReport:
    """Hold a live run.  lost: questions that never got an answer.  broken: connections that the server ended."""

    plan: LivePlan
    marks: tuple[LiveMark, ...]
    sent: int
    frames: Mapping[str, int]
    asked: int
    answered: int
    failed: Mapping[str, int]
    lost: int
    right: float
    broken: int
    first_ms: tuple[float, float, float]
    whole_ms: tuple[float, float, float]
    clean_exit: bool
    sessions_left: int

    def as_json(self) -> dict[str, object]:
        """Give its JSON form."""
        return asdict(self)


@dataclass(slots=True)
class Server:
    """Hold a running server: its process, address and token, and the last lines that it wrote."""

    process: "subprocess.Popen[str]"
    address: str
    token: str
    lines: "deque[str]" = field(default_factory=lambda: deque(maxlen=40))

    def metrics(self) -> dict[str, float]:
        """Read its figures: sums over all labels, and one for each set of labels."""
        request = Request(f"http://{self.address}/metrics", headers={"Authorization": f"Bearer {self.token}"})
        with urlopen(request, timeout=20.0) as reply:
            text = reply.read().decode()
        found: dict[str, float] = {}
        for line in text.splitlines():
            match = re.match(r"([a-zA-Z_:]+)(\{[^}]*\})? (\S+)$", line)
            if match:
                name, labels, value = match.groups()
                found[name] = found.get(name, 0.0) + float(value)
                if labels:
                    found[name + labels] = float(value)
        return found

    @property
    def resident_bytes(self) -> int:
        """Memory that its process has in RAM; 0 where the system does not say."""
        try:
            pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(plan: LivePlan, shows: Mapping[str, Show]) -> Iterator[Server]:
    """Run a server while the block lasts.  Raises OnlookerError where it does not come up."""
    token = secrets.token_urlsafe(16)
    command = [sys.executable, "-m", "onlooker", "serve", "--port", "0", "--model", plan.model, "--fps", "1"]
    command += ["--max-sessions", str(plan.cameras + 8)]
    for name, show in shows.items():
        command += ["--source", f"{name}=theatre:{show.seed}"]
    environment = {**os.environ, "ONLOOKER_TOKEN": token}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    server = Server(process, "", token)
    found = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            server.lines.append(line.rstrip())
            match = re.search(r"http://(127\.0\.0\.1:\d+)", line)
            if match and not server.address:
                server.address = match.group(1)
                found.set()
        found.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        end = time.monotonic() + START_S
        while not (found.wait(1.0) and server.address and _ready(server.address)):
            if process.poll() is not None or time.monotonic() > end:
                raise OnlookerError("the server did not come up; it said: " + " | ".join(server.lines))
            time.sleep(0.2)
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(5.0)
        if process.stderr is not None:
            process.stderr.close()


def run_live(plan: LivePlan, on_mark: Callable[[LiveMark], None] | None = None) -> LiveReport:
    """Run cameras and clients against a server, and count."""
    own = min(DECLARED, plan.cameras)
    shows = {f"camera{number}": Show(number, ACT_S) for number in range(own)}
    began = time.monotonic()
    with serving(plan, shows) as server:
        load = LiveLoad(f"ws://{server.address}/v1/realtime", server.token, shows, began)
        marks: list[LiveMark] = []
        every_s = max(5.0, plan.minutes * 60.0 / 10.0)

        def look(after_s: float) -> None:
            if after_s >= len(marks) * every_s:
                marks.append(_mark(server, load, after_s, sum(mark.answered for mark in marks)))
                if on_mark is not None:
                    on_mark(marks[-1])

        asyncio.run(load.run(plan.minutes * 60.0, plan.cameras - own, plan.clients, look))
        marks.append(_mark(server, load, plan.minutes * 60.0, sum(mark.answered for mark in marks)))
        time.sleep(2.0)
        last = server.metrics()
    tally = load.tally
    return LiveReport(
        plan=plan,
        marks=tuple(marks),
        sent=tally.sent,
        frames={name: round(value) for name, value in sorted(last.items()) if name.startswith("onlooker_frames")},
        asked=tally.asked,
        answered=tally.answered,
        failed=dict(tally.failed),
        lost=tally.lost,
        right=tally.right / max(tally.judged, 1),
        broken=tally.broken,
        first_ms=_spread(tally.first_ms),
        whole_ms=_spread(tally.whole_ms),
        clean_exit=server.process.returncode == 0,
        sessions_left=round(last.get("onlooker_sessions_own", 0.0)),
    )


def live_table(report: LiveReport) -> str:
    """Lay a live run out as text."""
    plan, own = report.plan, min(DECLARED, report.plan.cameras)
    rows = [["after", "resident", "memories", "frames", "taken in", "dropped", "answers", "first token", "p95"]]
    rows += [
        [
            f"{mark.after_s / 60.0:.1f} min",
            size(mark.resident_bytes),
            size(mark.memory_bytes),
            f"{mark.frames:,}",
            f"{mark.taken:,}",
            f"{mark.dropped:,}",
            f"{mark.answered:,}",
            f"{mark.first_ms:.0f} ms",
            f"{mark.first_p95_ms:.0f} ms",
        ]
        for mark in report.marks
    ]
    failed = ", ".join(f"{count} {code}" for code, count in sorted(report.failed.items())) or "none"
    p50, p95, worst = report.first_ms
    whole50, whole95, whole_worst = report.whole_ms
    head = (
        f"{plan.model}: {plan.cameras} cameras at 1 frame/s ({own} of the server's own, {plan.cameras - own} pushed "
        f"over websockets), {plan.clients} clients that ask, {plan.minutes:g} minutes."
    )
    questions = (
        f"Questions: {report.asked:,} asked, {report.answered:,} answered ({report.right:.2f} rightly), "
        f"failed: {failed}, lost: {report.lost}."
    )
    times = (
        f"First token: {p50:.0f} ms median, {p95:.0f} ms p95, {worst:.0f} ms worst; whole answers: "
        f"{whole50:.0f}, {whole95:.0f}, {whole_worst:.0f} ms."
    )
    end = f"Connections that broke: {report.broken}. The server ended {'cleanly' if report.clean_exit else 'badly'}."
    return "\n".join([head, "", aligned(rows), "", questions, times, end])


def _mark(server: Server, load: LiveLoad, after_s: float, before: int) -> LiveMark:
    figures, tally = server.metrics(), load.tally
    new = tally.first_ms[before:]
    spread = _spread(new)
    return LiveMark(
        after_s=after_s,
        resident_bytes=server.resident_bytes,
        memory_bytes=round(figures.get("onlooker_memory_bytes", 0.0)),
        frames=round(figures.get("onlooker_frames_received_total", 0.0)),
        taken=round(figures.get("onlooker_frames_taken_total", 0.0)),
        dropped=round(figures.get("onlooker_frames_dropped_total", 0.0)),
        answered=len(new),
        first_ms=spread[0],
        first_p95_ms=spread[1],
    )


def _spread(values: list[float]) -> tuple[float, float, float]:
    """Give the median, the 95th percentile and the worst."""
    if not values:
        return 0.0, 0.0, 0.0
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], ordered[-1]


def _ready(address: str) -> bool:
    try:
        with urlopen(f"http://{address}/health/ready", timeout=2.0) as reply:
            return bool(reply.status == 200)
    except (URLError, OSError):
        return False
