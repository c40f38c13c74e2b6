"""The robot benchmark: what see() costs a control loop of 30 Hz while questions are asked without a pause."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..model import Model
from ..models.backbone import Sampling
from ..stream.answering import AnswerStream
from ..stream.engine.engine import Engine
from ..stream.engine.inquiry import Inquiry
from ..stream.engine.settings import EngineSettings
from ..theatre.show import Show
from .tally import aligned

ROBOT = 0xB07  # namespace of the stream: no answers are judged here
PICTURES = 24  # made before, and pushed again and again: a camera costs the loop nothing here
PICTURES_FPS = 0.5  # so that most of them show something new, as what a robot sees while it moves
WARM_UP_S = 2.0
QUESTIONS = ("what is on the screen now?", "what was next to the boat?", "when did you see the snowman?")

Way = Literal["engine", "lent", "direct"]
"""engine: the engine's see().  lent: the same with copy=False, for arrays that nobody writes to any more.  direct:
Session.see()."""

NAMES: dict[Way, str] = {"engine": "the engine", "lent": "  copy=False", "direct": "Session"}
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RobotPlan:
    """Say what is measured.

    seconds: of each run.  sizes: widths and heights of pictures.  rate: of the loop, in Hz.  askers: threads that ask
    without a pause.  direct: whether Session.see(), which waits for the model, is measured too.
    Raises SettingsError for a value outside its limits.
    """

    seconds: float = 20.0
    sizes: tuple[tuple[int, int], ...] = ((640, 480), (1920, 1080))
    rate: float = 30.0
    askers: int = 2
    direct: bool = True

    def __post_init__(self) -> None:
        if not 0.1 <= self.seconds <= 36_000 or not 0.1 <= self.rate <= 1000 or not 0 <= self.askers <= 8:
            raise SettingsError(f"give 0.1 to 36000 seconds, 0.1 to 1000 Hz and 0 to 8 askers, not {self}")
        if not self.sizes or not all(16 <= side <= 8192 for size in self.sizes for side in size):
            raise SettingsError(f"sizes are {self.sizes}; give widths and heights from 16 to 8192")


@dataclass(frozen=True, slots=True)
class LoopFigures:
    """Hold what a loop saw.

    see_ms: p50, p95, p99 and the longest call of see().  late_ms: how much later than planned a tick began, p50, p99
    and longest.  skipped: ticks whose time had passed when the one before was done.  taken, dropped: frames that the
    model looked at, and those that a newer one replaced.  asked: questions answered.  first_token_ms: from asking to
    the first piece of the answer, p50 and p95; None without answers.
    """

    way: Way
    size: tuple[int, int]
    ticks: int
    see_ms: tuple[float, float, float, float]
    late_ms: tuple[float, float, float]
    skipped: int
    taken: int
    dropped: int
    asked: int
    first_token_ms: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class RobotReport:
    """Hold a run."""

    model: str
    device: str
    plan: RobotPlan
    loops: tuple[LoopFigures, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        return asdict(self)


@dataclass(slots=True)
class _Ticks:
    """Collect what a loop measures, in seconds."""

    see_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    skipped: int = 0


def run_robot(model: Model, plan: RobotPlan, told: Told = lambda line: None) -> RobotReport:
    """Run the loop through the engine, and directly, with each size of picture."""
    loops: list[LoopFigures] = []
    for size in plan.sizes:
        pictures = pictures_of(size)
        ways: tuple[Way, ...] = ("engine", "lent", "direct") if plan.direct else ("engine", "lent")
        for way in ways:
            told(f"{size[0]} x {size[1]}: see() of {NAMES[way].strip()}, {plan.seconds:g} s")
            run = _direct if way == "direct" else partial(_through_engine, copy=way == "engine")
            loops.append(run(model, plan, size, pictures))
    return RobotReport(model.name, str(model.backbone.device), plan, tuple(loops))


def pictures_of(size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Draw the pictures that are pushed, uint8 [H, W, 3]."""
    show = Show(0, PICTURES / PICTURES_FPS, namespace=ROBOT)
    frames = [frame.image for frame in show.frames(PICTURES_FPS)][:PICTURES]
    return [np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8) for image in frames]


def _through_engine(
    model: Model, plan: RobotPlan, size: tuple[int, int], pictures: Sequence[NDArray[np.uint8]], copy: bool
) -> LoopFigures:
    with Engine(model, EngineSettings(deadline_s=600.0)) as engine, engine.session() as session:

        def ask(question: str) -> Inquiry:
            return session.submit(question, sampling=Sampling(max_tokens=16))

        def count() -> tuple[int, int]:
            stats = session.stats
            return stats.taken, sum(stats.dropped.values())

        see = partial(session.see, copy=copy)
        return _run("engine" if copy else "lent", plan, size, pictures, see, ask, count)


