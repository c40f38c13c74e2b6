"""Standing questions on the sprite theatre: which appearances are told, how soon, and what watching costs."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from ..errors import SettingsError
from ..frame import Frame
from ..models.backbone import Backbone
from ..settings import Settings
from ..stream.session import Session
from ..stream.standing.condition import Manner
from ..stream.standing.watcher import Fired, Watcher, WatcherReport
from ..theatre.show import SLOT_US, Show

SEEDS_PER_RUN = 1000
FORMS = ("{}", "a {}", "the {}", "a {} appears", "there is a {}", "is there a {}?", "can you see a {}?")
PLAIN = FORMS[5]
COSTS = (1, 4, 16)
RUNS = 2

Told = Callable[[str], None]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class StandingPlan:
    """Say what is measured.

    seed: chooses the streams; different seeds share none.  minutes: length of each stream.  fps: frames a second fed.
    planted, common, absent: conditions on things that come once, that come and go, and that never come.
    cost_s: length of the stream that costs are measured on.
    Raises SettingsError for a value outside its limits.
    """

    seed: int = 0
    streams: int = 4
    minutes: float = 4.0
    fps: float = 2.0
    planted: int = 10
    common: int = 2
    absent: int = 2
    cost_s: float = 96.0

    def __post_init__(self) -> None:
        if not 1 <= self.streams <= SEEDS_PER_RUN or self.seed < 0:
            raise SettingsError(f"give a seed of 0 or more and 1 to {SEEDS_PER_RUN} streams, not {self}")
        if not 0.3 <= self.minutes <= 10_000 or not 0.1 <= self.fps <= 60 or not 16.0 <= self.cost_s <= 36_000:
            raise SettingsError(f"give at least 0.3 minutes, 0.1 to 60 fps and 16 s of cost_s, not {self}")

    def shows(self) -> Iterator[Show]:
        """List the streams."""
        for number in range(self.streams):
            yield Show(self.seed * SEEDS_PER_RUN + number, self.minutes * 60.0)


@dataclass(frozen=True, slots=True)
class Tally:
    """Count alerts against what was on the stage.

    right: alerts while the thing was there, repeats among them (a second one for one appearance).  alerts: all.
    planted, common: (told, all) appearances of things that come once, and of those that come and go.  delays_us: from
    an appearance's first moment to the keyframe of its first alert.  compute_ms: from a frame's arrival to its alert.
    """

    alerts: int = 0
    right: int = 0
    repeats: int = 0
    planted: tuple[int, int] = (0, 0)
    common: tuple[int, int] = (0, 0)
    delays_us: tuple[int, ...] = ()
    compute_ms: tuple[float, ...] = ()

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.alerts + other.alerts,
            self.right + other.right,
            self.repeats + other.repeats,
            (self.planted[0] + other.planted[0], self.planted[1] + other.planted[1]),
            (self.common[0] + other.common[0], self.common[1] + other.common[1]),
            self.delays_us + other.delays_us,
            self.compute_ms + other.compute_ms,
        )

    @property
    def precision(self) -> float | None:
        """Share of the alerts that came while the thing was there; None without alerts."""
        return self.right / self.alerts if self.alerts else None


@dataclass(frozen=True, slots=True)
class Watched:
    """Hold what one way of watching told.  work: its looks and passes.  stream_s: stream time watched."""

    name: str
    tally: Tally
    work: WatcherReport
    stream_s: float

    def __add__(self, other: "Watched") -> "Watched":
        mine, yours = asdict(self.work), asdict(other.work)
        work = WatcherReport(**{name: mine[name] + yours[name] for name in mine})
        return Watched(self.name, self.tally + other.tally, work, self.stream_s + other.stream_s)


@dataclass(frozen=True, slots=True)
class Cost:
    """Hold how fast a stream was taken in while so many conditions were watched: the best of several runs."""

    name: str
    conditions: int
    frames_per_s: float
    checks: int
    asked: int


@dataclass(frozen=True, slots=True)
class StandingReport:
    """Hold all that was measured.  ways: with and without a glance.  forms: by the condition's wording."""

    plan: StandingPlan
    manner: Manner
    ways: tuple[Watched, ...]
    forms: tuple[Watched, ...]
    costs: tuple[Cost, ...] = field(default=())

    def to_dict(self) -> dict[str, object]:
        """Give what --json writes."""
        return asdict(self)


