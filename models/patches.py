"""Patches: frames of any aspect ratio as the patches of a tower with native resolution (Qwen2.5-VL, Qwen3-VL).

A frame keeps its shape: both sides become multiples of a token's cell, and the number of cells stays inside a budget
(smart_resize of the Qwen2-VL and Qwen3-VL processors).  The tower's patches are two frames deep.  Every keyframe fills
a patch by itself, shown twice, as the processors do with a picture and with a video's odd last frame.  Pairing
keyframes would halve the tower's work and the memory, but they are picked because they differ, often by a cut and
seconds apart; and one without a partner would be read differently when a question comes than when it is stored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ModelError
from .preprocess import PixelScale, preprocessing_fields

MOST_ASPECT = 200
"""The largest ratio of a frame's sides; longer ones are squashed to it, where the processors give up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchPreprocessing(PixelScale):
    """Say how frames become patches; the defaults are Qwen2VLVideoProcessor's.

    patch: side of a patch in pixels.  merge: patches along a side of a token's cell.  temporal: frames in a patch.
    least_pixels, most_pixels: of one frame.  enlarge: frames with a side shorter than a cell are first enlarged.
    """

    patch: int = 14
    merge: int = 2
    temporal: int = 2
    least_pixels: int = 128 * 28 * 28
    most_pixels: int = 768 * 28 * 28
    enlarge: bool = False

    @classmethod
    def read(cls, folder: Path, default: "PatchPreprocessing", volume: bool, most_tokens: int) -> "PatchPreprocessing":
        """Read it from a model folder's preprocessing fields, the default's values where they are left out.

        volume: whether the folder's budgets are for all frames of a video together, as Qwen3-VL's; a stream has no
        length, so they then hold for one patch's frames.  most_tokens: budget of one frame beside the folder's.
        Raises ModelError for settings that no frame could be prepared by.
        """
        fields, path = preprocessing_fields(folder)
        numbers = {
            name: _whole(fields.get(key, getattr(default, name)), key, path)
            for name, key in (("patch", "patch_size"), ("merge", "merge_size"), ("temporal", "temporal_patch_size"))
        }
        frames = numbers["temporal"] if volume else 1
        size = fields.get("size")
        # As older files spell them: beside "size" (these go first) or in it.
        given = {**size, **fields} if isinstance(size, dict) else fields
        least = given.get("min_pixels", given.get("shortest_edge", default.least_pixels * frames))
        most = given.get("max_pixels", given.get("longest_edge", default.most_pixels * frames))
        cell = (numbers["patch"] * numbers["merge"]) ** 2
        if most_tokens < 1:
            raise ModelError(f"a frame may have {most_tokens} tokens; give 1 or more")
        most_pixels = min(_whole(most, "max_pixels", path) // frames, most_tokens * cell)
        return cls(
            **numbers,
            least_pixels=min(_whole(least, "min_pixels", path) // frames, most_pixels),
            most_pixels=max(most_pixels, cell),
            enlarge=default.enlarge,
            **default.settings(fields, path),
        )

    @property
    def cell(self) -> int:
        """Side of a token's cell, in pixels."""
        return self.patch * self.merge

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Choose the (h, w) cells of a frame of this height and width in pixels."""
        long, short = max(height, width), min(height, width)
        if long > MOST_ASPECT * short:
            height, width = min(height, MOST_ASPECT * short), min(width, MOST_ASPECT * short)
        cell = self.cell
        if self.enlarge and short < cell:
            scale = max(cell / height, cell / width)
            height, width = int(height * scale), int(width * scale)
        rows, columns = round(height / cell), round(width / cell)
        if rows * columns * cell * cell > self.most_pixels:
            shrink = math.sqrt(height * width / self.most_pixels)
            rows = max(1, math.floor(height / shrink / cell))
            columns = max(1, math.floor(width / shrink / cell))
        elif rows * columns * cell * cell < self.least_pixels:
            grow = math.sqrt(self.least_pixels / (height * width))
            rows, columns = math.ceil(height * grow / cell), math.ceil(width * grow / cell)
        # The processors pass their own budget where one side is a cell, or the two budgets are close; here it holds.
        most = self.most_pixels // cell**2
        if rows * columns > most:
            shorter = min(rows, columns, most)
            longer = most // shorter
            rows, columns = (shorter, longer) if rows <= columns else (longer, shorter)
        return rows, columns

    def patches(self, images: Sequence[NDArray[np.uint8]], grid: tuple[int, int], device: torch.device) -> Tensor:
        """Cut T frames uint8 [H, W, 3] into patches, each frame alone in its patches: float32 [T * h * w * merge², D].

        grid: (h, w) cells that every frame is squashed to.  D is 3 * temporal * patch².  Patches of one cell stand
        together, as the towers merge them.
        """
        height, width = grid
        pixels = self.scaled(images, (height * self.cell, width * self.cell), device)
        cut = pixels.view(len(images), 3, height, self.merge, self.patch, width, self.merge, self.patch)
        cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)  # [T, h, w, merge, merge, 3, patch, patch]
        deep = cut[..., None, :, :].expand(*cut.shape[:6], self.temporal, self.patch, self.patch)
        return deep.reshape(len(images) * height * width * self.merge**2, -1)


def _whole(value: object, name: str, path: Path) -> int:
    if type(value) is not int or value < 1:
        raise ModelError(f'{path}: "{name}" must be a whole number over 0, not {value!r}')
    return value
