"""The pruning recipes in a table: what each does, needs and costs."""

from dataclasses import asdict, dataclass

from ..pruning import RECIPES, build_recipe
from .table import columns

GRID, DIM = (14, 14), 896
"""What costs are given for: a frame of LLaVA-OneVision 0.5B."""

RATE = 0.25


@dataclass(frozen=True, slots=True)
class RecipeEntry:
    """Describe a recipe.

    needs: planes of the vision tower beside the features.  remembers: whether it keeps a memory of the stream.
    merges: whether survivors take over from cells that do not survive.  multiply_adds: of one frame of GRID and DIM.
    """

    name: str
    what: str
    needs: tuple[str, ...]
    remembers: bool
    merges: bool
    multiply_adds: int

    def to_dict(self) -> dict[str, object]:
        """Give the fields for JSON."""
        return asdict(self)


def recipe_entries() -> list[RecipeEntry]:
    """List all recipes: the default, the baselines, then the field's."""
    return [_entry(name) for name in RECIPES]


def recipe_table(entries: list[RecipeEntry]) -> list[str]:
    """Lay entries out for the terminal."""
    rows = [["recipe", "needs", "remembers", "merges", "cost", "what it does"]]
    for entry in entries:
        cost = f"{entry.multiply_adds / 1e6:.1f}" if entry.multiply_adds else "-"
        marks = ["yes" if mark else "-" for mark in (entry.remembers, entry.merges)]
        rows.append([entry.name, ", ".join(entry.needs) or "-", *marks, cost, entry.what])
    cells = f"{GRID[0]} x {GRID[1]} cells of {DIM} channels"
    notes = (
        f"cost: million multiply-adds a frame of {cells}, as the stages declare them. needs: what the vision tower",
        "must give beside its features. Fixed memories (causalmem, infinipot-v, last-n, livevlm-buckets, span) are no",
        "recipes: onlooker bench pruning measures them.",
    )
    return [*columns(rows, right=(4,)), "", *notes]


def _entry(name: str) -> RecipeEntry:
    recipe = build_recipe(name, grid=GRID, rate=RATE)
    traits = [stage.traits for stage in recipe.stages.values()]
    told = (RECIPES[name].__doc__ or "").strip().splitlines()
    return RecipeEntry(
        name,
        told[0].rstrip(".") if told else "",
        tuple(sorted(recipe.planes)),
        any(one.remembers for one in traits),
        any(one.changes_features for one in traits),
        round(recipe.cost(DIM)),
    )
