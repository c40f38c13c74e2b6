"""The stages of pruning for one question: what each gets and gives, and what is refused."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from ..errors import SettingsError
from .candidates import Candidates
from .stages import Stage


class Pick(Stage, Protocol):
    """Decide which remembered tokens a question reads, before the model runs."""

    def pick(self, candidates: Candidates, count: int) -> Tensor:
        """Choose exactly count rows, 1 <= count < len(candidates): int64 [count], rising, on the candidates' device."""
        ...


def check_reading(stages: Mapping[str, Stage]) -> None:
    """Refuse stages that cannot work when a question reads: the counterpart of check_ingest, which lets text in.

    stages: by name, for the message.  Raises SettingsError for a stage that remembers, that rewrites features, that
    waits for later frames, or that needs a plane of the vision tower.
    """
    for name, stage in stages.items():
        traits = stage.traits
        label = f"the {name} stage {type(stage).__name__}"
        if traits.remembers:
            raise SettingsError(
                f"{label} keeps a memory, and a question must leave nothing behind: what one question prunes another "
                "would find gone; use this stage at ingest"
            )
        if traits.changes_features:
            raise SettingsError(
                f"{label} rewrites features, but what a question reads are keys and values that the model made long "
                "ago; use a stage that only chooses"
            )
        if traits.lag > 0:
            raise SettingsError(
                f"{label} looks {traits.lag} frame(s) ahead, and behind what was recalled none come; use it at ingest, "
                "in a form without lag"
            )
        missing = sorted(traits.needs - {"text", "attention"})
        if missing:
            raise SettingsError(
                f"{label} needs the plane(s) {', '.join(missing)} of the vision tower, which a memory does not keep; "
                "use this stage at ingest"
            )


def share_of(count: int, rate: float) -> int:
    """Say how many of count tokens a rate keeps: rounded half up, at least one of any."""
    return min(count, max(1, int(count * rate + 0.5)))
