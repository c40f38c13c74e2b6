"""Codecs are calibrated on what a stream leaves in a memory that keeps it raw."""

from typing import Any

import pytest
import torch

from onlooker.bench.calibration_streams import Material, Watched
from onlooker.bench.codec_samples import calibrate_on, effects_of, queries_of, sampled
from onlooker.bench.policies import Oracle
from onlooker.memory.codecs.choice import codec_of


@pytest.fixture(scope="module")
def ended_raw(make_moment: Any) -> Any:
    return make_moment(codec="raw")


def test_groups_are_the_chunks_of_ingest(ended_raw: Any) -> None:
    moment, questions = ended_raw
    found = sampled(moment, questions[:2])
    archive, size = moment.ingest.archive, moment.ingest.settings.chunk_frames
    assert len(found.groups) == -(-len(archive) // size) and found.effects is None
    first = [archive.get(block_id) for block_id in archive.block_ids[:size]]
    assert torch.equal(found.groups[0].keys, torch.cat([block.keys for block in first], dim=2))
    positions = torch.cat([group.positions for group in found.groups])[:, 0]
    assert (positions.diff() >= 0).all()


def test_queries_are_those_of_the_model(ended_raw: Any, backbone: Any) -> None:
    moment, questions = ended_raw
    prompt = Oracle().read(moment, questions[0])
    found = queries_of(backbone, prompt)
    layout = backbone.layout
    assert found.shape == (layout.layers, layout.query_heads, len(prompt.features), layout.head_dim)
    assert found.isfinite().all() and found[1, 2].abs().sum() > 0


def test_effects_are_measured_in_every_layer(ended_raw: Any, backbone: Any) -> None:
    moment, questions = ended_raw
    prompts = [Oracle().read(moment, question) for question in questions[:3]]
    pairs = [(prompt, queries_of(backbone, prompt)) for prompt in prompts]
    effects = effects_of(backbone, pairs)
    assert effects.shape == (backbone.layout.layers, 2) and (effects > 0).all()
    assert torch.equal(effects, effects_of(backbone, pairs))


def test_calibration_gives_tables_that_code_its_stream(ended_raw: Any, backbone: Any) -> None:
    moment, questions = ended_raw
    asked: list[Any] = []

    def watch(_: Any, settings: Any, __: Any) -> Any:
        asked.append(settings.codec)
        yield from (Watched(moment, questions, []), Watched(moment, questions, []))

    told: list[str] = []
    tables = calibrate_on(backbone, Material("a short stream twice", 2, watch), told=told.append)
    assert asked == ["raw"] and told[-1] == "fitting the codec's tables"
    assert tables.source == "a short stream twice" and 1.5 < tables.bits < 2.3
    coder = codec_of("auto", backbone.layout, tables)
    group = sampled(moment, questions[:1]).groups[0]
    keys, _ = coder.decode(coder.encode(group.keys, group.values))
    spread = (group.keys - group.keys.mean(dim=2, keepdim=True)).square().sum()
    assert (keys - group.keys).square().sum() < 0.5 * spread
