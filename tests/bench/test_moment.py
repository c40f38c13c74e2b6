"""What policies read of a stream, for every family."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from onlooker.bench.moment import Moment
from onlooker.bench.rivals import ReKV, pool_of
from onlooker.frame import Frame
from onlooker.models.backbone import Backbone, HeadId
from onlooker.models.loading import load_backbone
from onlooker.settings import Settings
from onlooker.stream.ingest import Ingest
from onlooker.theatre.show import Show

HEADS = (HeadId(0, 0),)


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def model(
    request: pytest.FixtureRequest, make_tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Backbone:
    return load_backbone(str(make_tiny_model(tmp_path_factory.mktemp("family"), family=request.param)), device="cpu")


def moment_of(model: Backbone, **changes: object) -> Moment:
    ingest = Ingest(model, Settings(**{"keyframes": "all", "chunk_frames": 4, **changes}), HEADS)  # type: ignore[arg-type]
    drawn = list(Show(3, 32.0, 64).frames(1.0))
    frames = [Frame.from_array(f.image, 5_000_000 + 700_000 * n, n) for n, f in enumerate(drawn[:23])]
    for frame in frames:
        ingest.see(frame)
    return Moment(ingest, frames[-4:], lambda times: [frames[0] for _ in times])


def test_waiting_blocks_go_on_where_the_stored_ones_end(model: Backbone) -> None:
    moment = moment_of(model)
    assert len(moment.waiting) == 3 and len(moment.blocks) == 23
    for before, after in pairwise(moment.blocks):
        assert before.place is not None and after.place == before.place + before.extent
    whole = moment.assemble([moment.ingest.sink, *moment.blocks])
    assert len(whole) == len(moment.all_blocks) == len(moment.ingest.sink) + sum(map(len, moment.blocks))


def test_frames_of_which_nothing_is_left_are_no_finds(model: Backbone) -> None:
    moment = moment_of(model, prune_rate=0.05)
    pool = pool_of(moment.blocks, moment.ingest.sink)
    assert len(pool) == sum(len(block) > 0 for block in moment.blocks)
    assert bool(pool.means().isfinite().all())
    assert ReKV().memory_bytes(moment) > 0