def run_standing(
    backbone: Backbone, plan: StandingPlan, settings: Settings | None = None, told: Told = lambda _: None
) -> StandingReport:
    """Watch theatre streams and count.  told: gets lines of progress.  Raises SettingsError, ModelError."""
    settings, manner = settings or Settings(), Manner.of(backbone.card)
    ways = _ways(manner)
    by_way: dict[str, Watched] = {}
    by_form: dict[str, Watched] = {}
    for number, show in enumerate(plan.shows()):
        things = things_of(show, plan)
        frames = list(show.frames(plan.fps))
        for name, way in ways.items():
            told(f"stream {number + 1} of {plan.streams}: {name}")
            found = watch(backbone, show, frames, [(thing, PLAIN) for thing in things], way, settings)
            by_way[name] = _joined(by_way.get(name), replace(found[PLAIN], name=name))
        told(f"stream {number + 1} of {plan.streams}: wordings")
        asked = [(thing, form) for thing in things for form in FORMS]
        for form, one in watch(backbone, show, frames, asked, manner, settings).items():
            by_form[form] = _joined(by_form.get(form), one)
    costs = measure_costs(backbone, plan, settings, told)
    return StandingReport(plan, manner, tuple(by_way.values()), tuple(by_form.values()), costs)


def things_of(show: Show, plan: StandingPlan) -> tuple[str, ...]:
    """Choose a show's conditions: planted things in the order in which they come, common ones, absent ones."""
    planted = [sprites[0] for _, (_, sprites) in sorted(show.planted.items())]
    spread = np.linspace(0, len(planted) - 1, min(plan.planted, len(planted))).astype(int)
    chosen = [planted[place] for place in dict.fromkeys(spread.tolist())]
    return (*chosen, *show.roles[0][: plan.common], *show.roles[1][: plan.absent])


