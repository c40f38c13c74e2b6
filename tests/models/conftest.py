from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onlooker.models.backbone import Backbone
from onlooker.models.loading import load_backbone


@pytest.fixture(scope="session", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def family(request: pytest.FixtureRequest) -> str:
    """The families that pass the same tests."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def folder(family: str, make_tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a tiny model of the family that no test changes."""
    return make_tiny_model(tmp_path_factory.mktemp(family), family=family)


@pytest.fixture(scope="session")
def backbone(folder: Path) -> Backbone:
    """Give that model as a backbone, float32 on the CPU."""
    return load_backbone(str(folder), device="cpu")


@pytest.fixture(scope="session")
def own(tiny: Any, folder: Path, family: str) -> Any:
    """transformers' own model from the same folder, with its own attention and rotation."""
    return tiny.OwnModel(folder, family)


@pytest.fixture(scope="session")
def reference(tiny: Any, tiny_folder: Path) -> Any:
    """transformers' own LLaVA-OneVision from the folder that all tests share."""
    return tiny.OwnModel(tiny_folder, "llava_onevision").model


@pytest.fixture(scope="session")
def pictures() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(5)
    return [random.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(6)]
