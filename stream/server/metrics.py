"""What /metrics shows: the server's own counts, the engine's, and the sources'.  No label comes from a client."""

import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..engine.stats import EngineReport
from ..live.status import SourceStatus
from ..protocol.errors import ERRORS
from . import exposition
from .exposition import Family, Histogram, by, single

AGE_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ANSWER_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


_CLOSE_CODES = frozenset((*range(1000, 1016), *(error.close for error in ERRORS.values())))


def _histogram(name: str, words: str, bounds: tuple[float, ...]) -> Histogram:
    return Histogram(f"onlooker_{name}", words, bounds)


@dataclass(slots=True)
class ServerMetrics:
    """Count what happens on the event loop's thread.

    dropped: pictures that never reached a session, by reason; the engine counts those that did.
    """

    pictures: int = 0
    picture_bytes: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    sockets: int = 0
    sockets_opened: int = 0
    closes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    frame_age: Histogram = field(
        default_factory=lambda: _histogram(
            "frame_age_seconds", "Age of the newest frame taken in, of every live session, once a second.", AGE_BOUNDS_S
        )
    )
    first_token: Histogram = field(
        default_factory=lambda: _histogram(
            "first_token_seconds", "From a question's arrival to the first piece of its answer.", ANSWER_BOUNDS_S
        )
    )
    answer: Histogram = field(
        default_factory=lambda: _histogram(
            "answer_seconds", "From a question's arrival to the end of its answer.", ANSWER_BOUNDS_S
        )
    )

    def count_close(self, code: int | None) -> None:
        """Count a socket's end by its close code; codes that mean nothing here, which a client may choose, as other."""
        known = 1006 if code is None else code
        self.closes[str(known) if known in _CLOSE_CODES else "other"] += 1


@dataclass(frozen=True, slots=True)
class Gauges:
    """Hold what is read at the moment of the scrape.

    memory_bytes, disk_bytes: of all sessions' memories.  resident_bytes: of this process, 0 where it is not known.
    """

    own_sessions: int
    shared_sessions: int
    memory_bytes: int
    disk_bytes: int
    flight_bytes: int
    image_bytes: int
    refused: int
    ready: bool
    resident_bytes: int = 0


def page(
    counted: ServerMetrics,
    engine: EngineReport,
    gauges: Gauges,
    sources: Mapping[str, SourceStatus],
    version: str,
    model: str,
) -> bytes:
    """Write the page.  sources: by the names that the operator gave them."""
    return exposition.render(_parts(counted, engine, gauges, sources, version, model))


def _parts(
    counted: ServerMetrics,
    engine: EngineReport,
    gauges: Gauges,
    sources: Mapping[str, SourceStatus],
    version: str,
    model: str,
) -> Iterable[Family | Histogram]:
    dropped = Counter(counted.dropped) + Counter(dict(engine.dropped))
    never = sum(counted.dropped.values())
    yield Family(
        "onlooker_build_info",
        "gauge",
        "Version of Onlooker and of Python, and the model, as labels.",
        {(("version", version), ("python", platform.python_version()), ("model", model)): 1},
    )
    yield single("onlooker_ready", "gauge", "Whether questions can be answered.", gauges.ready)
    yield single("onlooker_sessions_own", "gauge", "Sessions of clients that push frames.", gauges.own_sessions)
    yield single("onlooker_sessions_shared", "gauge", "Clients' sessions at a source.", gauges.shared_sessions)
    yield single("onlooker_sessions_opened_total", "counter", "Engine sessions made.", engine.sessions_opened)
    yield single("onlooker_sessions_resumed_total", "counter", "Sessions that a client came back to.", counted.resumed)
    yield single("onlooker_sockets", "gauge", "Websockets open.", counted.sockets)
    yield single("onlooker_sockets_opened_total", "counter", "Websockets opened.", counted.sockets_opened)
    yield by("onlooker_sockets_closed_total", "counter", "Websockets closed, by close code.", "code", counted.closes)
    yield by("onlooker_errors_total", "counter", "Error events sent, by code.", "code", counted.errors)
    yield single("onlooker_auth_refused_total", "counter", "Requests without the right token.", gauges.refused)
    yield single(
        "onlooker_frames_received_total",
        "counter",
        "Frames that came, from clients and from sources.",
        engine.received + never,
    )
    yield single("onlooker_frames_taken_total", "counter", "Frames that a model looked at.", engine.taken)
    yield single("onlooker_frames_kept_total", "counter", "Frames that became keyframes.", engine.kept)
    yield by("onlooker_frames_dropped_total", "counter", "Frames not taken in, by reason.", "reason", dropped)
    yield single(
        "onlooker_picture_bytes_total", "counter", "Bytes of coded pictures from clients.", counted.picture_bytes
    )
    yield single(
        "onlooker_picture_bytes_waiting", "gauge", "Bytes of pictures that are not decoded yet.", gauges.flight_bytes
    )
    yield counted.frame_age
    yield single("onlooker_questions_waiting", "gauge", "Questions waiting or being answered.", engine.questions)
    yield by("onlooker_answers_total", "counter", "Answers that ended, by how.", "ending", engine.answers)
    yield counted.first_token
    yield counted.answer
    yield single("onlooker_watch_checks_total", "counter", "Checks of standing questions.", engine.checks)
    yield single("onlooker_device_busy_seconds_total", "counter", "Time the device's thread worked.", engine.busy_s)
    yield single("onlooker_memory_bytes", "gauge", "Host memory of all sessions' memories.", gauges.memory_bytes)
    yield single("onlooker_memory_disk_bytes", "gauge", "Disk space of all sessions' memories.", gauges.disk_bytes)
    yield single("onlooker_evidence_image_bytes", "gauge", "Evidence pictures kept for clients.", gauges.image_bytes)
    if gauges.resident_bytes:
        yield single("onlooker_resident_bytes", "gauge", "Resident memory of the process.", gauges.resident_bytes)
    up = {name: float(status.state == "live") for name, status in sources.items()}
    yield by("onlooker_source_up", "gauge", "Whether a source is live.", "source", up)
    back = {name: float(status.reconnects) for name, status in sources.items()}
    yield by("onlooker_source_reconnects_total", "counter", "How often a source came back.", "source", back)
    rates = {name: status.fps for name, status in sources.items()}
    yield by("onlooker_source_fps", "gauge", "Frames a second of a source, lately.", "source", rates)
    ages = {name: status.age_us / 1e6 for name, status in sources.items() if status.age_us is not None}
    yield by("onlooker_source_age_seconds", "gauge", "Since a source's newest frame.", "source", ages)
