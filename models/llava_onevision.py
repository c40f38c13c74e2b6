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
from .tokens import VisualTokens, check_planes, check_times

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
        self._patches = (vision.image_size // vision.patch_size) ** 2
        chosen = self._config.vision_feature_layer  # hidden states; that before the first layer is number 0
        states = range(vision.num_hidden_layers + 1)
        self.tower_layers = max(states[number] for number in ([chosen] if isinstance(chosen, int) else chosen))
        while self.tower_layers > 1 and self._mute(self.tower_layers - 1):
            self.tower_layers -= 1
        return self._preprocessing

    def _mute(self, layer: int) -> bool:
        """Say whether the attention of a layer of the tower writes nothing, as in pocket's closing layer."""
        place = f"encoder.layers.{layer}.self_attn.out_proj.weight"
        weights = [weight for name, weight in self._model.model.vision_tower.named_parameters() if name.endswith(place)]
        return bool(weights) and not weights[0].any()

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Give the (h, w) cells of a frame: the same for every size."""
        return self._grid

    def encode(
        self,
        images: Sequence[NDArray[np.uint8]],
        times_us: Sequence[int],
        grid: tuple[int, int] | None = None,
        planes: frozenset[str] = frozenset(),
    ) -> VisualTokens:
        """Turn RGB frames [H, W, 3], of any sizes, into visual tokens of the one grid there is.

        planes: as Backbone.encode has them.  Raises ModelError for another grid, when there are not as many times as
        images, and for planes that the tower cannot give.
        """
        check_times(len(images), times_us)
        check_planes(planes)
        if grid not in (None, self._grid):
            raise ModelError(f"frames of {self.name} have {self._grid} cells, not {grid}")
        height, width = self._grid
        starts = range(0, len(images), _ENCODE_FRAMES)
        parts = [self._features(images[start : start + _ENCODE_FRAMES], planes) for start in starts]
        coords = torch.cartesian_prod(torch.arange(len(images)), torch.arange(height), torch.arange(width))
        return VisualTokens(
            features=torch.cat([self._text_rows(""), *(part[0] for part in parts)]),
            coords=coords.to(self.device, torch.int32),
            grid=self._grid,
            times_us=tuple(int(time) for time in times_us),
            extras=self._extras([part[1] for part in parts], images, self._grid, planes),
        )

    def _features(
        self, images: Sequence[NDArray[np.uint8]], planes: frozenset[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Encode T frames as one video: features [T * h * w, D] and the planes of the tower's attention."""
        record = self._record(planes, len(images) * self._patches)
        # SigLIP's layers hand nothing else on to their attention.
        more = {} if record is None else {"attention_mask": record}
        with torch.no_grad():
            pixels = self._preprocessing.pixel_values(images, self.device).to(self.layout.dtype)
            out = self._model.model.get_video_features(pixel_values_videos=pixels[None], **more)
            pooled: Tensor = out.pooler_output[0]  # [T * h * w + 1, D]: the last row is the newline embedding
            extras = {} if record is None else record.planes()
            return pooled[:-1], {name: self._pooled(plane, len(images)) for name, plane in extras.items()}

    def _pooled(self, plane: Tensor, frames: int) -> Tensor:
        """Bring a plane of patches to cells, as the model does with features: [T * h * w, L]."""
        pooled: Tensor = self._model.model.apply_pooling(plane.view(frames, self._patches, -1))
        return pooled.flatten(0, 1)

    def stamp(self, time_us: int) -> str:
        """Write the clock before a frame, such as " 3:25"; empty when the model's card asks for none."""
        return clock_text(time_us) if self.card.time_stamps == "clock" else ""

    def _before_question(self) -> Tensor:
        newline: Tensor = self._model.model.image_newline.detach()
        return newline[None].to(self.device, self.layout.dtype)
