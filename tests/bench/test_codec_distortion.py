"""Rate and distortion count what they say, on groups that ingest made."""

from typing import Any

import pytest
import torch

from onlooker.bench.codec_distortion import Own, codec_table, coded_by_name, measure_codecs
from onlooker.bench.codec_samples import Group, Sampled
from onlooker.errors import SettingsError
from onlooker.memory.block import KVLayout, RotarySpec
from onlooker.memory.codecs.choice import codec_of

LAYOUT = KVLayout(2, 4, 2, 16, torch.float32, RotarySpec(tuple(10.0 ** (-n / 8) for n in range(8))), "test")


@pytest.fixture(scope="module")
def stream() -> Sampled:
    made = torch.Generator().manual_seed(0)
    groups, start = [], 0
    for count in (40, 33, 64):
        keys, values = torch.randn(2, 2, 2, count, 16, generator=made)
        groups.append(Group(keys, values, torch.arange(start, start + count)[:, None]))
        start += count
    return Sampled(tuple(groups), tuple(torch.randn(2, 4, 6, 16, generator=made) for _ in range(5)))


def test_raw_has_no_error_and_all_its_bits(stream: Sampled) -> None:
    (row,) = measure_codecs([stream], LAYOUT, [Own(codec_of("raw", LAYOUT))])
    assert (row.key_error, row.value_error, row.logit_error, row.output_error) == (0.0, 0.0, 0.0, 0.0)
    assert 32.0 < row.bits < 32.2
    assert row.encode_ms is not None and row.decode_ms is not None


def test_fewer_bits_err_more_everywhere(stream: Sampled) -> None:
    rows = {row.codec: row for row in measure_codecs([stream, stream], LAYOUT, coded_by_name(LAYOUT, None))}
    assert "auto" not in rows and {"kivi-2", "quanto-int4", "vidkv-1.5/1.58"} <= rows.keys()
    for finer, coarser in (("raw16", "int8"), ("int8", "int4"), ("int4", "int2"), ("quanto-int4", "quanto-int2")):
        assert rows[finer].bits > rows[coarser].bits
        for error in ("key_error", "value_error", "logit_error", "output_error"):
            assert getattr(rows[finer], error) < getattr(rows[coarser], error)
    assert rows["kivi-2"].encode_ms is None
    table = codec_table(list(rows.values()))
    assert len(table.splitlines()) == len(rows) + 2 and "true bits" in table


def test_a_stream_twice_is_measured_as_once(stream: Sampled) -> None:
    codecs = coded_by_name(LAYOUT, None, ["int4"])
    once, twice = (measure_codecs([stream] * times, LAYOUT, codecs)[0] for times in (1, 2))
    assert once.bits == twice.bits
    assert once.logit_error == pytest.approx(twice.logit_error)


def test_names_are_chosen_or_refused() -> None:
    assert [coded.name for coded in coded_by_name(LAYOUT, None, ["quanto-int2", "int8"])] == ["int8", "quanto-int2"]
    with pytest.raises(SettingsError, match="kivi-2"):
        coded_by_name(LAYOUT, None, ["kivi-3"])


def test_questions_change_attention_errors_alone(stream: Sampled) -> None:
    (plain,) = measure_codecs([stream], LAYOUT, coded_by_name(LAYOUT, None, ["int2"]))
    fewer: Any = Sampled(stream.groups, stream.queries[:1])
    (less,) = measure_codecs([fewer], LAYOUT, coded_by_name(LAYOUT, None, ["int2"]))
    assert less.key_error == plain.key_error and less.logit_error != plain.logit_error
