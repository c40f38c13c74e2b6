"""The same questions over the same blocks, as each codec reads them back."""

from typing import Any

import pytest
import torch

from onlooker.bench.codec_answers import answers_table, read_back, run_codecs
from onlooker.bench.codec_distortion import coded_by_name
from onlooker.bench.recall_bench import RecallPlan
from onlooker.memory.codecs.choice import codec_of


@pytest.fixture(scope="module")
def raw_moment(make_moment: Any) -> Any:
    return make_moment(codec="raw")[0]


@pytest.mark.parametrize("name", ["raw", "int4", "kivi-2"])
def test_a_moment_is_read_back_as_the_codec_leaves_it(raw_moment: Any, backbone: Any, name: str) -> None:
    [coded] = coded_by_name(backbone.layout, None, [name])
    view, nbytes, numbers = read_back(raw_moment, coded, codec_of("raw", backbone.layout))
    archive, own = raw_moment.ingest.archive, view.ingest.archive
    assert own.block_ids == archive.block_ids and own.traces is archive.traces
    assert numbers == 2 * archive.stats().tokens * backbone.layout.layers * backbone.layout.kv_heads * (
        backbone.layout.head_dim
    )
    same = [torch.equal(own.get(one).keys, archive.get(one).keys) for one in archive.block_ids if archive.size(one)]
    assert all(same) if name == "raw" else not any(same)
    near = [
        torch.nn.functional.cosine_similarity(own.get(one).values.flatten(), archive.get(one).values.flatten(), dim=0)
        for one in archive.block_ids
        if archive.size(one)
    ]
    assert min(near) > 0.6
    bits = 8 * nbytes / numbers
    assert 32.0 < bits < 36.0 if name == "raw" else 2.0 < bits < 10.0


def test_a_run_asks_every_codec_the_same(backbone: Any) -> None:
    layout, told = backbone.layout, list[str]()
    codecs = coded_by_name(layout, None, ["raw", "int8", "quanto-int2"])
    plan = RecallPlan(streams=1, minutes=1.5, fps=1.0)
    heads = backbone.card.retrieval_heads
    report = run_codecs(backbone, codecs, codec_of("raw", layout), plan, heads, told=told.append)
    assert [item.codec for item in report.answers] == [row.codec for row in report.distortion]
    assert [item.codec for item in report.answers] == ["raw", "int8", "quanto-int2"]
    assert len({item.ours[1] for item in report.answers} | {item.oracle[1] for item in report.answers}) == 1
    assert all(0 <= right <= asked > 0 for item in report.answers for right, asked in (item.ours, item.oracle))
    assert report.answers[0].bits > report.answers[1].bits > report.answers[2].bits
    table = answers_table(report)
    assert "ours against raw" in table and table.count("points") == 3
    assert "measuring distortion" in told
