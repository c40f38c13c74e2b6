"""The keyframe benchmark: which planted changes get a keyframe, which cuts are told, and what is kept for nothing."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2

from ..errors import SettingsError
from ..frame import Frame
from .keyframe_clips import CLIPS, FPS, Change, Clip, clip_of, time_of
from .keyframe_detectors import Detector, Found, detectors_of
from .output import write_output
from .tally import aligned, share

LATE_US = 500_000
"""A cut that is told so long after the new scene is there still counts."""


@dataclass(frozen=True, slots=True)
class KeyframePlan:
    """Say what is measured.

    clips, detectors: names, None for all.  seconds: length of each clip.  seeds: how many clips of each kind.
    seed: of the first one.
    Raises SettingsError for a value outside its limits.
    """

    clips: tuple[str, ...] | None = None
    detectors: tuple[str, ...] | None = None
    seconds: float = 24.0
    seeds: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 8.0 <= self.seconds <= 600.0:
            raise SettingsError(f"clips last {self.seconds} s; give 8 to 600")
        if not 1 <= self.seeds <= 100 or self.seed < 0:
            raise SettingsError(f"give 1 to 100 seeds from 0 or later, not {self.seeds} from {self.seed}")
        for name in self.clips or ():
            if name not in CLIPS:
                raise SettingsError(f"there is no clip {name!r}; choose from {', '.join(CLIPS)}")


@dataclass(frozen=True, slots=True)
class KeyframeRow:
    """Hold what one detector made of the clips of one kind.

    changes, found: planted ones, and those with a keyframe between the moment that all of them is there and the next
    change.  keyframes: kept in all.  minutes: of video.  cuts, told, cuts_found: planted cuts, frames said to be cuts,
    and planted ones among them; the first frame counts in none of the three.  ms: processor time of a frame of
    640 x 480 on one core, median.
    """

    detector: str
    clip: str
    changes: int
    found: int
    keyframes: int
    minutes: float
    cuts: int
    told: int
    cuts_found: int
    ms: float

    @property
    def excess(self) -> float:
        """Keyframes a minute beyond one for each change that was found."""
        return (self.keyframes - self.found) / self.minutes


def run_keyframes(plan: KeyframePlan, told: Callable[[str], None] = lambda _: None) -> list[KeyframeRow]:
    """Show every clip to every detector; rows by clip, then by detector.

    Raises InstallationError where a detector's package is missing.
    """
    makers = detectors_of(FPS, plan.detectors)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the time of one core is told, and other threads' would not be counted
    try:
        return _run(plan, makers, told)
    finally:
        cv2.setNumThreads(threads)


def _run(
    plan: KeyframePlan, makers: Mapping[str, Callable[[], Detector]], told: Callable[[str], None]
) -> list[KeyframeRow]:
    rows = []
    for name in plan.clips or tuple(CLIPS):
        parts: dict[str, list[KeyframeRow]] = {made: [] for made in makers}
        for seed in range(plan.seed, plan.seed + plan.seeds):
            told(f"{name}, seed {seed}")
            clip = clip_of(name, seed, plan.seconds)
            watching = {made: (make(), _Log()) for made, make in makers.items()}
            # Frame by frame for all of them, so that each is drawn once and none has to be held.
            for frame in clip.frames():
                for detector, log in watching.values():
                    log.watch(detector, frame)
            for made, (_, log) in watching.items():
                parts[made].append(score(made, clip, log.found, log.ms))
        rows += [_sum(listed) for listed in parts.values()]
    return rows


def score(detector: str, clip: Clip, found: Sequence[Found], ms: Sequence[float]) -> KeyframeRow:
    """Hold what was found against what was planted."""
    numbers = sorted({one.number for one in found})
    seen = sum(any(change.shown_us <= time_of(n) < change.until_us for n in numbers) for change in clip.changes)
    planted = [change for change in clip.changes if change.cut_us]
    said = sorted({one.number for one in found if one.cut and one.number > 0})
    return KeyframeRow(
        detector=detector,
        clip=clip.name,
        changes=len(clip.changes),
        found=seen,
        keyframes=len(numbers),
        minutes=clip.length_us / 60e6,
        cuts=len(planted),
        told=len(said),
        cuts_found=sum(any(_in_time(change, number) for number in said) for change in planted),
        ms=statistics.median(ms) if ms else 0.0,
    )


def report_text(rows: Sequence[KeyframeRow], plan: KeyframePlan) -> str:
    """Write the tables: all clips together, changes found by clip, keyframes too many by clip."""
    detectors = list(dict.fromkeys(row.detector for row in rows))
    clips = list(dict.fromkeys(row.clip for row in rows))
    sums = {name: _sum([row for row in rows if row.detector == name]) for name in detectors}
    whole = [["detector", "changes", "cuts: precision", "recall", "F1", "too many/min", "ms/frame"]]
    for name, row in sums.items():
        right, all_told = _ratio(row.cuts_found, row.told), _ratio(row.cuts_found, row.cuts)
        parts = [_ratio(row.found, row.changes), right, all_told, _ratio(2 * row.cuts_found, row.told + row.cuts)]
        whole.append([name, *(share(part) for part in parts), f"{row.excess:.1f}", f"{row.ms:.2f}"])
    by_name = {(row.detector, row.clip): row for row in rows}
    found = [["changes found", *clips]]
    excess = [["too many a minute", *clips]]
    for name in detectors:
        mine = [by_name[name, clip] for clip in clips]
        found.append([name, *(f"{row.found}/{row.changes}" for row in mine)])
        excess.append([name, *(f"{row.excess:.0f}" for row in mine)])
    return (
        f"Keyframes on {len(clips)} kinds of clips of {plan.seconds:g} s at {FPS} frames/s, seeds {plan.seed} to "
        f"{plan.seed + plan.seeds - 1}; heartbeats left out.\n\n"
        f"{aligned(whole)}\n\n{aligned(found)}\n\n{aligned(excess)}"
    )


def write_keyframe_rows(path: Path, rows: Sequence[KeyframeRow]) -> None:
    """Write rows as a JSON list.  Raises OnlookerError where the disk refuses."""
    write_output(path, json.dumps([{**asdict(row), "excess": row.excess} for row in rows], indent=1) + "\n")


class _Log:
    """Collect what a detector finds, and how long it takes."""

    __slots__ = ("found", "ms")

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.ms: list[float] = []

    def watch(self, detector: Detector, frame: Frame) -> None:
        """Show it a frame."""
        began = time.thread_time()
        self.found += detector.see(frame)
        self.ms.append((time.thread_time() - began) * 1e3)


def _in_time(change: Change, number: int) -> bool:
    return change.cut_us is not None and change.cut_us <= time_of(number) <= change.shown_us + LATE_US


def _sum(rows: Iterable[KeyframeRow]) -> KeyframeRow:
    """Put clips together; the time of a frame is the mean of their medians."""
    listed = list(rows)
    return KeyframeRow(
        listed[0].detector,
        listed[0].clip,
        sum(row.changes for row in listed),
        sum(row.found for row in listed),
        sum(row.keyframes for row in listed),
        sum(row.minutes for row in listed),
        sum(row.cuts for row in listed),
        sum(row.told for row in listed),
        sum(row.cuts_found for row in listed),
        statistics.mean(row.ms for row in listed),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
