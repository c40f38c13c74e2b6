"""Candidates: the remembered visual tokens that one question may read, as plain data."""

from dataclasses import dataclass

from torch import Tensor

from ..errors import SettingsError


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Hold n visual tokens of recalled keyframes, in time order, and the words that ask.

    features: [n, D].  coords: int32 [n, 3] = (t, h, w) in their frames.  block: int64 [n], the number of each token's
    keyframe, rising from 0.  words: [M, D], in the space of the features.  importance: float32 [n], how much weight a
    token's values have in the model (mean L1 length over layers and key heads): it stands in for the vision tower's
    saliency, which is not stored.  All on one device.  Raises SettingsError where their lengths do not fit.
    """

    features: Tensor
    coords: Tensor
    block: Tensor
    words: Tensor
    importance: Tensor

    def __post_init__(self) -> None:
        count, dim = self.features.shape
        shapes = [tuple(part.shape) for part in (self.coords, self.block, self.importance)]
        if shapes != [(count, 3), (count,), (count,)] or self.words.shape[1:] != (dim,):
            raise SettingsError(
                f"{count} candidates of {dim} channels need coords [{count}, 3], blocks [{count}], importances "
                f"[{count}] and words [m, {dim}], not {', '.join(map(str, shapes))} and {list(self.words.shape)}; "
                "cut them from the same recalled blocks"
            )

    def __len__(self) -> int:
        return self.features.shape[0]
