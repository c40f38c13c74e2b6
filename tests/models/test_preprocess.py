import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from onlooker.errors import ModelError
from onlooker.models.preprocess import Preprocessing

CPU = torch.device("cpu")
SETTINGS = {
    "size": {"height": 20, "width": 30},
    "resample": 3,
    "rescale_factor": 1 / 255,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.6, 0.7],
}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def weights(old: int, new: int, kernel: Callable[[np.ndarray], np.ndarray], support: float) -> np.ndarray:
    """Resampling weights [new, old] by their definition: the kernel, widened when shrinking, normed at the borders."""
    scale = old / new
    width = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    distance = (np.arange(old)[None, :] + 0.5 - centres[:, None]) / width
    raw = np.where(np.abs(distance) < support, kernel(np.abs(distance)), 0.0)
    return raw / raw.sum(axis=1, keepdims=True)


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic with a = -0.5."""
    return np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2)


def triangle(x: np.ndarray) -> np.ndarray:
    return 1 - x


def resized_by_definition(
    image: np.ndarray, height: int, width: int, kernel: Callable[[np.ndarray], np.ndarray], support: float
) -> np.ndarray:
    """Rows first, then columns, rounded to uint8 after each."""
    across = np.einsum("hwc,vw->hvc", image.astype(float), weights(image.shape[1], width, kernel, support))
    across = np.clip(across, 0, 255).round()
    down = np.einsum("hwc,uh->uwc", across, weights(image.shape[0], height, kernel, support))
    return np.clip(down, 0, 255).round()


def assert_close_in_steps(preprocessing: Preprocessing, image: np.ndarray, expected: np.ndarray) -> None:
    """torch's uint8 weights have 15 bits, so a few values are rounded to the next step."""
    ours = preprocessing.pixel_values([image], CPU)[0].permute(1, 2, 0).numpy()
    steps = np.abs(ours * preprocessing.std + preprocessing.mean - expected / 255) * 255
    assert steps.max() < 2.01
    assert steps.mean() < 0.1


@given(height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 9))
def test_equals_the_definition(height: int, width: int, seed: int) -> None:
    image = picture(height, width, seed)
    preprocessing = Preprocessing(size=(20, 30), mean=(0.5, 0.4, 0.3), std=(0.5, 0.6, 0.7))
    assert_close_in_steps(preprocessing, image, resized_by_definition(image, 20, 30, cubic, 2.0))


def test_a_frame_of_the_right_size_is_not_resampled() -> None:
    image = picture(20, 30)
    ours = Preprocessing(size=(20, 30), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).pixel_values([image], CPU)[0]
    expected = image.transpose(2, 0, 1).astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-6)


def test_mixed_sizes_keep_their_order() -> None:
    images = [picture(9, 9, 1), picture(50, 40, 2), picture(9, 9, 3), picture(20, 30, 4)]
    preprocessing = Preprocessing(size=(20, 30))
    together = preprocessing.pixel_values(images, CPU)
    apart = torch.cat([preprocessing.pixel_values([image], CPU) for image in images])
    assert torch.equal(together, apart)


def test_reads_the_filter(tmp_path: Path) -> None:
    image = picture(61, 47)
    nearest = image[((np.arange(20) + 0.5) * 61 / 20).astype(int)][:, ((np.arange(30) + 0.5) * 47 / 30).astype(int)]
    expected = {
        0: nearest,
        2: resized_by_definition(image, 20, 30, triangle, 1.0),
        3: resized_by_definition(image, 20, 30, cubic, 2.0),
    }
    for resample, resized in expected.items():
        (tmp_path / "preprocessor_config.json").write_text(json.dumps({**SETTINGS, "resample": resample}))
        assert_close_in_steps(Preprocessing.read(tmp_path), image, resized)


def test_steps_that_are_switched_off(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({**SETTINGS, "do_rescale": False, "do_normalize": False})
    )
    image = picture(20, 30)
    ours = Preprocessing.read(tmp_path).pixel_values([image], CPU)[0]
    np.testing.assert_array_equal(ours.numpy(), image.transpose(2, 0, 1).astype(np.float32))


def test_defaults_are_the_video_processors(tmp_path: Path) -> None:
    """LlavaOnevisionVideoProcessor itself needs torchvision; these are the values in its class."""
    expected = Preprocessing(
        size=(384, 384), mode="bicubic", rescale=1 / 255, mean=tuple(OPENAI_CLIP_MEAN), std=tuple(OPENAI_CLIP_STD)
    )
    assert Preprocessing.read(tmp_path) == expected


def test_the_most_special_file_wins(tmp_path: Path) -> None:
    def write(name: str, content: object) -> None:
        (tmp_path / name).write_text(json.dumps(content))

    write("preprocessor_config.json", {**SETTINGS, "size": {"height": 1, "width": 1}})
    assert Preprocessing.read(tmp_path).size == (1, 1)
    write("video_preprocessor_config.json", {**SETTINGS, "size": {"height": 2, "width": 2}})
    assert Preprocessing.read(tmp_path).size == (2, 2)
    write("processor_config.json", {"image_token": "<image>"})
    assert Preprocessing.read(tmp_path).size == (2, 2)
    write("processor_config.json", {"video_processor": {**SETTINGS, "size": {"height": 3, "width": 3}}})
    assert Preprocessing.read(tmp_path).size == (3, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": {"shortest_edge": 384}}, "height"),
        ({"size": "large"}, "height"),
        ({"resample": 17}, "resample"),
        ({"image_mean": [0.5, 0.5]}, "image_mean"),
        ({"image_std": [0.5, 0.0, 0.5]}, "image_std"),
        ({"image_std": "wide"}, "image_std"),
    ],
)
def test_refuses_settings_that_cannot_be(tmp_path: Path, change: dict[str, object], message: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**SETTINGS, **change}))
    with pytest.raises(ModelError, match=message):
        Preprocessing.read(tmp_path)


def test_refuses_broken_json(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ModelError, match="not valid JSON"):
        Preprocessing.read(tmp_path)