def appearances(show: Show, thing: str) -> list[Span]:
    """List the stretches in which a thing is on the stage; scenes that follow each other are one stretch."""
    found: list[Span] = []
    for number in range(-(-show.end_us // SLOT_US)):
        for scene in show.slot(number):
            if scene.start_us >= show.end_us or thing not in {actor.sprite for actor in scene.actors}:
                continue
            if found and found[-1][1] == scene.start_us:
                found[-1] = (found[-1][0], min(scene.end_us, show.end_us))
            else:
                found.append((scene.start_us, min(scene.end_us, show.end_us)))
    return found


def watch(
    backbone: Backbone,
    show: Show,
    frames: Sequence[Frame],
    asked: Sequence[tuple[str, str]],
    manner: Manner,
    settings: Settings,
) -> dict[str, Watched]:
    """Watch a stream for (thing, form) pairs without a cool-down; give what came of it by form."""
    alerts: dict[tuple[str, str], list[tuple[int, float]]] = {pair: [] for pair in asked}
    with Session(backbone, settings) as session:
        watcher = Watcher(session, most=len(asked), manner=manner)
        for number, (thing, form) in enumerate(asked):
            watcher.add(str(number), form.format(thing), cooldown_us=0)
        for frame in frames:
            came = time.perf_counter()
            session.see(frame)
            before_ms = (time.perf_counter() - came) * 1e3
            for event in watcher.check():
                if isinstance(event, Fired):
                    alerts[asked[int(event.watch_id)]].append((event.time_us, before_ms + event.took_ms))
        work = watcher.report
    once = {sprite for _, sprites in show.planted.values() for sprite in sprites}
    found = {form: Watched(form, Tally(), work, show.length_s) for _, form in asked}
    for (thing, form), told in alerts.items():
        one = count(appearances(show, thing), told, thing in once)
        found[form] = replace(found[form], tally=found[form].tally + one)
    return found


def count(spans: Sequence[Span], alerts: Iterable[tuple[int, float]], planted: bool) -> Tally:
    """Count one condition's alerts, (time_us, compute_ms), against the stretches in which it was true."""
    total = right = repeats = 0
    first: dict[Span, tuple[int, float]] = {}
    for time_us, compute_ms in alerts:
        total += 1
        span = next((span for span in spans if span[0] <= time_us < span[1]), None)
        if span is None:
            continue
        right += 1
        if span in first:
            repeats += 1
        else:
            first[span] = (time_us - span[0], compute_ms)
    told = (len(first), len(spans))
    return Tally(
        total,
        right,
        repeats,
        told if planted else (0, 0),
        (0, 0) if planted else told,
        tuple(delay for delay, _ in first.values()),
        tuple(ms for _, ms in first.values()),
    )


def measure_costs(backbone: Backbone, plan: StandingPlan, settings: Settings, told: Told) -> tuple[Cost, ...]:
    """Time one stream's ingest alone and with conditions, in turn and several times; keep the best of each."""
    show = Show(plan.seed * SEEDS_PER_RUN + plan.streams, max(plan.cost_s, 16.0))
    frames, things = list(show.frames(plan.fps)), _many(show)
    ways = _ways(Manner.of(backbone.card))
    best: dict[tuple[str, int], Cost] = {}
    for run in range(RUNS):
        told(f"costs, run {run + 1} of {RUNS}")
        for name, way, conditions in [("ingest alone", None, 0), *((n, w, c) for n, w in ways.items() for c in COSTS)]:
            with Session(backbone, settings) as session:
                watcher = Watcher(session, most=max(COSTS), manner=way)
                for number, thing in enumerate(things[:conditions]):
                    watcher.add(str(number), PLAIN.format(thing))
                began = time.perf_counter()
                for frame in frames:
                    session.see(frame)
                    watcher.check()
                rate = len(frames) / (time.perf_counter() - began)
                cost = Cost(name, conditions, rate, watcher.report.checks, watcher.report.asked)
            held = best.get((name, conditions))
            if held is None or rate > held.frames_per_s:
                best[name, conditions] = cost
    return tuple(best.values())


def report_text(report: StandingReport) -> str:
    """Write the tables."""
    head = [
        "", "precision", "repeats", "planted told", "others told", "delay s, median / p95",
        "alert after frame, ms, median / p95", "checks a minute", "asked of the model",
    ]  # fmt: skip
    forms = [["condition", *head[1:6]], *([f"`{one.name.format('x')}`", *_row(one)[1:6]] for one in report.forms)]
    alone = next((cost.frames_per_s for cost in report.costs if not cost.conditions), 0.0)
    costs = [["", "conditions", "frames/s", "of ingest alone", "checks", "asked of the model"]]
    for cost in report.costs:
        share = f"{cost.frames_per_s / alone:.2f}" if alone else "-"
        asked = f"{cost.asked} of {cost.checks * cost.conditions}"
        costs.append([cost.name, str(cost.conditions), f"{cost.frames_per_s:.1f}", share, str(cost.checks), asked])
    return "\n\n".join(
        [
            _table([head, *(_row(one) for one in report.ways)]),
            "By the condition's wording:",
            _table(forms),
            "Cost:",
            _table(costs),
        ]
    )


def _row(one: Watched) -> list[str]:
    tally, work = one.tally, one.work
    minutes = one.stream_s / 60.0
    return [
        one.name,
        "-" if tally.precision is None else f"{tally.precision:.3f} ({tally.right} of {tally.alerts})",
        str(tally.repeats),
        _share(tally.planted),
        _share(tally.common),
        _spread([delay / 1e6 for delay in tally.delays_us], 2),
        _spread(tally.compute_ms, 0),
        f"{work.checks / minutes:.1f}",
        f"{work.asked / max(1, work.asked + work.glanced):.3f}",
    ]


def _ways(manner: Manner) -> dict[str, Manner]:
    """Name the ways to watch: with the card's glance, where it has one, and without."""
    without = {"every condition asked": replace(manner, glance=None)}
    return without if manner.glance is None else {"glance first": manner, **without}


def _many(show: Show) -> list[str]:
    """List things to time conditions with: common and planted ones in turn."""
    planted = [sprites[0] for _, (_, sprites) in sorted(show.planted.items())]
    return [*planted[: max(COSTS) // 2], *show.roles[0]][: max(COSTS)]


def _joined(held: Watched | None, more: Watched) -> Watched:
    return more if held is None else held + more


def _share(told: tuple[int, int]) -> str:
    return f"{told[0] / told[1]:.3f} ({told[0]} of {told[1]})" if told[1] else "-"


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    median, most = np.quantile(values, (0.5, 0.95))
    return f"{median:.{digits}f} / {most:.{digits}f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], f"| {' | '.join('---' for _ in rows[0])} |", *lines[1:]])
