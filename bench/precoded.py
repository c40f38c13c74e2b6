"""A stream whose frames were encoded before: for running many recipes over just the same tokens."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..frame import Frame
from ..models.backbone import Backbone
from ..models.tokens import TOWER_PLANES, VisualTokens
from .timing import Stopwatch, TimedBackbone

_CHUNK = 8


class Precoded(TimedBackbone):
    """Look the tokens of frames up by their times, planes and all.

    Features do not depend on who else is pruned, so every recipe gets exactly the same ones.  tower_s: seconds that
    the vision tower took for all frames, by the planes that were asked of it.
    """

    def __init__(self, inner: Backbone, grid: tuple[int, int], tokens: dict[int, VisualTokens]) -> None:
        super().__init__(inner, Stopwatch(inner.device))
        self.grid = grid
        self.tower_s: dict[frozenset[str], float] = {}
        self._tokens = tokens

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Give the one grid there is."""
        return self.grid

    def encode(
        self,
        images: Sequence[NDArray[np.uint8]],
        times_us: Sequence[int],
        grid: tuple[int, int] | None = None,
        planes: frozenset[str] = frozenset(),
    ) -> VisualTokens:
        """Look frames up.  Raises ModelError for one that was not encoded."""
        return self.tokens_of(times_us, planes)

    def tokens_of(self, times_us: Sequence[int], planes: frozenset[str]) -> VisualTokens:
        """Look frames up by their times.  Raises ModelError for one that was not encoded."""
        try:
            joined = VisualTokens.join([self._tokens[time_us] for time_us in times_us])
        except KeyError as error:
            raise ModelError(f"no frame of {error} us was encoded before; encode all of the stream") from error
        return joined.without(TOWER_PLANES - planes)


def precode(
    backbone: Backbone, frames: Sequence[Frame], asked: Collection[frozenset[str]] = (frozenset(), TOWER_PLANES)
) -> Precoded:
    """Encode frames of one stream, a few at a time, once for each set of planes that is asked for, timed.

    Planes of all sets, of which there is one at least, are kept.  Raises ModelError without a frame.
    """
    if not frames:
        raise ModelError("there are no frames to encode; give one at least")
    grid = backbone.grid_of(*frames[0].image.shape[:2])
    tokens: dict[int, VisualTokens] = {}
    made = Precoded(backbone, grid, tokens)
    for start in range(0, len(frames), _CHUNK):
        part = frames[start : start + _CHUNK]
        images, times_us = [frame.image for frame in part], [frame.time_us for frame in part]
        passes = []
        for planes in asked:
            began = made.watch.now()
            passes.append(backbone.encode(images, times_us, grid, planes))
            made.tower_s[planes] = made.tower_s.get(planes, 0.0) + made.watch.now() - began
        extras = {name: plane for seen in passes for name, plane in seen.extras.items()}
        whole = replace(passes[0], extras=extras)
        tokens.update((frame.time_us, whole.frame(number)) for number, frame in enumerate(part))
    return made
