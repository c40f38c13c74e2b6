"""Named recipes: the default, the honest baselines, and the field's methods."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ..errors import SettingsError
from .budget import Everything, Price, Quota
from .change_recipes import CHANGE_RECIPES
from .cluster_recipes import CLUSTER_RECIPES
from .recipe import Recipe
from .recipe_settings import Build, RecipeSettings
from .reduce import Drop, Merge
from .score import Flat, Novelty, Ticket
from .select import Lattice, Top
from .spatial_recipes import SPATIAL_RECIPES


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
    """Keep what was not kept before near its place, when it is worth what a token costs just now: the default.

    The distance is FluxMem's (CVPR 2026) with the last kept tokens as reference, which makes it causal without lag and
    lets slow changes add up; the price follows what is saved in a token bucket, and what cannot be saved refreshes the
    places that were kept longest ago.
    """
    account = replace(settings.account, floor=settings.floor or 0, spill=True)
    scorer = Novelty(settings.radius, settings.noise)
    return Recipe("novelty", settings.grid, scorer, Price(account, settings.noise, settings.cut), Top(), Drop())


DEFAULT = "novelty"

RECIPES: Mapping[str, Build] = MappingProxyType(
    {
        "novelty": novelty,
        "none": none,
        "random": random,
        "uniform": uniform,
        "pool": pool,
        **CHANGE_RECIPES,
        **SPATIAL_RECIPES,
        **CLUSTER_RECIPES,
    }
)


def build_recipe(
    recipe: str | Build = DEFAULT,
    *,
    grid: tuple[int, int],
    rate: float = 0.25,
    floor: int | None = None,
    burst_frames: int = 8,
    refresh_frames: int = 0,
    seed: int = 0,
) -> Recipe:
    """Build a recipe for ingest, by name or by a function of one's own; at rate 1 every recipe keeps everything.

    The settings are those of RecipeSettings, which also has the finer ones: RECIPES[name](RecipeSettings(...)).
    Raises SettingsError for an unknown name or a setting outside its limits.
    """
    if isinstance(recipe, str) and recipe not in RECIPES:
        raise SettingsError(f"there is no pruning recipe {recipe!r}; choose one of {', '.join(sorted(RECIPES))}")
    if not isinstance(recipe, str) and not callable(recipe):
        raise SettingsError(
            f"a recipe is {recipe!r:.80}; give a name, or a function that gets RecipeSettings and returns a Recipe"
        )
    settings = RecipeSettings(grid, rate, floor, burst_frames, refresh_frames, seed)
    if rate == 1.0:
        return none(settings)
    made: object = RECIPES[recipe](settings) if isinstance(recipe, str) else recipe(settings)
    if not isinstance(made, Recipe):
        raise SettingsError(f"the function {recipe!r} gave {made!r:.80}, not a Recipe; let it return the one it makes")
    return made
