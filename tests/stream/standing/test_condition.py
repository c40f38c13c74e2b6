import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.errors import ModelError, SettingsError
from onlooker.models.card import ModelCard
from onlooker.stream.standing.condition import MOST_CHARACTERS, Manner, is_question, tidy


@pytest.mark.parametrize(
    ("condition", "asked"),
    [
        ("Is there a snowman?", "Is there a snowman? Answer yes or no."),
        ("is there a snowman", "is there a snowman? Answer yes or no."),
        ("can you see a dog", "can you see a dog? Answer yes or no."),
        ("Say yes or no: is the gate open?", "Say yes or no: is the gate open?"),
        ("someone is at the door", "Is this true of what is shown now: someone is at the door? Answer yes or no."),
        ("Someone is there.", "Is this true of what is shown now: Someone is there? Answer yes or no."),
        ("can of paint", "Is this true of what is shown now: can of paint? Answer yes or no."),
        ("island", "Is this true of what is shown now: island? Answer yes or no."),
        ("a {} b", "Is this true of what is shown now: a {} b? Answer yes or no."),
    ],
)
def test_questions_are_asked_as_they_are_and_the_rest_is_put_into_one(condition: str, asked: str) -> None:
    assert Manner().put(tidy(condition)) == asked


def test_a_card_may_ask_in_its_own_way() -> None:
    card = ModelCard(other={"standing": {"question": "{}", "statement": "was there {}?", "rise": 0.9, "glance": 0.3}})
    manner = Manner.of(card)
    assert manner.put("is there a cat?") == "is there a cat?" and manner.put("a cat") == "was there a cat?"
    assert (manner.rise, manner.fall, manner.glance) == (0.9, Manner().fall, 0.3)
    assert Manner.of(ModelCard()) == Manner()


@pytest.mark.parametrize(
    ("standing", "message"),
    [
        ("was there {}?", "must be an object"),
        ({"wording": "x"}, "must be an object"),
        ({"statement": "was there x?"}, "one {} in it"),
        ({"question": "{} {}"}, "one {} in it"),
        ({"question": 3}, "one {} in it"),
        ({"rise": "high"}, "give numbers"),
        ({"rise": True}, "give numbers"),
        ({"rise": 0.2}, "fall < rise"),
        ({"glance": 2.0}, "cosine"),
        ({"glance": float("nan")}, "cosine"),
    ],
)
def test_a_card_of_no_use_is_refused(standing: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Manner.of(ModelCard(other={"standing": standing}))


@pytest.mark.parametrize("empty", ["", "   ", "\n", "?", "...", "{}"])
def test_conditions_without_words_are_refused(empty: str) -> None:
    with pytest.raises(SettingsError, match="no words"):
        tidy(empty)


def test_what_is_no_text_or_too_long_is_refused() -> None:
    with pytest.raises(SettingsError, match="not text"):
        tidy(None)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=rf"the limit is {MOST_CHARACTERS}"):
        tidy("a" * (MOST_CHARACTERS + 1))


@given(st.text(max_size=MOST_CHARACTERS))
def test_any_text_is_refused_or_becomes_one_line_that_is_asked(text: str) -> None:
    try:
        condition = tidy(text)
    except SettingsError:
        return
    asked = Manner().put(condition)
    assert condition == " ".join(condition.split()) and "?" in asked and asked.encode()
    assert condition.rstrip(".!") in asked or is_question(condition)
