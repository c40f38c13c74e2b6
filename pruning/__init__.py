"""Spatio-temporal token pruning: which visual tokens of a stream survive, and what a choice remembers."""

from .budget import Everything, Price, Quota
from .credit import Account
from .readings import READINGS, build_reading
from .recipe import Pruned, Recipe
from .recipe_settings import RecipeSettings
from .recipes import RECIPES, build_recipe
from .reduce import Drop, Merge
from .select import Lattice, Top
from .stages import Cells, Choice, Stateless, Traits
from .state import State

__all__ = [
    "READINGS",
    "RECIPES",
    "Account",
    "Cells",
    "Choice",
    "Drop",
    "Everything",
    "Lattice",
    "Merge",
    "Price",
    "Pruned",
    "Quota",
    "Recipe",
    "RecipeSettings",
    "State",
    "Stateless",
    "Top",
    "Traits",
    "build_reading",
    "build_recipe",
]
