from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HEADS = ((0, 1), (2, 3))


@pytest.fixture(scope="session")
def stamped_folder(make_tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a tiny model whose frames carry the clock and that has retrieval heads."""
    card = {"time_stamps": "clock", "retrieval_heads": [list(head) for head in HEADS]}
    return make_tiny_model(tmp_path_factory.mktemp("stamped"), card=card)


@pytest.fixture(scope="session")
def backbone(stamped_folder: Path) -> Any:
    from onlooker.models.loading import load_backbone

    return load_backbone(str(stamped_folder), device="cpu")


@pytest.fixture(scope="session")
def make_moment(backbone: Any) -> Any:
    """Give a function that streams a one-minute show under settings: the moment at its end, its questions."""
    from onlooker.bench.recall_bench import RecallPlan, moments_of
    from onlooker.settings import Settings
    from onlooker.theatre.show import Show

    def make(**settings: Any) -> Any:
        plan, heads = RecallPlan(minutes=1.0), backbone.card.retrieval_heads
        *_, last = moments_of(backbone, Show(5, 64.0, size=64), plan, Settings(**settings), heads)
        return last

    return make


@pytest.fixture(scope="session")
def ended(make_moment: Any) -> Any:
    return make_moment()


@pytest.fixture(scope="session")
def moment(ended: Any) -> Any:
    """Give the end of the show; tests read it and change nothing."""
    return ended[0]


@pytest.fixture(scope="session")
def questions(ended: Any) -> Any:
    return ended[1]


@pytest.fixture(scope="session")
def exact_moment(make_moment: Any) -> Any:
    """Give a moment at which nothing was dropped: every frame, every token, a window over all of it."""
    return make_moment(codec="raw", keyframes="all", recipe="none", window_frames=256)[0]
