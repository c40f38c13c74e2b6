"""The gate and the time phrases, on how people ask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.memory.gate import GateSetting, decide
from onlooker.memory.time_phrases import parse_clock, parse_time

S, M, H = 1_000_000, 60_000_000, 3_600_000_000
NOW = 2 * H


@pytest.mark.parametrize(
    ("question", "since", "until"),
    [
        ("What was there ten minutes ago?", NOW - 12 * M, NOW - 8 * M),
        ("and a minute ago", NOW - 90 * S, NOW - 30 * S),
        ("who came half an hour ago?", NOW - H, NOW),
        ("what did you see twenty-five seconds ago", NOW - 30 * S, NOW - 20 * S),
        ("30 mins ago?", NOW - 36 * M, NOW - 24 * M),
        ("1.5 hours ago", NOW - 2 * H, NOW - H),
        ("1 hour and 30 minutes ago", NOW - 108 * M, NOW - 72 * M),
        ("1 hour 20 minutes ago", NOW - 96 * M, NOW - 64 * M),
        ("1 hour, 5 minutes, and 30 seconds ago", NOW - 78 * M - 36 * S, NOW - 52 * M - 24 * S),
        ("2 minutes and 30 seconds ago", NOW - 3 * M, NOW - 2 * M),
        ("forty five minutes ago", NOW - 54 * M, NOW - 36 * M),
        ("seventy minutes ago", NOW - 84 * M, NOW - 56 * M),
        ("eighty-five seconds ago", NOW - 102 * S, NOW - 68 * S),
        ("an hour and a half ago", NOW - 2 * H, NOW - H),
        ("5minutes ago", NOW - 6 * M, NOW - 4 * M),
        ("more than 1 hour and 10 minutes ago", None, NOW - 70 * M),
        ("in the last hour and a half", NOW - 90 * M, None),
        ("in the first 2 minutes and 30 seconds", 0, 150 * S),
        ("what was shown 1 hour 20 minutes in?", 79 * M + 30 * S, 80 * M + 30 * S),
        ("at the 1 hour 20 minute mark", 79 * M + 30 * S, 80 * M + 30 * S),
        ("a few minutes ago", NOW - 4 * M - 30 * S, NOW - 90 * S),
        ("what happened more than an hour ago?", None, NOW - H),
        ("was it less than 5 minutes ago?", NOW - 5 * M, None),
        ("How many dogs in the last 5 minutes?", NOW - 5 * M, None),
        ("during the past hour", NOW - H, None),
        ("in the first two minutes", 0, 2 * M),
        ("what was at 3:25?", 3 * M + 20 * S, 3 * M + 31 * S),
        ("around 1:03:25, who spoke?", H + 3 * M + 20 * S, H + 3 * M + 31 * S),
        ("between 1:00 and 2:00, what moved?", M, 2 * M + S),
        ("from 2:00 to 1:00", M, 2 * M + S),
        ("after 10:00?", 10 * M, None),
        ("before 10:00?", None, 10 * M),
        ("at the 5 minute mark", 4 * M + 30 * S, 5 * M + 30 * S),
        ("what was shown 5 minutes in?", 4 * M + 30 * S, 5 * M + 30 * S),
    ],
)
def test_phrases(question: str, since: int | None, until: int | None) -> None:
    found = parse_time(question, NOW)
    assert found is not None
    assert (found.since_us, found.until_us) == (since, until)
    assert found.phrase in question.lower()


@pytest.mark.parametrize(
    "question",
    ["what is on the screen now?", "was the dog before the apple?", "at 3:25 pm", "is 3:2 the score?", "five dogs", ""],
)
def test_no_phrase(question: str) -> None:
    assert parse_time(question, NOW) is None


@pytest.mark.parametrize(
    "length",
    [
        "a hundred and twenty minutes",
        "two hundred twenty minutes",
        "three quarters of an hour",
        "1,5 hours",
        "1/2 hour",
        "10-15 minutes",
        "five or ten minutes",
        "1h 30 minutes",
        "20 5 minutes",
        "9" * 400 + " minutes",
    ],
)
def test_a_length_that_is_only_half_understood_is_no_phrase(length: str) -> None:
    assert parse_time(f"what was there {length} ago?", NOW) is None
    assert parse_time(f"what was there {length} in?", NOW) is None
    assert decide(f"what was there {length} ago?", NOW).history


@given(st.text(max_size=60), st.integers(0, 10**13))
def test_any_text_gives_a_sound_range(question: str, now: int) -> None:
    found = parse_time(question, now)
    if found is not None and found.since_us is not None and found.until_us is not None:
        assert found.since_us <= found.until_us


def test_a_moment_before_the_stream_began_is_cut_at_its_start() -> None:
    found = parse_time("ten minutes ago", 5 * M, start_us=M)
    assert found is not None
    assert found.since_us == M


def test_clock() -> None:
    assert parse_clock("1:02:03") == 3_723 * S
    with pytest.raises(ValueError, match="not a clock time"):
        parse_clock("1:75")


@pytest.mark.parametrize(
    ("question", "history"),
    [
        ("What is on the screen now?", False),
        ("What is currently to the left of the dog?", False),
        ("What is in the picture?", False),
        ("What is seen now?", False),
        ("Which things have been put on the table right now?", False),
        ("What has the man currently in his hand?", False),
        ("What is seen on the screen?", True),  # no word names this moment
        ("Has the dog been on the screen?", True),
        ("Was the dog seen before, and is it there now?", True),
        ("Who came in just now?", True),
        ("What was on the screen before the dog?", True),
        ("Have you seen the apple until now?", True),
        ("Did the dog appear on the screen?", True),
        ("When did the train come?", True),
        ("What can be seen ten minutes ago on the screen?", True),
        ("What colour is the apple?", True),
        ("Is the snowman a nowhere man?", True),  # "now" inside a word is no cue
        ("", True),
    ],
)
def test_gate(question: str, history: bool) -> None:
    assert decide(question, NOW).history is history


@pytest.mark.parametrize(("setting", "history"), [("always", True), ("never", False)])
def test_setting_decides_for_all(setting: GateSetting, history: bool) -> None:
    for question in ("What is there now?", "What was there?"):
        decision = decide(question, NOW, setting)
        assert (decision.history, decision.cue) == (history, setting)
    assert decide("What was there a minute ago?", NOW, setting).range is not None
