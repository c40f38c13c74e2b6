"""Preprocessing: uint8 frames to the vision tower's input, in torch, on the model's device."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import ModelError

# PIL's numbers, as the config files hold them. torchvision has no Lanczos for tensors and takes bicubic in its place.
_MODES = {0: "nearest-exact", 1: "bicubic", 2: "bilinear", 3: "bicubic"}

# Frames are resized in batches of one shape, of at most this many pixels, so that 8K frames do not pile up as floats.
_BATCH_PIXELS = 1 << 25


class ScaleSettings(TypedDict):
    """The four fields of PixelScale."""

    mode: str
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelScale:
    """Say how resized frames become pixel values; the defaults are those of CLIP's family.

    mode: torch's name of the interpolation.  rescale: factor on 0..255.  mean, std: per channel, after the rescaling.
    """

    mode: str = "bicubic"
    rescale: float = 1 / 255
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def settings(self, fields: Mapping[str, object], path: Path) -> ScaleSettings:
        """Read the four from preprocessing fields, these own values where they are left out.

        path: the file they stand in.  Raises ModelError for settings that no frame could be prepared by.
        """
        resample = fields.get("resample", 3)
        if not isinstance(resample, int) or resample not in _MODES:
            raise ModelError(f'{path}: "resample" is {resample!r}; this reads {sorted(_MODES)}')
        mean, std, rescale = self.mean, self.std, 1.0
        if fields.get("do_rescale", True):
            factor = fields.get("rescale_factor", self.rescale)
            if not isinstance(factor, int | float) or not np.isfinite(factor) or factor <= 0:
                raise ModelError(f'{path}: "rescale_factor" must be a number over 0, not {factor!r}')
            rescale = float(factor)
        if fields.get("do_normalize", True):
            mean = _channels(fields.get("image_mean", list(mean)), "image_mean", path)
            std = _channels(fields.get("image_std", list(std)), "image_std", path)
        else:
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return {"mode": _MODES[resample], "rescale": rescale, "mean": mean, "std": std}

    def scaled(self, images: Sequence[NDArray[np.uint8]], size: tuple[int, int], device: torch.device) -> Tensor:
        """Squash T frames uint8 [H, W, 3] of any sizes to size, and scale them: float32 [T, 3, height, width].

        Follows torchvision's resize as transformers calls it: antialiased, and rounded to uint8 before the rescaling.
        """
        resized = torch.empty((len(images), 3, *size), dtype=torch.uint8, device=device)
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for number, image in enumerate(images):
            by_shape.setdefault(image.shape, []).append(number)
        for shape, numbers in by_shape.items():
            step = max(1, _BATCH_PIXELS // (shape[0] * shape[1]))
            for start in range(0, len(numbers), step):
                batch = numbers[start : start + step]
                stacked = torch.from_numpy(np.stack([images[number] for number in batch])).to(device)
                resized[batch] = self._resize(stacked.permute(0, 3, 1, 2), size)
        # The two steps are one subtraction and one division, as transformers fuses them.
        mean = torch.tensor(self.mean, device=device) / self.rescale
        std = torch.tensor(self.std, device=device) / self.rescale
        return (resized.float() - mean[:, None, None]) / std[:, None, None]

    def _resize(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Squash uint8 [T, 3, H, W] to size, uint8."""
        if images.shape[-2:] == size:
            return images
        if self.mode == "nearest-exact":
            return interpolate(images, size=size, mode=self.mode)
        if images.device.type == "cpu":
            return interpolate(images, size=size, mode=self.mode, antialias=True)
        # torch has the uint8 kernel on the CPU only.
        return interpolate(images.float(), size=size, mode=self.mode, antialias=True).clamp_(0, 255).round_().byte()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing(PixelScale):
    """Say how frames are prepared that are all squashed to one size; defaults are LlavaOnevisionVideoProcessor's.

    size: (height, width).
    """

    size: tuple[int, int] = (384, 384)

    @classmethod
    def read(cls, folder: Path) -> "Preprocessing":
        """Read it from a model folder (see preprocessing_fields).

        Raises ModelError for settings that no frame could be prepared by.
        """
        fields, path = preprocessing_fields(folder)
        size = fields.get("size", {"height": 384, "width": 384})
        if isinstance(size, int):
            size = {"height": size, "width": size}
        if not isinstance(size, dict) or not {"height", "width"} <= size.keys():
            raise ModelError(f'{path}: "size" must give "height" and "width", not {size!r}')
        return cls(size=(int(size["height"]), int(size["width"])), **cls().settings(fields, path))

    def pixel_values(self, images: Sequence[NDArray[np.uint8]], device: torch.device) -> Tensor:
        """Prepare T frames uint8 [H, W, 3] of any sizes: float32 [T, 3, height, width] on the device."""
        return self.scaled(images, self.size, device)


def preprocessing_fields(folder: Path) -> tuple[Mapping[str, object], Path]:
    """Find a model folder's preprocessing fields, none where it has none, and the file they stand in.

    It is the first of transformers' files that has any: processor_config.json (its video_processor),
    video_preprocessor_config.json, preprocessor_config.json.  Fields that are null are left out, nested ones too:
    the processors then take their own value.  Raises ModelError for one that is no JSON.
    """
    for name, key in (
        ("processor_config.json", "video_processor"),
        ("video_preprocessor_config.json", None),
        ("preprocessor_config.json", None),
    ):
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{path} is not valid JSON ({error}); fetch the model again") from error
        found = content if key is None or not isinstance(content, dict) else content.get(key)
        if isinstance(found, dict):
            return _given(found), path
    return {}, folder


def _given(fields: Mapping[str, object]) -> dict[str, object]:
    return {
        name: _given(value) if isinstance(value, dict) else value for name, value in fields.items() if value is not None
    }


def _channels(value: object, name: str, path: Path) -> tuple[float, float, float]:
    """Check three finite numbers, one per channel."""
    if isinstance(value, list) and len(value) == 3 and all(isinstance(number, int | float) for number in value):
        red, green, blue = (float(number) for number in value)
        if np.isfinite([red, green, blue]).all() and (name != "image_std" or min(red, green, blue) > 0):
            return red, green, blue
    raise ModelError(f'{path}: "{name}" must be three numbers (deviations over 0), not {value!r}')
