"""Qwen2.5-VL (arXiv 2502.13923) behind the backbone contract."""

from dataclasses import replace

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from .card import clock_text
from .patches import PatchPreprocessing
from .qwen_vl import QwenVL
from .template import PromptFormat, PublishedFormat


class Qwen2_5VLBackbone(QwenVL):  # noqa: N801  the model's own name
    """Adapt transformers' Qwen2_5_VLForConditionalGeneration to the backbone contract.

    The whole stream is one video: its frames share their h and w positions, and t follows the clock, tokens_per_second
    positions a second (absolute time, section 2.1.2).  A card that asks for time stamps as text makes each frame a
    vision part of its own behind its stamp, positions end to end, as pictures in a text stand.
    """

    model_type = "qwen2_5_vl"
    model_class = Qwen2_5_VLForConditionalGeneration
    defaults = PatchPreprocessing()
    volume = False

    def _placeholder(self) -> str:
        video = super()._placeholder()
        start, end = self._markers()
        return start + video + end if self._stamped else video

    def _published(self) -> PublishedFormat:
        (start, end), published = self._markers(), self.published
        if self._stamped:
            return published
        prompt = published.prompt
        around = PromptFormat(prompt.opening + start, end + prompt.before, prompt.after)
        return replace(published, prompt=around)

    @property
    def _stamped(self) -> bool:
        return self.card.time_stamps == "clock"

    def _ids_per_second(self) -> int:
        return 0 if self._stamped else int(self._config.vision_config.tokens_per_second)

    def _tower_order(self, frames: int, grid: tuple[int, int]) -> Tensor:
        # Layers with window attention want the cells of a window end to end, and all layers get them so.
        vision = self._config.vision_config
        side = vision.window_size // vision.spatial_merge_size // vision.patch_size
        cells = torch.arange(grid[0] * grid[1]).view(grid)
        windows = [part.flatten() for rows in cells.split(side) for part in rows.split(side, dim=1)]
        return (torch.arange(frames)[:, None] * cells.numel() + torch.cat(windows)).flatten()

    def _around_frame(self, time_us: int) -> tuple[str, str]:
        start, end = self._markers()
        return (self.stamp(time_us) + start, end) if self._stamped else ("", "")

    def stamp(self, time_us: int) -> str:
        """Write the clock before a frame, such as " 3:25"; empty when the model's card asks for none."""
        return clock_text(time_us) if self._stamped else ""
