"""The same on a GPU as on the CPU, for every family; skips itself where there is none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from onlooker.bench.whole_prompt import whole_prompt
from onlooker.frame import Frame
from onlooker.models.backbone import Backbone, Sampling
from onlooker.models.loading import load_backbone
from onlooker.settings import Settings
from onlooker.stream.session import Session

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def on_gpu(folder: Path) -> Any:
    return load_backbone(str(folder), device="cuda", dtype="float32")


def stream(pictures: list[NDArray[np.uint8]]) -> list[Frame]:
    return [Frame.from_array(pictures[n % 6], n * 700_000, n) for n in range(30)]


def test_preprocessing_differs_by_a_step_at_most(on_gpu: Any) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    scale = on_gpu.preprocessing
    here = scale.scaled([picture], (112, 168), on_gpu.device).cpu()
    there = scale.scaled([picture], (112, 168), torch.device("cpu"))
    steps = ((here - there) * torch.tensor(scale.std)[:, None, None] / scale.rescale).abs()
    assert steps.max() < 1.01 and steps.mean() < 0.05


def test_a_whole_prompt_gives_the_same_logits(
    backbone: Backbone, on_gpu: Any, pictures: list[NDArray[np.uint8]]
) -> None:
    logits = []
    for model in (backbone, on_gpu):
        rows = whole_prompt(model, stream(pictures)[:6], "where is the red ball ?")
        done = model.prefill(rows.features, rows.positions, logits=True, planes=rows.planes)
        assert done.logits is not None
        logits.append(done.logits.cpu())
    spread = float(logits[0].max() - logits[0].min())
    assert float((logits[0] - logits[1]).abs().max()) < 0.02 * spread  # a step of a pixel here and there


def test_a_session_runs_and_keeps_its_archive_in_host_memory(on_gpu: Any, pictures: list[NDArray[np.uint8]]) -> None:
    with Session(on_gpu, Settings(keyframes="all", gate="always")) as session:
        for frame in stream(pictures):
            session.see(frame)
        archive = session._open().ingest.archive
        assert all(archive.get(block_id).keys.device.type == "cpu" for block_id in archive.block_ids)
        answer = session.ask("where was the red ball ?", sampling=Sampling(8))
    assert answer.usage["recalled_tokens"] > 0
