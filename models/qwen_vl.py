"""What the Qwen-VL families share: a tower with native resolution, M-RoPE, vision markers."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ModelError
from .adapter import Adapter
from .patches import PatchPreprocessing
from .template import PromptFormat, PublishedFormat
from .tokens import VisualTokens, check_times

# Patches that go through the vision tower at once: 32 frames of 196 tokens are 25,088.
_ENCODE_PATCHES = 1 << 15


class QwenVL(Adapter):
    """Adapt a Qwen-VL model; each keyframe is one temporal grid of its tower (see models/patches.py)."""

    defaults: ClassVar[PatchPreprocessing]
    volume: ClassVar[bool]  # whether the pixel budgets in the model's files are for a whole video

    published = PublishedFormat(
        "<|im_start|>system\n{}<|im_end|>\n",
        PromptFormat("<|im_start|>user\n", "", "<|im_end|>\n<|im_start|>assistant\n"),
    )

    def _prepare(self, folder: Path, frame_tokens: int) -> PatchPreprocessing:
        vision = self._config.vision_config
        self._patches = PatchPreprocessing.read(folder, self.defaults, self.volume, frame_tokens)
        read = (self._patches.patch, self._patches.merge, self._patches.temporal)
        built = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        if read != built:
            raise ModelError(
                f"{folder} prepares patches of {read} (side, merge, frames), but its vision tower takes {built}; "
                "mend its preprocessor_config.json"
            )
        return self._patches

    def _markers(self) -> tuple[str, str]:
        """Give the tokens that begin and end a vision part."""
        return self._token(self._config.vision_start_token_id), self._token(self._config.vision_end_token_id)

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Choose the (h, w) cells of a frame of this height and width in pixels, within the budget of tokens."""
        return self._patches.grid_of(height, width)

    def encode(
        self, images: Sequence[NDArray[np.uint8]], times_us: Sequence[int], grid: tuple[int, int] | None = None
    ) -> VisualTokens:
        """Turn RGB frames [H, W, 3], of any sizes, into visual tokens of one grid, by default the first frame's own.

        Raises ModelError when there are not as many times as images.
        """
        check_times(len(images), times_us)
        if grid is None:
            grid = self.grid_of(*images[0].shape[:2]) if len(images) else (1, 1)
        step = max(1, _ENCODE_PATCHES // (grid[0] * grid[1] * self._patches.merge**2))
        parts = [self._features(images[start : start + step], grid) for start in range(0, len(images), step)]
        coords = torch.cartesian_prod(torch.arange(len(images)), torch.arange(grid[0]), torch.arange(grid[1]))
        planes = [part[1] for part in parts if part[1] is not None]
        return VisualTokens(
            features=torch.cat([self._text_rows(""), *(part[0] for part in parts)]),
            coords=coords.to(self.device, torch.int32),
            grid=grid,
            times_us=tuple(int(time) for time in times_us),
            extras={"deepstack": torch.cat(planes)} if planes else {},
        )

    def _features(self, images: Sequence[NDArray[np.uint8]], grid: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """Encode T frames as T temporal grids of one video: features [T * h * w, D], planes [T * h * w, p, D]."""
        merge = self._patches.merge
        with torch.no_grad():
            patches = self._patches.patches(images, grid, self.device).to(self.layout.dtype)
            shape = torch.tensor([[len(images), grid[0] * merge, grid[1] * merge]], device=self.device)
            out = self._model.model.get_video_features(pixel_values_videos=patches, video_grid_thw=shape)
            deepstack = getattr(out, "deepstack_features", None)
            planes = torch.stack([plane[0] for plane in deepstack], dim=1) if deepstack else None
            features: Tensor = out.pooler_output[0]
            return features, planes
