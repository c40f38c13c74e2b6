"""What all tests share: no network, one hypothesis profile, GPU tests that skip themselves."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Before transformers is imported: no test may ask a hub, draw on a screen or fork tokenizer threads.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# The models are tiny: a second thread costs more than it brings, and far more on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nor may one read what was calibrated on this machine.
os.environ["XDG_DATA_HOME"] = str(Path(__file__).with_name("no-such-folder"))

# Deadlines measure the machine, not the code.  In CI the same examples come every time.
settings.register_profile("onlooker", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("onlooker")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs CUDA"))


@pytest.fixture(scope="session")
def tiny() -> Any:
    """Give the module tests/tiny.py."""
    spec = importlib.util.spec_from_file_location("tiny", Path(__file__).with_name("tiny.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_tiny_model(tiny: Any) -> Callable[..., Path]:
    """Give the function that writes a tiny random model: (folder, seed=0, card=None, family=...) -> folder."""
    maker: Callable[..., Path] = tiny.save_tiny_model
    return maker


@pytest.fixture(scope="session")
def tiny_folder(make_tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of one tiny model that all tests read and none changes."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_backbone(tiny_folder: Path) -> Any:
    """Give that model as a backbone, float32 on the CPU; it keeps no state, so tests may share it."""
    from onlooker.models.loading import load_backbone

    return load_backbone(str(tiny_folder), device="cpu")
