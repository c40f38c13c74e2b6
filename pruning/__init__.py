"""Spatio-temporal token pruning: which visual tokens of a stream survive, and what a choice remembers."""

from .recipe import Pruned, Recipe
from .recipe_settings import RecipeSettings
from .recipes import RECIPES, build_recipe
from .state import State

__all__ = ["RECIPES", "Pruned", "Recipe", "RecipeSettings", "State", "build_recipe"]
