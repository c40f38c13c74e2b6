"""Selection covers what was asked for, within the budget."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.errors import SettingsError
from onlooker.memory.selection import Candidates, Readable, SelectionSettings, select

PLAIN = SelectionSettings(mass=1.0, neighbours=0)


def readable(sizes: dict[int, int]) -> Readable:
    ids = np.array(sorted(sizes), dtype=np.int64)
    return Readable(ids, np.array([sizes[i] for i in ids.tolist()], dtype=np.int32))


def alike(count: int = 1000) -> Readable:
    return readable(dict.fromkeys(range(count), 1))


def candidates(voices: np.ndarray, ids: np.ndarray | None = None) -> Candidates:
    best = voices.max(axis=0, initial=-np.inf) if len(voices) else np.zeros(voices.shape[1])
    return Candidates(
        np.arange(voices.shape[1]) if ids is None else ids,
        np.maximum(best, 1e-6),
        best,
        voices,
        np.zeros(len(voices), dtype=np.int64),
    )


@given(
    st.integers(0, 5),
    st.integers(0, 30),
    st.integers(0, 60),
    st.integers(0, 2),
    st.integers(0, 10_000),
    st.sampled_from((0.3, 0.9, 1.0)),
)
def test_choices_are_distinct_readable_and_within_the_budget(
    voices: int, blocks: int, budget: int, neighbours: int, seed: int, mass: float
) -> None:
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(60, blocks, replace=False))
    sizes = {int(i): int(n) for i, n in enumerate(rng.integers(0, 9, 60)) if n}
    settings = SelectionSettings(neighbours=neighbours, mass=mass)
    chosen = select(candidates(rng.standard_normal((voices, blocks)) * 4, ids), budget, readable(sizes), settings)
    assert len(chosen) == len(set(chosen))
    assert sum(sizes[i] for i in chosen) <= budget
    if mass == 1.0 and not neighbours:
        left = budget - sum(sizes[i] for i in chosen)
        assert all(i in chosen or sizes[i] > left for i in ids.tolist() if i in sizes)


def test_a_quieter_second_thing_gets_in() -> None:
    voices = np.full((2, 200), 0.5)
    voices[0, 10:110] = 12.0 + np.linspace(0, 1, 100)  # the dog, for a hundred blocks
    voices[1, 150] = 8.0  # the apple, once
    chosen = select(candidates(voices), 6, alike(), PLAIN)
    assert 109 in chosen[:1]
    assert 150 in chosen
    assert len(chosen) == 6
    # without a say of its own it would not: its score is below a hundred others
    alone = select(replace(candidates(voices), voices=voices[:0], source=np.zeros(0, np.int64)), 6, alike(), PLAIN)
    assert 150 not in alone


def test_one_long_event_does_not_take_all() -> None:
    voices = np.full((1, 300), 0.5)
    voices[0, :200] = 10.0
    voices[0, [230, 260, 290]] = 6.5
    chosen = select(candidates(voices), 8, alike(), PLAIN)
    assert {230, 260, 290} <= set(chosen)
    greedy = select(candidates(voices), 8, alike(), replace(PLAIN, decay=1.0))
    assert not {230, 260, 290} & set(greedy)


def test_neighbours_come_along_when_they_may_be_read() -> None:
    voices = np.full((1, 20), 0.1)
    voices[0, 7] = 9.0
    sizes = {i: 1 for i in range(20) if i != 8}
    settings = SelectionSettings(neighbours=1, least_blocks=1)
    assert select(candidates(voices), 10, readable(sizes), settings) == [7, 6]
    lone = candidates(np.full((1, 1), 9.0), np.array([7]))
    assert sorted(select(lone, 10, alike(), settings)) == [6, 7, 8]  # neighbours that were no hit themselves


def test_mass_ends_the_choice_early() -> None:
    voices = np.full((1, 100), 1.0)
    voices[0, 40:44] = 20.0
    settings = SelectionSettings(mass=0.9, least_blocks=2, neighbours=0)
    assert sorted(select(candidates(voices), 50, alike(), settings)) == [40, 41, 42, 43]


def test_weak_voices_are_not_heard() -> None:
    rng = np.random.default_rng(3)
    voices = rng.uniform(0, 4, (10, 500))  # words that mean nothing to the head
    voices[4, 321] = 15.0
    voices[4, 123] = 13.0
    assert set(select(candidates(voices), 2, alike(), PLAIN)) == {321, 123}


def test_a_best_block_that_does_not_fit_gives_way() -> None:
    voices = np.array([[9.0, 8.0, 7.0]])
    assert select(candidates(voices), 4, readable({0: 5, 1: 4, 2: 1}), PLAIN) == [1]
    assert select(candidates(voices), 0, alike(), PLAIN) == []


@pytest.mark.parametrize("change", [{"mass": 0.0}, {"decay": 1.5}, {"neighbours": -1}])
def test_settings_are_checked(change: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="selection needs"):
        SelectionSettings(**change)  # type: ignore[arg-type]


def test_what_is_excluded_or_unknown_may_not_be_read() -> None:
    some = Readable(np.array([2, 5, 9]), np.array([4, 6, 8]), exclude=(5, 70))
    assert [some.size(block_id) for block_id in (1, 2, 5, 9, 10)] == [None, 4, None, 8, None]
    assert some.sizes(np.array([0, 2, 5, 9, 99])).tolist() == [np.inf, 4, np.inf, 8, np.inf]
    assert len(some) == 2
    nothing = Readable(np.zeros(0, np.int64), np.zeros(0, np.int32))
    assert nothing.size(0) is None
    assert nothing.sizes(np.array([0])).tolist() == [np.inf]
