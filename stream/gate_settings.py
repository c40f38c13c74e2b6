"""What the keyframe gate is told, and what it says."""

from dataclasses import dataclass
from typing import Literal

from ..errors import SettingsError

GateAction = Literal["skip", "keep", "cut", "heartbeat"]


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Set how much change makes a keyframe; changes are in grey levels, 0..255, of a cell's mean colour.

    grid: cells along each side of the thumbnail.  least_change: a cell that changed by less never counts.
    noise_factor: nor does one that changed by less than this many times the noise.  most_noise: the noise (standard
    deviation of a cell's difference) is never taken to be more, so that lasting motion cannot pass for noise.
    least_cells: so many changed cells make a keyframe; 3 of 32 x 32 is a thing of a twentieth of the width.
    cut_fraction, cut_change: a cut is where so much of the picture changed, and by so much on average.
    heartbeat_us: a frame is kept after so long without one.
    most_exposure: the brightness of the whole picture may change by so much, on average, without a keyframe; 0 for
    every change counts.  most_fresh: share of the picture that a moving camera may bring into sight without a
    keyframe; 0 for every motion of the camera counts.  most_fade_us: a fade or dissolve is kept at its end, or after
    so long; 0 keeps it as it goes.
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
    most_exposure: float = 10.0
    most_fresh: float = 0.125
    most_fade_us: int = 3_000_000

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
        if not 0.0 <= self.most_fresh <= 0.5:
            raise SettingsError(f"most_fresh is {self.most_fresh}; give a share of the picture from 0 to 0.5")
        if not 0.0 <= self.most_exposure <= 64.0:
            raise SettingsError(f"most_exposure is {self.most_exposure}; give 0 to 64 grey levels")
        if not 0 <= self.most_fade_us <= 60_000_000:
            raise SettingsError(f"most_fade_us is {self.most_fade_us}; give 0 to 60000000 microseconds (a minute)")


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Say what to do with a frame, and why.

    action: "skip" it; "keep" it for a change; "cut", keep it as the first of a new scene, or as the first after a fade
    into one; "heartbeat", keep it for the time that has passed.  changed: fraction of the cells that changed.
    threshold: what counted as changed, in grey levels.  reason: one line for a log.
    """

    action: GateAction
    changed: float
    threshold: float
    reason: str

    @property
    def kept(self) -> bool:
        """Whether the frame is a keyframe."""
        return self.action != "skip"