def _direct(model: Model, plan: RobotPlan, size: tuple[int, int], pictures: Sequence[NDArray[np.uint8]]) -> LoopFigures:
    with model.session() as session:

        def ask(question: str) -> AnswerStream:
            return session.ask_stream(question, sampling=Sampling(max_tokens=16))

        return _run("direct", plan, size, pictures, session.see, ask, lambda: (session.report.frames, 0))


def _run(
    way: Way,
    plan: RobotPlan,
    size: tuple[int, int],
    pictures: Sequence[NDArray[np.uint8]],
    see: Callable[[NDArray[np.uint8]], object],
    ask: Callable[[str], Inquiry | AnswerStream],
    count: Callable[[], tuple[int, int]],
) -> LoopFigures:
    """Push pictures at the plan's rate while others ask; a while of it goes before what is measured."""
    firsts: list[float] = []
    measuring, over = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def keep_asking(number: int) -> None:
        try:
            while not over.is_set():
                began = time.perf_counter()
                answer = iter(ask(QUESTIONS[number % len(QUESTIONS)]))
                next(answer, None)
                first_s = time.perf_counter() - began
                for _ in answer:
                    pass
                if measuring.is_set() and not over.is_set():
                    firsts.append(first_s)
                number += 1
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for the thread
            failures.append(error)

    askers = [threading.Thread(target=keep_asking, args=(number,), daemon=True) for number in range(plan.askers)]
    for thread in askers:
        thread.start()
    try:
        _loop(min(WARM_UP_S, plan.seconds), plan.rate, pictures, see)
        measuring.set()
        before = count()
        ticks = _loop(plan.seconds, plan.rate, pictures, see)
        taken, dropped = (now - then for now, then in zip(count(), before, strict=True))
    finally:
        over.set()
        for thread in askers:
            thread.join()
    if failures:
        raise failures[0]
    return _figures(way, size, ticks, firsts, taken, dropped)


def _loop(
    seconds: float,
    rate: float,
    pictures: Sequence[NDArray[np.uint8]],
    see: Callable[[NDArray[np.uint8]], object],
) -> _Ticks:
    """Tick at a rate; a tick whose time has passed is left out, as a control loop would."""
    ticks = _Ticks()
    began, number = time.perf_counter(), 0
    while number < seconds * rate:
        due = began + number / rate
        if (early := due - time.perf_counter()) > 0:
            time.sleep(early)
        picture = pictures[number * 2 // round(max(rate, 2.0)) % len(pictures)]  # another one each half second
        started = time.perf_counter()
        see(picture)
        ended = time.perf_counter()
        ticks.late_s.append(started - due)
        ticks.see_s.append(ended - started)
        following = max(number + 1, int((ended - began) * rate))
        ticks.skipped += following - number - 1
        number = following
    return ticks


def _figures(
    way: Way, size: tuple[int, int], ticks: _Ticks, firsts: Sequence[float], taken: int, dropped: int
) -> LoopFigures:
    see, late = sorted(ticks.see_s), sorted(ticks.late_s)
    return LoopFigures(
        way,
        size,
        len(see),
        (quantile(see, 0.5) * 1e3, quantile(see, 0.95) * 1e3, quantile(see, 0.99) * 1e3, see[-1] * 1e3),
        (quantile(late, 0.5) * 1e3, quantile(late, 0.99) * 1e3, late[-1] * 1e3),
        ticks.skipped,
        taken,
        dropped,
        len(firsts),
        (quantile(sorted(firsts), 0.5) * 1e3, quantile(sorted(firsts), 0.95) * 1e3) if firsts else None,
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give the value below or at which so large a share lies (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def report_text(report: RobotReport) -> str:
    """Write the table."""
    plan = report.plan
    rows = [
        [
            "size",
            "see() of",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "max ms",
            "late p99",
            "late max",
            "skipped",
            "taken",
            "dropped",
            "answers",
            "first token p50",
            "p95",
        ]
    ]
    for loop in report.loops:
        rows.append(
            [
                f"{loop.size[0]}x{loop.size[1]}",
                NAMES[loop.way],
                *(f"{value:.2f}" for value in loop.see_ms),
                *(f"{value:.2f}" for value in loop.late_ms[1:]),
                f"{loop.skipped} of {loop.ticks + loop.skipped}",
                str(loop.taken),
                str(loop.dropped),
                str(loop.asked),
                *(f"{value:.0f} ms" for value in loop.first_token_ms or ()),
                *([] if loop.first_token_ms else ["-", "-"]),
            ]
        )
    return (
        f"see() in a loop of {plan.rate:g} Hz while {plan.askers} threads ask: {report.model} on {report.device}, "
        f"{plan.seconds:g} s each.\n\n{aligned(rows)}"
    )
