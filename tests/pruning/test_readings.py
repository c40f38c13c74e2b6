"""What holds of every reading before the model, and what the registry refuses."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onlooker.errors import SettingsError
from onlooker.pruning.candidates import Candidates
from onlooker.pruning.inner import InnerReading
from onlooker.pruning.reading_stages import check_reading, share_of
from onlooker.pruning.readings import READINGS, OuterReading, build_reading
from onlooker.pruning.stages import Traits, check_ingest

OUTER = [name for name in READINGS if isinstance(build_reading(name), OuterReading)]
TEXT_FREE = {"none", "read-random", "read-uniform", "dart"}


def candidates(seed: int, count: int, words: int = 2) -> Candidates:
    generator = torch.Generator().manual_seed(seed)
    block = torch.arange(count) // 5
    return Candidates(
        torch.randn(count, 8, generator=generator),
        torch.stack([block, torch.arange(count) % 5, torch.zeros(count)], dim=1).int(),
        block,
        torch.randn(words, 8, generator=generator),
        torch.rand(count, generator=generator),
    )


@given(st.sampled_from(OUTER), st.integers(1, 40), st.floats(0.01, 1.0), st.integers(0, 10**6))
@settings(max_examples=150)
def test_rows_are_rising_unique_and_as_many_as_the_rate_says(name: str, count: int, rate: float, seed: int) -> None:
    rows = build_reading(name, rate).keep(candidates(seed, count)).tolist()  # type: ignore[union-attr]
    assert rows == sorted(set(rows)) and all(0 <= row < count for row in rows)
    assert len(rows) == (count if name == "none" else share_of(count, rate))


@pytest.mark.parametrize("name", READINGS)
def test_rate_one_reads_all_of_it(name: str) -> None:
    reading = build_reading(name, 1.0)
    assert isinstance(reading, OuterReading) and reading.rate == 1.0
    assert reading.keep(candidates(0, 17)).tolist() == list(range(17))


@pytest.mark.parametrize("name", OUTER)
def test_what_is_not_finite_breaks_nothing(name: str) -> None:
    asked = candidates(1, 20)
    asked.features[3], asked.features[7, 2], asked.importance[5] = torch.nan, torch.inf, torch.nan
    asked.words[0, 0] = -torch.inf
    rows = build_reading(name, 0.5).keep(asked).tolist()  # type: ignore[union-attr]
    assert rows == sorted(set(rows)) and len(rows) == (20 if name == "none" else 10)


@pytest.mark.parametrize("name", OUTER)
def test_half_precision_features_are_told_apart_in_float32(name: str) -> None:
    asked = candidates(2, 30)
    rounded = asked.features.bfloat16()
    half = replace(asked, features=rounded, words=asked.words.bfloat16().float())
    whole = replace(half, features=rounded.float())
    reading = build_reading(name, 0.3)
    assert isinstance(reading, OuterReading)
    assert torch.equal(reading.keep(half), reading.keep(whole))


@pytest.mark.parametrize("name", OUTER)
def test_the_question_decides_only_where_a_stage_says_so(name: str) -> None:
    asked = candidates(4, 40)
    reading = build_reading(name, 0.25)
    assert isinstance(reading, OuterReading)
    other = replace(asked, words=torch.randn(2, 8, generator=torch.Generator().manual_seed(9)))
    assert torch.equal(reading.keep(asked), reading.keep(other)) is (name in TEXT_FREE)
    assert ("text" in reading.picker.traits.needs) is (name not in TEXT_FREE)


@given(st.integers(0, 10_000), st.floats(0.01, 1.0))
def test_a_share_of_some_is_some(count: int, rate: float) -> None:
    share = share_of(count, rate)
    assert min(1, count) <= share <= count
    assert abs(share - count * rate) <= 0.5 or share == 1


@dataclass(frozen=True)
class Stub:
    traits: Traits = field(default=Traits())

    def pick(self, candidates: Candidates, count: int) -> Tensor:
        return torch.arange(count)


@pytest.mark.parametrize(
    ("traits", "words"),
    [
        (Traits(remembers=True), "must leave nothing behind"),
        (Traits(changes_features=True), "only chooses"),
        (Traits(lag=2), "looks 2 frame"),
        (Traits(needs=frozenset({"saliency", "text"})), "plane.s. saliency of the vision tower"),
    ],
)
def test_stages_that_a_question_cannot_use_are_refused(traits: Traits, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        check_reading({"pick": Stub(traits)})
    check_reading({"pick": Stub(Traits(needs=frozenset({"text", "attention"})))})


@pytest.mark.parametrize("name", READINGS)
def test_ingest_refuses_what_reads_the_question(name: str) -> None:
    stages = build_reading(name).stages
    if name in TEXT_FREE:
        check_ingest(stages)
    else:
        with pytest.raises(SettingsError, match="ingest must not know a question"):
            check_ingest(stages)


@pytest.mark.parametrize("name", set(READINGS) - set(OUTER))
def test_readings_inside_the_model_need_its_attention(name: str) -> None:
    reading = build_reading(name)
    assert isinstance(reading, InnerReading) and "attention" in reading.rater.traits.needs


@pytest.mark.parametrize(("name", "rate"), [("nothing", 0.5), ("dart", 0.0), ("dart", 1.5), ("none", -1.0)])
def test_unknown_names_and_rates_outside_their_limits_are_refused(name: str, rate: float) -> None:
    with pytest.raises(
        SettingsError, match="choose one of none, read-random" if name == "nothing" else "0 < rate <= 1"
    ):
        build_reading(name, rate)


def test_seeds_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match="seed"):
        build_reading("read-random", 0.5, seed=-1)
