from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import LlavaOnevisionForConditionalGeneration


@pytest.fixture(scope="session")
def reference(tiny_folder: Path) -> Any:
    """transformers' own model from the same folder, with its own attention."""
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(
        tiny_folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


@pytest.fixture(scope="session")
def pictures() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(5)
    return [random.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(6)]
