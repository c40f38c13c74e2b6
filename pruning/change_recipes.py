"""Named recipes of the field that ask what changed, from frame to frame or against the stream so far."""

from collections.abc import Mapping
from types import MappingProxyType

from .budget import Quota
from .change import Change, PixelChange
from .components import Anchors, OnePerPiece, Pieces
from .gaussian import Outlier, VideoOutlier
from .quantile import Quantile, Share, Threshold
from .recipe import Recipe
from .recipe_settings import Build, RecipeSettings
from .reduce import Drop, Merge
from .select import Top
from .two_paths import TwoPaths
from .uniqueness import Uniqueness


def dtd(settings: RecipeSettings) -> Recipe:
    """Keep what is unlike the frame before (differential token drop, TimeChat-Online, ACM MM 2025).

    With a threshold, as published (0.5 there): a cell whose cosine is above it is dropped, there is no bound, and a
    floor only where one is set.  Without, the published relative mode: the rate's share of each frame with the highest
    distances.  The first frame is whole.
    """
    budget = _cut(settings, None if settings.threshold is None else 1.0 - settings.threshold)
    return Recipe("dtd", settings.grid, Change(), budget, Top(), Drop())


def dtd_pixels(settings: RecipeSettings) -> Recipe:
    """Keep what looks unlike the frame before (pixel form of differential token drop).

    With a threshold, a cell is dropped when its mean absolute difference of colour, 0..1, is below it; without, as dtd.
    """
    budget = _cut(settings, settings.threshold)
    return Recipe("dtd-pixels", settings.grid, PixelChange(), budget, Top(), Drop())


def evs(settings: RecipeSettings) -> Recipe:
    """Keep what is unlike the frame before, by one threshold over time (efficient video sampling, NVIDIA 2025)."""
    return Recipe("evs", settings.grid, Change(), Quantile(settings.account), Top(), Drop())


def fluxmem(settings: RecipeSettings) -> Recipe:
    """Keep what is unlike all that was near it, one cell for each piece of it (FluxMem, CVPR 2026).

    The causal half: without its look at the next frame, and consolidated at once, not when frames leave a buffer.
    The rate is paid from a token bucket, as for the default.
    """
    pieces = Pieces()
    budget = OnePerPiece(pieces, settings.account)
    return Recipe("fluxmem", settings.grid, Change(reach=1), budget, Anchors(pieces), Merge())


def streamingtom(settings: RecipeSettings) -> Recipe:
    """Keep what changed by saliency and merge what stayed, as many cells of each frame (StreamingTOM, CVPR 2026)."""
    budget = Quota(settings.refill, settings.smallest)
    return Recipe("streamingtom", settings.grid, Change(), budget, TwoPaths(), Merge(own=0.6))


def stc(settings: RecipeSettings) -> Recipe:
    """Keep what is unlike its frame and the frames before (streaming token compression, CVPR 2026)."""
    budget = Quota(settings.refill, settings.smallest)
    return Recipe("stc", settings.grid, Outlier(), budget, Top(), Drop())


def vidcom2(settings: RecipeSettings) -> Recipe:
    """Keep what is unlike its frame and the stream, more of frames unlike the stream (VidCom2, EMNLP 2025)."""
    return Recipe("vidcom2", settings.grid, VideoOutlier(), Uniqueness(settings.account), Top(), Drop())


CHANGE_RECIPES: Mapping[str, Build] = MappingProxyType(
    {
        "dtd": dtd,
        "dtd-pixels": dtd_pixels,
        "evs": evs,
        "fluxmem": fluxmem,
        "stc": stc,
        "streamingtom": streamingtom,
        "vidcom2": vidcom2,
    }
)


def _cut(settings: RecipeSettings, limit: float | None) -> Threshold | Share:
    if limit is None:
        return Share(Quota(settings.refill, settings.smallest))
    return Threshold(limit, settings.floor or 0)
