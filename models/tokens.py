"""Visual tokens: what the vision tower makes of frames, in the language model's input space."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..errors import ModelError

TOWER_PLANES = frozenset({"saliency", "values", "pixels"})
"""The planes that Backbone.encode puts into extras when they are asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class VisualTokens:
    """Hold the visual tokens of T frames.

    features: [n, D], in the language model's input space.  coords: int32 [n, 3] = (t, h, w), t counting the T frames
    here from 0; rows are sorted.  grid: (h, w) cells of a whole frame.  times_us: T stream times.  extras: other
    planes [n, ...] that belong to the same tokens (a saliency row, DeepStack features).
    """

    features: Tensor
    coords: Tensor
    grid: tuple[int, int]
    times_us: tuple[int, ...]
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.features.shape[0]

    @property
    def nbytes(self) -> int:
        """True bytes of the features and the other planes."""
        return sum(plane.numel() * plane.element_size() for plane in (self.features, *self.extras.values()))

    def select(self, index: Tensor) -> "VisualTokens":
        """Keep the tokens at index (int64 [m], sorted), every plane sliced alike; frames keep their numbers."""
        extras = {name: plane[index] for name, plane in self.extras.items()}
        return VisualTokens(self.features[index], self.coords[index], self.grid, self.times_us, extras)

    def without(self, planes: Collection[str]) -> "VisualTokens":
        """Leave planes out of the extras, those that are there."""
        return replace(self, extras={name: plane for name, plane in self.extras.items() if name not in planes})

    def frame(self, t: int) -> "VisualTokens":
        """Cut out frame t as visual tokens of one frame (its t becomes 0)."""
        rows = torch.nonzero(self.coords[:, 0] == t).squeeze(1)
        coords = self.coords[rows].clone()
        coords[:, 0] = 0
        extras = {name: plane[rows] for name, plane in self.extras.items()}
        return VisualTokens(self.features[rows], coords, self.grid, (self.times_us[t],), extras)

    @staticmethod
    def join(parts: "list[VisualTokens]") -> "VisualTokens":
        """Join visual tokens of one grid in time order, renumbering t.  Raises ValueError on an empty list."""
        if not parts:
            raise ValueError("nothing to join")
        coords, offset = [], 0
        for part in parts:
            moved = part.coords.clone()
            moved[:, 0] += offset
            coords.append(moved)
            offset += len(part.times_us)
        extras = {name: torch.cat([part.extras[name] for part in parts]) for name in parts[0].extras}
        features = torch.cat([part.features for part in parts])
        times = tuple(time for part in parts for time in part.times_us)
        return VisualTokens(features, torch.cat(coords), parts[0].grid, times, extras)


def check_times(images: int, times_us: Sequence[int]) -> None:
    """Raise ModelError when there are not as many times as images."""
    if images != len(times_us):
        raise ModelError(f"{images} images came with {len(times_us)} times; give one time for each image")


def check_planes(planes: Collection[str]) -> None:
    """Raise ModelError for planes that no vision tower has."""
    unknown = sorted(set(planes) - TOWER_PLANES)
    if unknown:
        raise ModelError(
            f"there is no plane {unknown[0]!r} of a frame; ask for some of {', '.join(sorted(TOWER_PLANES))}"
        )
