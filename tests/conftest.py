"""What all tests share: no network, one hypothesis profile, GPU tests that skip themselves."""

import os

import pytest
from hypothesis import settings

# Before transformers is imported: no test may ask a hub, draw on a screen or fork tokenizer threads.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

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
