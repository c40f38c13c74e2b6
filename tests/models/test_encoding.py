from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from onlooker.errors import ModelError
from onlooker.models.backbone import Backbone
from onlooker.models.preprocess import Preprocessing


def test_features_equal_own_video_features(
    tiny_backbone: Backbone, tiny_folder: Path, reference: Any, pictures: list[NDArray[np.uint8]]
) -> None:
    tokens = tiny_backbone.encode(pictures, [0, 40, 80, 200, 240, 1000])
    pixels = Preprocessing.read(tiny_folder).pixel_values(pictures, torch.device("cpu"))
    with torch.no_grad():
        own = reference.get_video_features(pixel_values_videos=pixels[None]).pooler_output[0]
    assert own.shape == (6 * 4 + 1, 64)
    torch.testing.assert_close(tokens.features, own[:-1], atol=1e-5, rtol=0)
    assert tokens.times_us == (0, 40, 80, 200, 240, 1000)
    assert tokens.grid == tiny_backbone.grid_of(60, 80) == (2, 2)


def test_places_follow_the_pixels(tiny_backbone: Backbone) -> None:
    """Row (t, h, w) is the cell at height h and width w of frame t: a change in a corner moves that corner most."""
    plain = np.full((42, 42, 3), 90, dtype=np.uint8)
    marked = plain.copy()
    marked[:10, 30:] = (255, 0, 40)  # top right
    tokens = tiny_backbone.encode([plain, marked], [0, 1])
    assert tokens.coords.dtype == torch.int32
    assert tokens.coords.tolist() == [[t, h, w] for t in range(2) for h in range(2) for w in range(2)]
    moved = (tokens.frame(1).features - tokens.frame(0).features).norm(dim=1)
    assert tokens.coords[int(moved.argmax())].tolist()[1:] == [0, 1]


def test_a_frame_is_encoded_alike_alone_and_in_company(
    tiny_backbone: Backbone, pictures: list[NDArray[np.uint8]]
) -> None:
    many = [pictures[number % 6] for number in range(40)]  # more than go through the tower at once
    together = tiny_backbone.encode(many, range(40))
    alone = tiny_backbone.encode([pictures[3]], [0])
    for t in (3, 9, 39):
        torch.testing.assert_close(together.frame(t).features, alone.features, atol=1e-5, rtol=0)


def test_odd_frames(tiny_backbone: Backbone) -> None:
    shapes = [(1, 1), (4320, 7680), (1, 900), (900, 1), (42, 42), (1, 1)]
    images = [np.full((*shape, 3), 77, dtype=np.uint8) for shape in shapes]
    images[4].setflags(write=False)
    tokens = tiny_backbone.encode(images, range(6))
    assert len(tokens) == 24
    for t in range(1, 6):  # one colour is one colour at any size
        torch.testing.assert_close(tokens.frame(t).features, tokens.frame(0).features, atol=1e-5, rtol=0)


def test_no_frames_give_no_tokens(tiny_backbone: Backbone) -> None:
    tokens = tiny_backbone.encode([], [])
    assert tokens.features.shape == (0, 64)
    assert tokens.coords.shape == (0, 3)


def test_a_time_for_every_image(tiny_backbone: Backbone, pictures: list[NDArray[np.uint8]]) -> None:
    with pytest.raises(ModelError, match="6 images came with 2 times"):
        tiny_backbone.encode(pictures, [0, 1])
