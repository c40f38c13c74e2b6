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
from .tokens import VisualTokens, check_planes, check_times

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
        self.tower_layers = vision.depth
        return self._patches

    def _markers(self) -> tuple[str, str]:
        """Give the tokens that begin and end a vision part."""
        return self._token(self._config.vision_start_token_id), self._token(self._config.vision_end_token_id)

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Choose the (h, w) cells of a frame of this height and width in pixels, within the budget of tokens."""
        return self._patches.grid_of(height, width)

    def encode(
        self,
        images: Sequence[NDArray[np.uint8]],
        times_us: Sequence[int],
        grid: tuple[int, int] | None = None,
        planes: frozenset[str] = frozenset(),
    ) -> VisualTokens:
        """Turn RGB frames [H, W, 3], of any sizes, into visual tokens of one grid, by default the first frame's own.

        planes: as Backbone.encode has them.  Raises ModelError when there are not as many times as images, and for
        planes that the tower cannot give.
        """
        check_times(len(images), times_us)
        check_planes(planes)
        if grid is None:
            grid = self.grid_of(*images[0].shape[:2]) if len(images) else (1, 1)
        step = max(1, _ENCODE_PATCHES // (grid[0] * grid[1] * self._patches.merge**2))
        parts = [self._features(images[start : start + step], grid, planes) for start in range(0, len(images), step)]
        coords = torch.cartesian_prod(torch.arange(len(images)), torch.arange(grid[0]), torch.arange(grid[1]))
        return VisualTokens(
            features=torch.cat([self._text_rows(""), *(part[0] for part in parts)]),
            coords=coords.to(self.device, torch.int32),
            grid=grid,
            times_us=tuple(int(time) for time in times_us),
            extras=self._extras([part[1] for part in parts], images, grid, planes),
        )

    def _features(
        self, images: Sequence[NDArray[np.uint8]], grid: tuple[int, int], planes: frozenset[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Encode T frames as T temporal grids of one video: features [T * h * w, D] and planes [T * h * w, ...].

        The planes are DeepStack's [T * h * w, p, D], where the model has them, and those of the tower's attention.
        """
        merge = self._patches.merge
        record = self._record(planes, len(images) * grid[0] * grid[1] * merge**2)
        more = {} if record is None else {"tower_record": record}
        with torch.no_grad():
            patches = self._patches.patches(images, grid, self.device).to(self.layout.dtype)
            shape = torch.tensor([[len(images), grid[0] * merge, grid[1] * merge]], device=self.device)
            out = self._model.model.get_video_features(pixel_values_videos=patches, video_grid_thw=shape, **more)
            deepstack = getattr(out, "deepstack_features", None)
            extras = {"deepstack": torch.stack([plane[0] for plane in deepstack], dim=1)} if deepstack else {}
            if record is not None:
                extras |= {name: self._merged(p, len(images), grid) for name, p in record.planes().items()}
            features: Tensor = out.pooler_output[0]
            return features, extras

    def _merged(self, plane: Tensor, frames: int, grid: tuple[int, int]) -> Tensor:
        """Bring a plane of patches, in the tower's order, to cells in theirs: [T * h * w, L]."""
        cells = plane.view(-1, self._patches.merge**2, plane.shape[1]).mean(1)
        order = self._tower_order(frames, grid)
        return cells if order is None else torch.empty_like(cells).index_copy_(0, order.to(cells.device), cells)

    def _tower_order(self, frames: int, grid: tuple[int, int]) -> Tensor | None:
        """Give the cells' numbers in the order that the tower has them in, int64 [T * h * w]; None for their own."""
        return None
