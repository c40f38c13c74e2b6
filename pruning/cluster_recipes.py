"""Recipes of clusters: cells, runs and frames that are alike are kept once."""

from collections.abc import Mapping
from types import MappingProxyType

from .anchors import AnchorFrames, SalientAndContext
from .bipartite import Matched, Unlike
from .budget import Quota
from .leaders import Diverse, Leaders, Savings
from .recipe import Recipe
from .recipe_settings import Build, RecipeSettings
from .reduce import Drop, Merge
from .runs import Rebased, Runs, Starts
from .saliency import Received
from .score import Flat
from .stages import Budget


def dymu(settings: RecipeSettings) -> Recipe:
    """Merge the most similar cells of a frame, pair by pair (DyMU 2025).

    Published: inside the vision tower, layer by layer, by thresholds fitted to images, and with full-length attention
    rebuilt in the language model. Here the finished tokens are matched in rounds, as many merge as the rate asks for
    or, with settings.threshold, as are more similar than that, and the language model reads what is left.
    """
    budget: Budget = Quota(settings.refill, settings.smallest)
    if settings.threshold is not None:
        budget = Unlike(settings.threshold)
    return Recipe("dymu", settings.grid, Flat(), budget, Matched(settings.threshold), Merge())


def holitom(settings: RecipeSettings) -> Recipe:
    """Keep each run of a cell that shows the same once, when it begins (HoliTom 2025, causal).

    Published: windows by dynamic programming over the clip, each cell's run in a window averaged, the averages merged
    into density peaks and the changing cells chosen by saliency. Here a run begins where a cell is unlike itself a
    frame ago; as nobody knows yet whether it will last, all new cells are treated alike: the most salient are kept, the
    others merge into the nearest of them (0.6 own + 0.4 mean, as published for runs). The run's first token stands for
    its mean. Saliency is the last layer's mean attention received, as published. Not the paper's pruning inside the
    language model.
    """
    tau = 0.65 if settings.rate < 0.12 else 0.8
    budget = Rebased(settings.account)
    return Recipe("holitom", settings.grid, Runs(tau), budget, Starts(), Merge(own=0.6))


def fastvid(settings: RecipeSettings) -> Recipe:
    """Keep salient cells of every frame, and context in every fourth frame of a segment (FastVID 2025, causal).

    Published: saliency is the attention of SigLIP's pooling head, the cuts are also the 7 deepest of the clip, anchors
    are counted back from a segment's end and take in the cells of the frames around them. Here saliency is the last
    layer's mean attention received, only the threshold cuts, anchors are counted from the segment's start, and only the
    cells of the anchor's own frame merge into it: what is not salient in the frames between is dropped.
    """
    budget = AnchorFrames(settings.refill, settings.smallest, depth=settings.burst_frames)
    selector = SalientAndContext(settings.refill, settings.smallest)
    return Recipe("fastvid", settings.grid, Received(), budget, selector, Merge(own=0.6))


def ktv(settings: RecipeSettings) -> Recipe:
    """Keep of frames unlike all before them salient cells that are unlike each other (KTV 2026, causal).

    Published: k-means over the whole video; the exact scores were not, so the product of saliency and 1 - likeness is a
    reconstruction. Here a fixed number of leaders is kept up as the stream goes, and what was saved while no frame was
    let in pays for the next. Saliency is the last layer's mean attention received.
    """
    gate = Leaders(min(1.0, 2.0 * settings.rate), settings.threshold)
    return Recipe("ktv", settings.grid, Received(), Savings(settings.account), Diverse(), Drop(), gate)


CLUSTER_RECIPES: Mapping[str, Build] = MappingProxyType(
    {"dymu": dymu, "fastvid": fastvid, "holitom": holitom, "ktv": ktv}
)
