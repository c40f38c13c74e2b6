"""An engine over pocket, and frames of the theatre."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import onlooker
from onlooker.frame import Frame
from onlooker.theatre.show import Show


@pytest.fixture(scope="session")
def pocket() -> Any:
    return onlooker.load("pocket", device="cpu")


@pytest.fixture
def make_engine(pocket: Any) -> Iterator[Callable[..., onlooker.Engine]]:
    """Give a function that makes an engine; all are closed at the end, and their books checked."""
    made: list[onlooker.Engine] = []

    def make(**settings: Any) -> onlooker.Engine:
        made.append(onlooker.Engine(pocket, onlooker.EngineSettings(**settings)))
        return made[-1]

    yield make
    for engine in made:
        engine.check_integrity()
        engine.close()
        engine.check_integrity()


@pytest.fixture
def engine(make_engine: Callable[..., onlooker.Engine]) -> onlooker.Engine:
    return make_engine()


@pytest.fixture(scope="session")
def frames() -> list[Frame]:
    """Give 64 s of the theatre at 2 frames a second."""
    return list(Show(3, 64.0).frames(2.0))
