"""Frames of any aspect ratio: grids and patches against transformers' own processors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as smart_resize_video

from onlooker.errors import ModelError
from onlooker.models.loading import load_backbone
from onlooker.models.patches import PatchPreprocessing
from onlooker.models.qwen2_5_vl import Qwen2_5VLBackbone
from onlooker.models.qwen3_vl import Qwen3VLBackbone

CPU = torch.device("cpu")
SIDES = st.integers(1, 5000)


def picture(height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(height * 10_007 + width)
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


def within_aspect(height: int, width: int) -> bool:
    return max(height, width) <= 200 * min(height, width)


@given(SIDES, SIDES, st.integers(1, 600), st.integers(1, 1500))
def test_the_grid_is_that_of_qwen2_vls_processor(height: int, width: int, least: int, most: int) -> None:
    """But for frames with which the processor passes its own budget: there ours is kept."""
    least, most = sorted((least, most))
    preprocessing = PatchPreprocessing(least_pixels=least * 784, most_pixels=most * 784)
    rows, columns = preprocessing.grid_of(height, width)
    assert rows >= 1 and columns >= 1 and rows * columns <= most
    if within_aspect(height, width):
        tall, wide = smart_resize(height, width, 28, least * 784, most * 784)
        assert (rows * 28, columns * 28) == (tall, wide) or tall * wide > most * 784


@given(SIDES, SIDES, st.integers(1, 600), st.integers(1, 1500))
def test_the_grid_is_that_of_qwen3_vls_processor(height: int, width: int, least: int, most: int) -> None:
    """Its budgets are of all frames together; here of the two frames of one patch."""
    least, most = sorted((least, most))
    preprocessing = PatchPreprocessing(patch=16, least_pixels=least * 1024, most_pixels=most * 1024, enlarge=True)
    rows, columns = preprocessing.grid_of(height, width)
    assert rows >= 1 and columns >= 1 and rows * columns <= most
    if within_aspect(height, width):
        tall, wide = smart_resize_video(2, height, width, 2, 32, 2 * least * 1024, 2 * most * 1024)
        assert (rows * 32, columns * 32) == (tall, wide) or tall * wide > most * 1024


@given(st.integers(1, 10), st.integers(1, 9000), st.booleans())
def test_a_frame_that_is_too_long_is_squashed(short: int, long: int, upright: bool) -> None:
    """Where the processors give up, the frame counts as 200 times as long as it is wide."""
    long = max(long, 201 * short)
    preprocessing = PatchPreprocessing(most_pixels=196 * 784)
    size, limit = ((long, short), (200 * short, short)) if upright else ((short, long), (short, 200 * short))
    assert preprocessing.grid_of(*size) == preprocessing.grid_of(*limit)


@pytest.mark.parametrize("size", [(1, 1), (17, 900), (56, 80), (480, 640), (720, 1280), (1080, 608), (2160, 3840)])
def test_patches_are_those_of_the_picture_processor(size: tuple[int, int]) -> None:
    """A picture is two equal frames to it, as a keyframe is here; equal but for a step of the resize's rounding.

    Sizes that shrink on one side and grow on the other are left out: Pillow then resizes columns first, torch and
    torchvision rows first, and both clip in between.
    """
    own = Qwen2VLImageProcessorPil(size={"shortest_edge": 4 * 784, "longest_edge": 60 * 784})
    preprocessing = PatchPreprocessing(least_pixels=4 * 784, most_pixels=60 * 784)
    image = picture(*size)
    made = own(image, return_tensors="pt", input_data_format="channels_last")
    grid = preprocessing.grid_of(*size)
    assert made["image_grid_thw"].tolist() == [[1, grid[0] * 2, grid[1] * 2]]
    ours = preprocessing.patches([image], grid, CPU)
    std = torch.tensor(preprocessing.std).repeat_interleave(2 * 14 * 14)
    steps = ((ours - made["pixel_values"]) * std * 255).abs()
    assert steps.max() < 1.0 + 1e-3 and steps.mean() < 0.05


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_patches_are_those_of_the_video_processor(family: str) -> None:
    """Every frame shown twice, as each keyframe is here."""
    pytest.importorskip("torchvision", exc_type=ImportError)
    from transformers import AutoVideoProcessor, Qwen2VLVideoProcessor, Qwen3VLVideoProcessor

    assert AutoVideoProcessor is not None
    cell, kind = {"qwen2_5_vl": (28, Qwen2VLVideoProcessor), "qwen3_vl": (32, Qwen3VLVideoProcessor)}[family]
    defaults = {"qwen2_5_vl": Qwen2_5VLBackbone, "qwen3_vl": Qwen3VLBackbone}[family].defaults
    for size in [(60, 80), (480, 640), (1080, 608)]:
        images = [picture(*size), picture(*size)[::-1].copy(), picture(*size)[:, ::-1].copy()]
        frames = 6 if family == "qwen3_vl" else 1  # its budgets are of all frames together
        own = kind(
            size={"shortest_edge": 4 * cell**2 * frames, "longest_edge": 60 * cell**2 * frames},
            do_sample_frames=False,
            cap_pixels_per_frame=False,
        )
        video = torch.from_numpy(np.stack([image for image in images for _ in range(2)])).permute(0, 3, 1, 2)
        made = own(videos=[video], return_tensors="pt")
        preprocessing = PatchPreprocessing(
            mean=defaults.mean,
            std=defaults.std,
            patch=defaults.patch,
            least_pixels=4 * cell**2,
            most_pixels=60 * cell**2,
            enlarge=defaults.enlarge,
        )
        grid = preprocessing.grid_of(*size)
        assert made["video_grid_thw"].tolist() == [[3, grid[0] * 2, grid[1] * 2]]
        ours = preprocessing.patches(images, grid, CPU)
        std = torch.tensor(preprocessing.std).repeat_interleave(2 * defaults.patch**2)
        steps = ((ours - made["pixel_values_videos"]) * std * 255).abs()
        assert steps.max() < 1.0 + 1e-3


def test_a_patch_holds_its_place_and_both_its_frames() -> None:
    preprocessing = PatchPreprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), rescale=1.0, least_pixels=784)
    image = np.zeros((56, 84, 3), np.uint8)
    image[14:28, 70:84] = (10, 20, 30)  # cell (0, 2), in it the patch at row 1, column 1
    patches = preprocessing.patches([np.zeros_like(image), image], (2, 3), CPU).view(2, 6, 4, 3, 2, 14, 14)
    marked = torch.zeros(2, 6, 4, dtype=torch.bool)
    marked[1, 2, 3] = True
    assert torch.equal(patches.flatten(3).any(dim=3), marked)
    assert patches[1, 2, 3, :, :, 0, 0].tolist() == [[10, 10], [20, 20], [30, 30]]


SETTINGS: dict[str, Any] = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, "image_mean": [0.1, 0.2, 0.3]}


def read(tmp_path: Path, volume: bool = False, most_tokens: int = 196, **fields: object) -> PatchPreprocessing:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**SETTINGS, **fields}))
    return PatchPreprocessing.read(tmp_path, Qwen3VLBackbone.defaults, volume, most_tokens)


def test_budgets_are_the_folders_and_ours(tmp_path: Path) -> None:
    size = {"shortest_edge": 8 * 1024, "longest_edge": 64 * 1024}
    assert (read(tmp_path, size=size).least_pixels, read(tmp_path, size=size).most_pixels) == (8192, 65536)
    halved = read(tmp_path, True, size=size)
    assert (halved.least_pixels, halved.most_pixels) == (4096, 32768)
    assert read(tmp_path, most_tokens=10, size=size).most_pixels == 10 * 1024
    assert read(tmp_path, most_tokens=2, size=size).least_pixels == 2 * 1024  # ours is the stricter one
    old = read(tmp_path, size=size, min_pixels=1024, max_pixels=2048)
    assert (old.least_pixels, old.most_pixels) == (1024, 2048)
    assert old.mean == (0.1, 0.2, 0.3) and old.std == (0.5, 0.5, 0.5)


def test_what_is_null_is_the_processors_own(tmp_path: Path) -> None:
    """As published files have it: their processors take null for their own value."""
    size = {"shortest_edge": 8 * 1024, "longest_edge": 64 * 1024}
    nothing = dict.fromkeys(("resample", "rescale_factor", "do_rescale", "do_normalize", "min_pixels", "max_pixels"))
    assert read(tmp_path, size=size, **nothing) == read(tmp_path, size=size)
    assert read(tmp_path, size={**size, "min_pixels": None}) == read(tmp_path, size=size)
    assert read(tmp_path, size={"min_pixels": 8 * 1024, "max_pixels": 64 * 1024}) == read(tmp_path, size=size)
    assert read(tmp_path, image_mean=None).mean == Qwen3VLBackbone.defaults.mean


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rescale_factor": 0}, "rescale_factor.*over 0"),
        ({"rescale_factor": "1/255"}, "rescale_factor.*over 0"),
        ({"rescale_factor": float("nan")}, "rescale_factor.*over 0"),
        ({"patch_size": 0}, "patch_size.*whole number"),
        ({"merge_size": "two"}, "merge_size.*whole number"),
        ({"max_pixels": 1.5}, "max_pixels.*whole number"),
        ({"min_pixels": -1}, "min_pixels.*whole number"),
        ({"image_std": [0, 1, 1]}, "image_std"),
    ],
)
def test_refuses_settings_that_cannot_be(tmp_path: Path, fields: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(tmp_path, **fields)


def test_refuses_a_budget_of_no_tokens(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="0 tokens"):
        read(tmp_path, most_tokens=0)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_patches_of_another_tower_are_refused(
    make_tiny_model: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    folder = make_tiny_model(tmp_path, family=family)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "patch_size": 7}))
    with pytest.raises(ModelError, match="vision tower takes"):
        load_backbone(str(folder), device="cpu")
