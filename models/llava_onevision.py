"""LLaVA-OneVision (arXiv 2408.03326) behind the backbone contract."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from ..errors import ModelError
from .adapter import Adapter
from .card import clock_text
from .preprocess import Preprocessing
from .template import PromptFormat, PublishedFormat
from .tokens import VisualTokens, check_times

# Frames that go through the vision tower at once.
_ENCODE_FRAMES = 32


class LlavaOnevisionBackbone(Adapter):
    """Adapt transformers' LlavaOnevisionForConditionalGeneration to the backbone contract.

    Visual tokens are the pooled projections of get_video_features; every frame is squashed to the tower's square, so
    all have the same grid.  The newline embedding that transformers puts after a video opens the question.
    """

    model_type = "llava_onevision"
    model_class = LlavaOnevisionForConditionalGeneration
    published = PublishedFormat(
        "<|im_start|>system\n{}<|im_end|>",
        PromptFormat("<|im_start|>user ", "\n", "<|im_end|><|im_start|>assistant\n"),
    )

    def _prepare(self, folder: Path, frame_tokens: int) -> Preprocessing:
        vision = self._config.vision_config
        self._preprocessing = Preprocessing.read(folder)
        if self._preprocessing.size != (vision.image_size, vision.image_size):
            raise ModelError(
                f"{folder} prepares frames of {self._preprocessing.size}, but its vision tower takes "
                f"{vision.image_size} x {vision.image_size}; mend the size in its preprocessor_config.json"
            )
        side = math.ceil(vision.image_size // vision.patch_size / 2)
        self._grid = (side, side)
        return self._preprocessing

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Give the (h, w) cells of a frame: the same for every size."""
        return self._grid

    def encode(
        self, images: Sequence[NDArray[np.uint8]], times_us: Sequence[int], grid: tuple[int, int] | None = None
    ) -> VisualTokens:
        """Turn RGB frames [H, W, 3], of any sizes, into visual tokens of the one grid there is.

        Raises ModelError for another grid, and when there are not as many times as images.
        """
        check_times(len(images), times_us)
        if grid not in (None, self._grid):
            raise ModelError(f"frames of {self.name} have {self._grid} cells, not {grid}")
        height, width = self._grid
        parts = [torch.empty((0, self.hidden_size), dtype=self.layout.dtype, device=self.device)]
        starts = range(0, len(images), _ENCODE_FRAMES)
        parts.extend(self._features(images[start : start + _ENCODE_FRAMES]) for start in starts)
        coords = torch.cartesian_prod(torch.arange(len(images)), torch.arange(height), torch.arange(width))
        return VisualTokens(
            features=torch.cat(parts),
            coords=coords.to(self.device, torch.int32),
            grid=self._grid,
            times_us=tuple(int(time) for time in times_us),
        )

    def _features(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Encode T frames as one video: features [T * h * w, D]."""
        with torch.no_grad():
            pixels = self._preprocessing.pixel_values(images, self.device).to(self.layout.dtype)
            out = self._model.model.get_video_features(pixel_values_videos=pixels[None])
            pooled: Tensor = out.pooler_output[0]  # [T * h * w + 1, D]: the last row is the newline embedding
            return pooled[:-1]

    def stamp(self, time_us: int) -> str:
        """Write the clock before a frame, such as " 3:25"; empty when the model's card asks for none."""
        return clock_text(time_us) if self.card.time_stamps == "clock" else ""

    def _before_question(self) -> Tensor:
        newline: Tensor = self._model.model.image_newline.detach()
        return newline[None].to(self.device, self.layout.dtype)
