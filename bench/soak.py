"""The soak: a day of stream through a memory on disk, and what it costs and still knows then."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..errors import SettingsError
from ..models.backbone import Backbone, Sampling
from ..settings import Settings
from ..stream.session import Session
from ..theatre.questions import Question
from ..theatre.show import Show
from .speed import resident_bytes
from .tally import aligned, size

SOAK = 0x50AC  # namespace of the streams
PROBES = 6  # questions whose first token is timed at every mark
HOUR_US = 3_600_000_000
WARM_MARKS = 0.25  # share of the marks that slopes leave out: the allocator and the caches fill at the start


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """Say what is run.  hours: of stream.  fps: frames a second.  marks: how often figures are taken.

    Raises SettingsError for a value outside its limits.
    """

    hours: float = 24.0
    fps: float = 1.0
    marks: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.05 <= self.hours <= 1000.0 or not 0.1 <= self.fps <= 60.0 or not 2 <= self.marks <= 1000:
            raise SettingsError(f"give 0.05 to 1000 hours, 0.1 to 60 fps and 2 to 1000 marks, not {self}")

    @property
    def stages(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The first stretch and the last one, an hour each or a quarter of a shorter stream."""
        end_us = round(self.hours * HOUR_US)
        length_us = min(HOUR_US, end_us // 4)
        return (0, length_us), (end_us - length_us, end_us)

    @property
    def show(self) -> Show:
        """The stream, whose planted events are in the first and the last stretch."""
        return Show(self.seed, self.hours * 3600.0, namespace=SOAK, stages=self.stages)


@dataclass(frozen=True, slots=True)
class Mark:
    """Hold figures at one moment.  frames_per_s: since the mark before.  first_token_ms: median; worst_ms: the worst.

    host_bytes: as the memory counts them.  resident_bytes: of the whole process.  disk_bytes: the folder's files.
    coarse: groups of keyframes that were consolidated.  forgotten: keyframes.
    """

    hours: float
    frames: int
    keyframes: int
    frames_per_s: float
    first_token_ms: float
    worst_ms: float
    host_bytes: int
    resident_bytes: int
    disk_bytes: int
    coarse: int
    forgotten: int


@dataclass(frozen=True, slots=True)
class Knows:
    """Hold how questions about one stretch were answered at the end: right of asked, by kind."""

    stretch: str
    right: dict[str, int]
    asked: dict[str, int]

    @property
    def accuracy(self) -> float:
        """Share that was right."""
        return sum(self.right.values()) / max(1, sum(self.asked.values()))


@dataclass(frozen=True, slots=True)
class SoakReport:
    """Hold a soak's figures.  reopened_s: seconds to open the memory anew at the end."""

    plan: SoakPlan
    settings: Settings
    marks: tuple[Mark, ...]
    knows: tuple[Knows, ...]
    reopened_s: float

    def slope(self, name: str) -> float:
        """Fit a line to a figure over the hours after the warm-up; give its growth a day, as a share of its mean."""
        used = self.marks[int(len(self.marks) * WARM_MARKS) :]
        hours = np.array([mark.hours for mark in used])
        values = np.array([float(getattr(mark, name)) for mark in used])
        if len(used) < 2 or not values.mean():
            return 0.0
        return float(np.polyfit(hours, values, 1)[0] * 24.0 / values.mean())

    def to_dict(self) -> dict[str, object]:
        """Give everything as JSON can hold it."""
        return asdict(self)


def run_soak(
    backbone: Backbone, plan: SoakPlan, settings: Settings, folder: Path, told: Callable[[str], None] = lambda _: None
) -> SoakReport:
    """Stream the show into a memory in a folder; at the end open it anew and ask about its first and last stretch.

    The stretches' questions are those of Show.questions, two about each planted event; they are asked behind the
    stream's end, in another session, as after a restart.
    """
    show = plan.show
    probes = _probes(show)
    with Session(backbone, settings, memory=folder) as session:
        marks = tuple(_watch(session, show, plan, probes, told))
    began = time.perf_counter()
    with Session(backbone, settings, memory=folder, read_only=True) as session:
        reopened_s = time.perf_counter() - began
        told("asking about the first and the last stretch")
        stretches = zip(("first", "last"), plan.stages, strict=True)
        knows = tuple(_ask(session, show, name, stage) for name, stage in stretches)
    return SoakReport(plan, settings, marks, knows, reopened_s)


def report_text(report: SoakReport) -> str:
    """Write the report for people."""
    rows = [
        [
            "after",
            "frames",
            "kept",
            "frames/s",
            "first token",
            "worst",
            "host",
            "resident",
            "disk",
            "aged",
            "forgotten",
        ],
        *(_line(mark) for mark in report.marks),
    ]
    plan = report.plan
    names = {
        "first_token_ms": "time to the first token",
        "host_bytes": "host memory as the memory counts it",
        "resident_bytes": "resident memory of the process",
        "disk_bytes": "disk",
        "frames_per_s": "frames/s",
    }
    slopes = "; ".join(f"{said} {report.slope(name):+.1%}" for name, said in names.items())
    kinds = sorted({kind for knows in report.knows for kind in knows.asked})
    table = [["asked about", "right", *kinds]]
    for knows in report.knows:
        shares = [f"{knows.right.get(kind, 0)}/{knows.asked.get(kind, 0)}" for kind in kinds]
        table.append([f"the {knows.stretch} stretch", f"{knows.accuracy:.2f}", *shares])
    length_min = (plan.stages[0][1] - plan.stages[0][0]) / 60e6
    held = f"{size(report.settings.archive_bytes)} of host memory and {size(report.settings.disk_bytes)} of disk"
    title = f"{plan.hours:g} hours at {plan.fps:g} frames/s, codec {report.settings.codec}, at most {held}."
    grown = f"Growth a day, by a line through all but the first quarter: {slopes}."
    asked = f"Opened anew in {report.reopened_s:.1f} s; then, about the first and the last {length_min:.0f} min:"
    return "\n\n".join((title, aligned(rows), grown, asked, aligned(table)))


def _watch(
    session: Session, show: Show, plan: SoakPlan, probes: Sequence[Question], told: Callable[[str], None]
) -> Iterator[Mark]:
    every_us = show.end_us / plan.marks
    due, frames = 1, 0
    began = time.perf_counter()
    for frame in show.frames(plan.fps):
        while frame.time_us >= due * every_us:
            yield _mark(session, due * every_us, frames, time.perf_counter() - began, probes, told)
            due, frames, began = due + 1, 0, time.perf_counter()
        session.see(frame)
        frames += 1
    yield _mark(session, show.end_us, frames, time.perf_counter() - began, probes, told)


def _mark(
    session: Session,
    now_us: float,
    frames: int,
    seconds: float,
    probes: Sequence[Question],
    told: Callable[[str], None],
) -> Mark:
    times = [
        session.ask(question.text, sampling=Sampling(max_tokens=1)).timings["first_token_ms"] for question in probes
    ]
    seen, held = session.report, session.memory
    mark = Mark(
        hours=now_us / HOUR_US,
        frames=seen.frames,
        keyframes=seen.keyframes,
        frames_per_s=frames / seconds,
        first_token_ms=statistics.median(times),
        worst_ms=max(times),
        host_bytes=held.used_bytes,
        resident_bytes=resident_bytes(),
        disk_bytes=held.disk_bytes,
        coarse=sum(held.levels[1:]),
        forgotten=sum(one.count for one in held.forgotten),
    )
    told(f"{mark.hours:.1f} h of stream, {mark.frames_per_s:.0f} frames/s, {size(mark.disk_bytes)} on disk")
    return mark


def _probes(show: Show) -> list[Question]:
    """Take questions about things that never appear: what is searched for them does not depend on what came when."""
    asked = show.absent_questions()
    return asked[:: max(1, len(asked) // PROBES)][:PROBES]


def _ask(session: Session, show: Show, name: str, stage: tuple[int, int]) -> Knows:
    right: dict[str, int] = {}
    asked: dict[str, int] = {}
    for question in show.questions():
        if question.kind == "order" or not _about(question, stage):
            continue
        asked[question.kind] = asked.get(question.kind, 0) + 1
        answer = session.ask(question.text, sampling=Sampling(max_tokens=16))
        right[question.kind] = right.get(question.kind, 0) + question.accepts(answer.text)
    return Knows(name, right, asked)


def _about(question: Question, stage: tuple[int, int]) -> bool:
    """Say whether a question is about a stretch; those about nothing at all are not."""
    return any(stage[0] <= start < stage[1] for start, _ in question.spans_us)


def _line(mark: Mark) -> list[str]:
    return [
        f"{mark.hours:.1f} h",
        f"{mark.frames:,}",
        f"{mark.keyframes:,}",
        f"{mark.frames_per_s:.0f}",
        f"{mark.first_token_ms:.0f} ms",
        f"{mark.worst_ms:.0f} ms",
        size(mark.host_bytes),
        size(mark.resident_bytes),
        size(mark.disk_bytes),
        str(mark.coarse),
        f"{mark.forgotten:,}",
    ]
