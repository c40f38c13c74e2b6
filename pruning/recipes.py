"""Named recipes: the default, the honest baselines, and the field's methods."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ..errors import SettingsError
from .budget import Bucket, Everything, Quota, Split
from .recipe import Recipe
from .recipe_settings import RecipeSettings
from .reduce import Drop, Merge
from .score import Flat, Novelty, Ticket
from .select import Lattice, Top

Build = Callable[[RecipeSettings], Recipe]


def none(settings: RecipeSettings) -> Recipe:
    """Keep everything."""
    return Recipe("none", settings.grid, Flat(), Everything(), Top(), Drop())


def random(settings: RecipeSettings) -> Recipe:
    """Keep cells drawn at random, the same share of every frame."""
    budget = Quota(settings.refill, settings.smallest)
    return Recipe("random", settings.grid, Ticket(settings.seed), budget, Top(), Drop())


def uniform(settings: RecipeSettings) -> Recipe:
    """Keep a regular grid of cells, the same share of every frame."""
    budget = Quota(settings.refill, settings.smallest)
    return Recipe("uniform", settings.grid, Flat(), budget, Lattice(), Drop())


def pool(settings: RecipeSettings) -> Recipe:
    """Average the cells around each point of a regular grid, the same share of every frame."""
    budget = Quota(settings.refill, settings.smallest)
    return Recipe("pool", settings.grid, Flat(), budget, Lattice(), Merge())


def novelty(settings: RecipeSettings) -> Recipe:
    """Keep what was not kept before near its place, paid from a token bucket: the default.

    Distance and Otsu split after FluxMem (CVPR 2026) with the last kept tokens as reference, which makes it causal
    without lag and lets slow changes add up.
    """
    split = Split(settings.noise, settings.cut)
    budget = Bucket(split, settings.refill, settings.smallest, settings.burst_frames, settings.refresh_frames)
    scorer = Novelty(settings.radius, settings.noise)
    return Recipe("novelty", settings.grid, scorer, budget, Top(), Drop())


RECIPES: Mapping[str, Build] = MappingProxyType(
    {"novelty": novelty, "none": none, "pool": pool, "random": random, "uniform": uniform}
)


def build_recipe(
    name: str = "novelty",
    *,
    grid: tuple[int, int],
    rate: float = 0.25,
    floor: int | None = None,
    burst_frames: int = 8,
    refresh_frames: int = 0,
    seed: int = 0,
) -> Recipe:
    """Build a recipe for ingest by name; at rate 1 every recipe keeps everything.

    The settings are those of RecipeSettings, which also has the finer ones: RECIPES[name](RecipeSettings(...)).
    Raises SettingsError for an unknown name or a setting outside its limits.
    """
    if name not in RECIPES:
        raise SettingsError(f"there is no pruning recipe {name!r}; choose one of {', '.join(sorted(RECIPES))}")
    settings = RecipeSettings(grid, rate, floor, burst_frames, refresh_frames, seed)
    return RECIPES["none" if rate == 1.0 else name](settings)
