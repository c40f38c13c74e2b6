"""What the server's tests share: the harness, and a tiny model."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from onlooker.model import Model


@pytest.fixture(scope="session")
def harness() -> Any:
    """Give the module harness.py."""
    spec = importlib.util.spec_from_file_location("server_harness", Path(__file__).with_name("harness.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def model(tiny_backbone: Any) -> Model:
    """Give the tiny model."""
    return Model(tiny_backbone)
