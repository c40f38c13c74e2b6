"""The trigger: when a condition that is looked at again and again is worth an alert."""

from dataclasses import dataclass
from typing import Literal

from ...errors import SettingsError

Edge = Literal["fired", "cleared"]

MOST_COOLDOWN_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class TriggerSettings:
    """Say when a condition counts as true, and how often it may fire.

    rise: a score from here on makes it true.  fall: one down to here makes it false; in between it stays as it was
    (hysteresis).  cooldown_us: stream time from one alert to the next, at least.
    Raises SettingsError for a value outside its limits.
    """

    cooldown_us: int = 10_000_000
    rise: float = 0.5
    fall: float = 0.35

    def __post_init__(self) -> None:
        if not 0 <= self.cooldown_us <= MOST_COOLDOWN_US:
            raise SettingsError(
                f"the cool-down is {self.cooldown_us / 1e6:g} s; give 0 to {MOST_COOLDOWN_US // 1_000_000} s"
            )
        if not 0.0 <= self.fall < self.rise <= 1.0:
            raise SettingsError(f"rise is {self.rise} and fall {self.fall}; give 0 <= fall < rise <= 1")


@dataclass(frozen=True, slots=True)
class Trigger:
    """Hold what a condition's past says about its next alert; step() gives the next state, this one stays.

    It fires when the condition becomes true, and must be seen false before it can fire again.  What becomes true
    during the cool-down fires when that has passed, if it is still true.  Before the first look it counts as false.

    holds: whether the condition is true.  told: whether it fired for that.  fired_us: when it last fired.
    """

    settings: TriggerSettings = TriggerSettings()
    holds: bool = False
    told: bool = False
    fired_us: int | None = None

    def step(self, time_us: int, score: float | None = None) -> tuple["Trigger", Edge | None]:
        """Take in a look, or only the time; give the state after it and what happened.

        time_us: stream time, not earlier than before.  score: from 0 (false) to 1 (true); None when nothing can be
        said, or nobody looked.
        """
        rules, holds = self.settings, self.holds
        if score is not None and score >= rules.rise:
            holds = True
        elif score is not None and score <= rules.fall:
            holds = False
        if not holds:
            return Trigger(rules, False, False, self.fired_us), "cleared" if self.told else None
        cool = self.fired_us is None or time_us - self.fired_us >= rules.cooldown_us
        if self.told or not cool:
            return Trigger(rules, True, self.told, self.fired_us), None
        return Trigger(rules, True, True, time_us), "fired"
