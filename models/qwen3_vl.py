"""Qwen3-VL (arXiv 2511.21631) behind the backbone contract."""

from pathlib import Path

from transformers import Qwen3VLForConditionalGeneration

from ..errors import ModelError
from .card import CARD_NAME
from .patches import PatchPreprocessing
from .qwen_vl import QwenVL


class Qwen3VLBackbone(QwenVL):
    """Adapt transformers' Qwen3VLForConditionalGeneration to the backbone contract.

    Each frame is a vision part of its own behind its time stamp in seconds, as the processor writes a video.  Every
    frame's stamp is its true time: the processor can only give an index divided by a rate.  Its DeepStack planes go
    with the tokens, as extras["deepstack"].
    """

    model_type = "qwen3_vl"
    model_class = Qwen3VLForConditionalGeneration
    interleaved = True
    defaults = PatchPreprocessing(
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        patch=16,
        least_pixels=128 * 32 * 32 // 2,
        most_pixels=768 * 32 * 32 // 2,
        enlarge=True,
    )
    volume = True

    def _prepare(self, folder: Path, frame_tokens: int) -> PatchPreprocessing:
        if self.card.time_stamps != "none":
            raise ModelError(
                f'{folder / CARD_NAME}: "time_stamps" is {self.card.time_stamps!r}, but {self.model_type} models write '
                "time stamps of their own; remove it"
            )
        return super()._prepare(folder, frame_tokens)

    def _placeholder(self) -> str:
        # The format that Qwen trained on has no markers around the whole; transformers 5 leaves the template's in.
        start, end = self._markers()
        return start + super()._placeholder() + end

    def _around_frame(self, time_us: int) -> tuple[str, str]:
        start, end = self._markers()
        return self.stamp(time_us) + start, end

    def stamp(self, time_us: int) -> str:
        """Write the time before a frame as the processor does, such as "<205.0 seconds>"."""
        return f"<{max(time_us, 0) / 1e6:.1f} seconds>"
