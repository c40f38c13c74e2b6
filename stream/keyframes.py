"""Keyframes: which frames show something that the last kept frame did not."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..frame import Frame

GateAction = Literal["skip", "keep", "cut", "heartbeat"]

_MAD_TO_SIGMA = 1.4826
_POINTS = 12


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Set how much change makes a keyframe; changes are in grey levels, 0..255, of a cell's mean colour.

    grid: cells along each side of the thumbnail.  least_change: a cell that changed by less never counts.
    noise_factor: nor does one that changed by less than this many times the noise.  most_noise: the noise (standard
    deviation of a cell's difference) is never taken to be more, so that lasting motion cannot pass for noise.
    least_cells: so many changed cells make a keyframe; 3 of 32 x 32 is a thing of a twentieth of the width.
    cut_fraction, cut_change: a cut is where so much of the picture changed, and by so much on average.
    heartbeat_us: a frame is kept after so long without one.
    Raises SettingsError for a value outside its limits.
    """

    grid: int = 32
    least_change: float = 6.0
    noise_factor: float = 5.0
    most_noise: float = 16.0
    least_cells: int = 3
    cut_fraction: float = 0.5
    cut_change: float = 20.0
    heartbeat_us: int = 10_000_000

    def __post_init__(self) -> None:
        if not 4 <= self.grid <= 256:
            raise SettingsError(f"grid is {self.grid}; give 4 to 256 cells along a side")
        if not 1 <= self.least_cells <= self.grid * self.grid:
            raise SettingsError(f"least_cells is {self.least_cells}; give 1 to grid * grid = {self.grid * self.grid}")
        if not 0.0 < self.cut_fraction <= 1.0:
            raise SettingsError(f"cut_fraction is {self.cut_fraction}; give more than 0 and at most 1")
        if self.heartbeat_us <= 0:
            raise SettingsError(f"heartbeat_us is {self.heartbeat_us}; give more than 0 microseconds")
        if min(self.least_change, self.noise_factor, self.most_noise, self.cut_change) < 0.0:
            raise SettingsError("least_change, noise_factor, most_noise and cut_change must not be negative")


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Say what to do with a frame, and why.

    action: "skip" it; "keep" it for a change; "cut", keep it as the first of a new scene; "heartbeat", keep it for
    the time that has passed.  changed: fraction of the cells that changed.  threshold: what counted as changed, in
    grey levels.  reason: one line for a log.
    """

    action: GateAction
    changed: float
    threshold: float
    reason: str

    @property
    def kept(self) -> bool:
        """Whether the frame is a keyframe."""
        return self.action != "skip"


@dataclass(frozen=True, slots=True, eq=False)
class GateState:
    """Hold all that a gate remembers: two thumbnails, a time and the noise; its size never changes.

    kept, last: uint8 [rows, columns, 3], thumbnails of the last kept frame and of the last frame.  shape: height and
    width of the last frame.  noise: standard deviation of a cell's difference between two frames of an unchanging
    scene.  seen: differences that the noise was learned from, counted up to 100.
    """

    kept: NDArray[np.uint8]
    last: NDArray[np.uint8]
    kept_us: int
    shape: tuple[int, int]
    noise: float = 0.0
    seen: int = 0


class KeyframeGate:
    """Decide for each frame, from the frames before it alone, whether it is worth encoding.

    A frame is shrunk to a small grid of mean colours (all three channels: a change of hue at equal brightness
    counts) and compared, cell by cell, with the last **kept** frame, so that slow change adds up until it is seen.
    What matters is how many cells changed by more than a threshold, not the mean change: a small thing that appears
    in a still scene is a few cells that changed much. The threshold follows the footage's noise, a running estimate
    from the median cell difference of neighbouring frames, which motion in less than half of the picture leaves alone.

    The state is explicit: KeyframeGate(settings, gate.state) goes on where gate stands.
    """

    __slots__ = ("settings", "state")

    def __init__(self, settings: GateSettings | None = None, state: GateState | None = None) -> None:
        self.settings = settings or GateSettings()
        self.state = state

    def decide(self, frame: Frame) -> GateDecision:
        """Decide about the next frame and remember what later decisions need."""
        settings, state = self.settings, self.state
        shape = (frame.image.shape[0], frame.image.shape[1])
        cells = _shrink(frame.image, settings.grid)
        if state is None or state.shape != shape:
            self.state = GateState(cells, cells, frame.time_us, shape)
            if state is None:
                return GateDecision("cut", 1.0, settings.least_change, "the first frame")
            return GateDecision("cut", 1.0, settings.least_change, f"the frame size changed to {shape[1]}x{shape[0]}")
        noise, seen = self._learn(state, cells)
        threshold = max(settings.least_change, settings.noise_factor * noise)
        decision = self._compare(state, cells, frame.time_us, threshold)
        if decision.kept:
            self.state = GateState(cells, cells, frame.time_us, shape, noise, seen)
        else:
            self.state = GateState(state.kept, cells, state.kept_us, shape, noise, seen)
        return decision

    def _learn(self, state: GateState, cells: NDArray[np.uint8]) -> tuple[float, int]:
        """Move the noise towards this frame's: at once at the start, then slowly up and quickly down.

        One frame can at most double it (and add 2), so that a cut hardly moves it.
        """
        measured = _MAD_TO_SIGMA * _median(np.asarray(cv2.absdiff(cells, state.last), dtype=np.uint8))
        measured = min(measured, 2.0 * state.noise + 2.0, self.settings.most_noise)
        seen = min(state.seen + 1, 100)
        rate = max(1.0 / seen, 0.05 if measured > state.noise else 0.2)
        return state.noise + rate * (measured - state.noise), seen

    def _compare(self, state: GateState, cells: NDArray[np.uint8], time_us: int, threshold: float) -> GateDecision:
        settings = self.settings
        change = cv2.absdiff(cells, state.kept).max(axis=2)  # uint8 [rows, columns]
        count = int(np.count_nonzero(change > threshold))
        changed = count / change.size
        if changed >= settings.cut_fraction and float(change.mean()) >= settings.cut_change:
            return GateDecision("cut", changed, threshold, f"{changed:.0%} of the picture changed")
        if count >= min(settings.least_cells, change.size):
            return GateDecision("keep", changed, threshold, f"{count} of {change.size} cells changed")
        if time_us - state.kept_us >= settings.heartbeat_us:
            waited = (time_us - state.kept_us) / 1e6
            return GateDecision("heartbeat", changed, threshold, f"{waited:.1f} s without a keyframe")
        return GateDecision("skip", changed, threshold, f"{count} of {change.size} cells changed")


def _median(levels: NDArray[np.uint8]) -> float:
    """Return the median of whole grey levels to a fraction of one: each level stands for half a level either side."""
    counts = np.bincount(levels.reshape(-1), minlength=256)
    below = np.cumsum(counts)
    half = levels.size / 2.0
    level = int(np.searchsorted(below, half))
    low = max(0.0, level - 0.5)
    inside = (half - float(below[level] - counts[level])) / float(counts[level])
    return low + inside * (level + 0.5 - low)


def _shrink(image: NDArray[np.uint8], grid: int) -> NDArray[np.uint8]:
    """Average a picture over at most grid x grid cells; a picture smaller than that keeps its own size.

    A large picture is first thinned to 12 x 12 points a cell: averaging all of 8K would cost 100 times as much.
    """
    height, width = image.shape[:2]
    cells: NDArray[np.uint8] = np.ascontiguousarray(image)
    thin = (min(_POINTS * grid, width), min(_POINTS * grid, height))
    if thin != (width, height):
        cells = np.asarray(cv2.resize(cells, thin, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    size = (min(grid, width), min(grid, height))
    if size != thin:
        cells = np.asarray(cv2.resize(cells, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return cells.copy() if cells is image else cells
