"""Recipes of saliency: each frame keeps the cells that the vision tower itself attends to.

All keep the same share of every frame and remember nothing. The published methods read the attention of a class token;
the mean attention received stands in for it (saliency.py).
"""

from collections.abc import Mapping
from types import MappingProxyType

from .budget import Quota
from .recipe import Recipe
from .recipe_settings import Build, RecipeSettings
from .reduce import Drop
from .saliency import Flow, Received
from .select import Top
from .stages import Score, Select
from .surroundings import Rows, Surrounded
from .tiles import Tiles, TileScore


def fastervlm(settings: RecipeSettings) -> Recipe:
    """Keep what the last layer attends to most (FasterVLM 2024).

    Published: the class token's attention; here the mean attention received.
    """
    return _spatial("fastervlm", settings, Received(), Top())


def vtc_cls(settings: RecipeSettings) -> Recipe:
    """Keep what the layers from a third of the depth on attend to most (VTC-CLS 2024).

    Published: the class token's attention, from a layer that is set for each model to the tower's last but one, which
    is the last that shapes features; here the mean attention received, from a third of the depth.
    """
    return _spatial("vtc-cls", settings, Received(start=1 / 3), Top())


def fopru(settings: RecipeSettings) -> Recipe:
    """Keep whole rows that the last layer attends to most (FoPru 2024, its row form).

    The mean attention received stands for the published significance; under it the paper's rank form is fastervlm.
    """
    return _spatial("fopru", settings, Received(), Rows())


def hiprune(settings: RecipeSettings) -> Recipe:
    """Keep anchors of the object layer with their neighbours, and what the last layer attends to most (HiPrune 2025).

    Published with the mean attention received, as here; the object layer lies at 9/24 of the depth, CLIP's.
    """
    return _spatial("hiprune", settings, Received(), Surrounded())


def flowcut(settings: RecipeSettings) -> Recipe:
    """Keep what attention and values carried from layer to layer rate highest (FlowCut 2025).

    Published: the class token's row beside the mean attention received, and cells are cut inside the vision tower,
    after every second layer. Here one map stands for both, and the cut is made at the end, as nothing is changed
    inside the tower: it saves no time there.
    """
    return _spatial("flowcut", settings, Flow(), Top())


def globalcom2(settings: RecipeSettings) -> Recipe:
    """Share each frame's budget out over its quarters by the attention they draw (GlobalCom2 2025).

    Published: crops at high resolution beside a thumbnail, read through the class token's row before its softmax. Here
    the quarters of one view stand for the crops, and the mean attention received for the rows.
    """
    return _spatial("globalcom2", settings, TileScore(), Tiles())


def _spatial(name: str, settings: RecipeSettings, scorer: Score, selector: Select) -> Recipe:
    budget = Quota(settings.refill, settings.smallest)
    return Recipe(name, settings.grid, scorer, budget, selector, Drop())


SPATIAL_RECIPES: Mapping[str, Build] = MappingProxyType(
    {
        "fastervlm": fastervlm,
        "flowcut": flowcut,
        "fopru": fopru,
        "globalcom2": globalcom2,
        "hiprune": hiprune,
        "vtc-cls": vtc_cls,
    }
)
