"""Phrases of training: whole, of their kind, and never the bench's held-out wording."""

import numpy as np
import pytest

from onlooker.theatre.questions import KINDS, Kind, order_answer, wording
from training.phrases import PHRASES, phrase


def test_every_kind_has_phrases() -> None:
    assert set(PHRASES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_phrases_are_whole_and_never_the_held_out_wording(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    held_out = wording(rng, kind, "fox", "dog", held_out=True)
    made = {phrase(rng, kind, "fox", "dog") for _ in range(500)}
    assert len(made) > 100
    assert not any(held_out.rstrip("?") == text.rstrip("?") for text in made)
    for text in made:
        assert not set("[]{}|") & set(text)
        assert ("fox" in text) == (kind != "present")


def test_an_order_phrase_asks_for_a_word_that_answers_it() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        text = phrase(rng, "order", "fox", "dog")
        named = order_answer(text, "fox", "dog", True)
        assert named == ("before" if " before " in text and " after " in text else "the fox")
        assert "dog" in text
