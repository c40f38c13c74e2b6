"""What a recipe may keep, whichever it is."""

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import SettingsError
from .credit import SCALE, Account
from .recipe import Recipe


@dataclass(frozen=True, slots=True)
class RecipeSettings:
    """Say what a recipe may keep.

    grid: (h, w) cells of a whole frame.  rate: share of the tokens kept on average, 0 < rate <= 1; at 1 build_recipe
    keeps all.  floor: cells kept of every frame; None takes none for `novelty`, and for the others an eighth of the
    grid, but at most half of what the rate gives, and at least 1 where the rate gives 1: 2 on a 4x4 grid at 0.25.
    burst_frames: whole frames that saved credit can pay for at once.  refresh_frames: a whole frame at least so often,
    0 for never; heeded where a token bucket pays (novelty, evs, fluxmem, vidcom2, holitom).  seed: for the recipes that
    draw.  noise, cut: the least and the most that a token costs `novelty`, as distances within 0..2. reach: how far in
    cells `novelty` looks for a thing that moved; None takes 1 (3x3), but 0 on grids with fewer than 8 rows or columns,
    where a cell is so large a part of the picture that a move by one cell is news. threshold: for methods whose paper
    sets a threshold in place of a budget: that threshold, and the rate is not read; None spends the rate.  Only dtd,
    dtd-pixels, dymu and ktv have one.

    Raises SettingsError when a value is outside its limits, or when floor and refresh alone cost more than the rate.
    """

    grid: tuple[int, int]
    rate: float = 0.25
    floor: int | None = None
    burst_frames: int = 8
    refresh_frames: int = 0
    seed: int = 0
    noise: float = 0.02
    cut: float = 0.6
    reach: int | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        for value, fits, limit in (
            (self.grid, min(self.grid) >= 1, "grid needs at least one row and one column"),
            (self.rate, 0.0 < self.rate <= 1.0, "rate is a share of the tokens: 0 < rate <= 1"),
            (self.burst_frames, self.burst_frames >= 1, "burst_frames must be at least 1"),
            (self.refresh_frames, self.refresh_frames >= 0, "refresh_frames must be at least 0 (0 for never)"),
            (self.seed, 0 <= self.seed < 1 << 64, "seed must be within 0..2^64-1"),
            (self.noise, 0.0 < self.noise <= self.cut, "noise must be over 0 and at most cut"),
            (self.cut, self.cut <= 2.0, "cut is a distance and must be at most 2"),
            (self.reach, self.reach is None or self.reach >= 0, "reach must be at least 0 cells"),
            (self.threshold, self.threshold is None or -1.0 <= self.threshold <= 2.0, "threshold must be within -1..2"),
        ):
            if not fits:
                raise SettingsError(f"{limit}, not {value}")
        if not 0 <= self.smallest * SCALE <= self.refill:
            raise SettingsError(
                f"floor must be within 0 and rate x cells = {self.rate:g} x {self.cells} = {self.rate * self.cells:g}, "
                f"not {self.smallest}; lower the floor or raise the rate"
            )
        every = self.refresh_frames
        if every and (self.cells + (every - 1) * self.smallest) * SCALE > every * self.refill:
            raise SettingsError(
                f"a whole frame of {self.cells} tokens every {every} frames and {self.smallest} in the others cost "
                f"more than rate {self.rate:g} gives; refresh less often, lower the floor or raise the rate"
            )

    @property
    def cells(self) -> int:
        """Cells of a whole frame."""
        return self.grid[0] * self.grid[1]

    @property
    def refill(self) -> int:
        """Tokens per frame that the rate gives, in 1/SCALE tokens."""
        return round(self.rate * self.cells * SCALE)

    @property
    def smallest(self) -> int:
        """The floor in cells, chosen where it was left open."""
        if self.floor is not None:
            return self.floor
        return max(min(self.cells // 8, self.refill // (2 * SCALE)), min(1, self.refill // SCALE))

    @property
    def account(self) -> Account:
        """The token bucket that the rate fills."""
        return Account(self.refill, self.smallest, self.burst_frames, self.refresh_frames)

    @property
    def radius(self) -> int:
        """The reach in cells, chosen where it was left open."""
        if self.reach is not None:
            return self.reach
        return 1 if min(self.grid) >= 8 else 0


Build = Callable[[RecipeSettings], Recipe]
"""Make a recipe of settings."""
