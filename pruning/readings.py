"""Named readings: how recalled tokens are pruned for the one question that reads them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from ..errors import SettingsError
from .candidates import Candidates
from .inner import InnerReading, Placeless, Received, Weighted
from .picks import Anchored, Drawn, Even, Regions, Relevant, Residual, Unlike
from .reading_stages import Pick, check_reading, share_of
from .stages import Stage


@dataclass(frozen=True, slots=True)
class OuterReading:
    """Choose, before the model runs, which recalled visual tokens a question reads; nothing is remembered of it.

    rate: share of them that is kept, rounded half up, at least one.
    """

    name: str
    rate: float
    picker: Pick

    @property
    def stages(self) -> dict[str, Stage]:
        """Give the stages by name."""
        return {"pick": self.picker}

    def keep(self, candidates: Candidates) -> Tensor:
        """Choose rows: int64 [m], rising, on the candidates' device; all of them at rate 1."""
        count = share_of(len(candidates), self.rate) if self.rate < 1.0 else len(candidates)
        if count == len(candidates):
            return torch.arange(count, device=candidates.features.device)
        return self.picker.pick(candidates, count)


Reading = OuterReading | InnerReading
Build = Callable[[float, int], Reading]


def none(rate: float, seed: int) -> Reading:
    """Read all that was recalled."""
    return OuterReading("none", 1.0, Even())


def read_random(rate: float, seed: int) -> Reading:
    """Read tokens drawn at random: a baseline."""
    return OuterReading("read-random", rate, Drawn(seed))


def read_uniform(rate: float, seed: int) -> Reading:
    """Read tokens evenly over what was recalled: a baseline."""
    return OuterReading("read-uniform", rate, Even())


def read_relevant(rate: float, seed: int) -> Reading:
    """Read the tokens most like a word of the question, however like each other: a baseline."""
    return OuterReading("read-relevant", rate, Relevant())


def resprune(rate: float, seed: int) -> Reading:
    """Read greedily what is not spanned yet, times relevance (ResPrune, 2026)."""
    return OuterReading("resprune", rate, Residual(1.0))


def cdpruner(rate: float, seed: int) -> Reading:
    """Read the greedy MAP of a determinantal process that relevance conditions (CDPruner, 2025)."""
    return OuterReading("cdpruner", rate, Residual(2.0))


def anchorprune(rate: float, seed: int) -> Reading:
    """Read a relevant anchor, then what is new and important (AnchorPrune, 2026)."""
    return OuterReading("anchorprune", rate, Anchored())


def dart(rate: float, seed: int) -> Reading:
    """Read what is least like a few pivots (DART, 2025)."""
    return OuterReading("dart", rate, Unlike())


def hero(rate: float, seed: int) -> Reading:
    """Read more of the keyframes that are like the question, the weightiest tokens of each (HERO's text term, 2025)."""
    return OuterReading("hero", rate, Regions())


def ptp(rate: float, seed: int) -> Reading:
    """Read by region and token, saliency and instruction in equal parts (PTP's outline, 2025)."""
    return OuterReading("ptp", rate, Regions(instructed=True))


def fastv(rate: float, seed: int) -> Reading:
    """Read everything in two layers, then what the question's last token attended to (FastV, ECCV 2024)."""
    return InnerReading("fastv", Received(), rate, (2,))


def pyramiddrop(rate: float, seed: int) -> Reading:
    """Read less from each quarter of the depth to the next, as FastV scores (PyramidDrop, CVPR 2025)."""
    return InnerReading("pyramiddrop", Received(), rate, (0.25, 0.5, 0.75))


def feather(rate: float, seed: int) -> Reading:
    """Read less from a quarter and from half of the depth on, scored without positions, and a grid (FEATHER, 2024).

    Its ratio of 0.7 dropped at both of them is rate 0.09.
    """
    return InnerReading("feather", Placeless(), rate, (0.25, 0.5), stride=3)


def adaptinfer(rate: float, seed: int) -> Reading:
    """Read less from each quarter of the depth to the next, scored by weighted words (AdaptInfer, 2025).

    Its layers were found offline for each model; these are PyramidDrop's.
    """
    return InnerReading("adaptinfer", Weighted(), rate, (0.25, 0.5, 0.75))


READINGS: Mapping[str, Build] = MappingProxyType(
    {
        "none": none,
        "read-random": read_random,
        "read-uniform": read_uniform,
        "read-relevant": read_relevant,
        "resprune": resprune,
        "cdpruner": cdpruner,
        "anchorprune": anchorprune,
        "dart": dart,
        "hero": hero,
        "ptp": ptp,
        "fastv": fastv,
        "pyramiddrop": pyramiddrop,
        "feather": feather,
        "adaptinfer": adaptinfer,
    }
)


def build_reading(name: str = "none", rate: float = 0.5, *, seed: int = 0) -> Reading:
    """Build a reading by name; at rate 1 every one reads all that was recalled.

    rate: share of the recalled visual tokens that is kept, 0 < rate <= 1; for those inside the model the share that is
    left in the last layers.  seed: for the ones that draw.  Raises SettingsError for an unknown name, a rate outside
    its limits, or a stage that check_reading refuses.
    """
    if name not in READINGS:
        raise SettingsError(f"there is no reading {name!r}; choose one of {', '.join(READINGS)}")
    if not 0.0 < rate <= 1.0 or not 0 <= seed < 1 << 64:
        raise SettingsError(
            f"a reading keeps a share of the tokens, 0 < rate <= 1, with a seed of 0..2^64-1, not {rate} and {seed}; "
            "rate 1 keeps all"
        )
    reading = READINGS["none" if rate == 1.0 else name](rate, seed)
    check_reading(reading.stages)
    return reading
