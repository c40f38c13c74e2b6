"""The sprite theatre as a camera: a play in real time that never ends, so that everything can be tried without one."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ...theatre.show import Show
from ...theatre.stage import Stage
from ..source import SourceKind
from .feed import Arrival, Pause

DEFAULT_FPS = 4.0
ACT_US = 600_000_000
MOST_SEED = 2**31 - 1

_ACT_STRIDE = 1_000_003  # a prime: acts of neighbouring seeds never meet in the first million


@dataclass(frozen=True, slots=True)
class Programme:
    """Say what is on in the theatre of a seed at any moment: acts of ten minutes, each a show of its own.

    What is shown depends on the seed and the stream time alone, so one who comes back later sees it go on.
    """

    seed: int
    size: int = 224

    def at(self, time_us: int) -> tuple[Show, int]:
        """Give the show that is on at a stream time, and the time within it."""
        number, offset_us = divmod(time_us, ACT_US)
        return self.act(number), offset_us

    def act(self, number: int) -> Show:
        """Give the show of an act, counted from 0; it begins at number * ACT_US."""
        return Show(self.seed + number * _ACT_STRIDE, ACT_US / 1e6, self.size)


@dataclass(frozen=True, slots=True)
class TheatreFeed:
    """Play a programme in real time, at a constant rate."""

    programme: Programme
    fps: float = DEFAULT_FPS
    kind: SourceKind = "theatre"
    exact: bool = True
    stamped: bool = True

    @property
    def name(self) -> str:
        """The word that opens it."""
        return f"theatre:{self.programme.seed}"

    @property
    def identity(self) -> str:
        """The same: a seed is a theatre."""
        return self.name

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its pictures."""
        return self.programme.size, self.programme.size

    def connect(self, now_us: Callable[[], int], pause: Pause) -> "Playing":
        """Begin to play, at the stream time that it is."""
        return Playing(self.programme, Fraction(str(self.fps)), now_us, pause)


@dataclass(slots=True)
class Playing:
    """Wait for the moment of each frame, then draw it; frames whose moment has passed are left out, never caught up."""

    programme: Programme
    fps: Fraction
    now_us: Callable[[], int]
    pause: Pause
    decoder: str = "theatre"
    _number: int = -1
    _time_us: int = 0
    _act: int = -1
    _show: Show | None = None
    _stage: Stage = field(init=False)

    def __post_init__(self) -> None:
        self._stage = Stage(self.programme.size)

    def advance(self) -> Arrival | None:
        """Wait until the next frame is due."""
        due = math.floor(self.now_us() * self.fps / 1_000_000)  # of the last frame that should have been seen by now
        self._number = max(due, self._number + 1)
        self._time_us = math.ceil(self._number * 1_000_000 / self.fps)
        while (early_us := self._time_us - self.now_us()) > 0:
            if self.pause(early_us / 1e6):
                return None
        return Arrival(self._time_us)

    def picture(self) -> NDArray[np.generic]:
        """Draw the frame that is due."""
        act, offset_us = divmod(self._time_us, ACT_US)
        if self._show is None or act != self._act:
            self._act, self._show = act, self.programme.act(act)
        return self._stage.draw(self._show.scene_at(offset_us), offset_us)

    def close(self) -> None:
        """Nothing is held."""
