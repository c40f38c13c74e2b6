import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.memory.time_phrases import format_clock, parse_clock, parse_moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0", 0),
        ("90.5", 90.5),
        ("1:30", 90),
        ("01:30", 90),
        ("1:02:03", 3723),
        ("1:30.25", 90.25),
        ("45s", 45),
        ("2m", 120),
        ("1h2m", 3720),
        ("1h2m3.5s", 3723.5),
        ("1.5h", 5400),
        (" 1H2M ", 3720),
    ],
)
def test_times_that_people_write_are_read(text: str, seconds: float) -> None:
    assert parse_moment(text) == round(seconds * 1e6)


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "-5", "1:60", "1:2:3:4", "1m2h", "1h30", "h", "1:30pm", "5 m", "1e3", "."]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a .*time"):
        parse_moment(text)


@given(st.integers(0, 999 * 3600))
def test_a_clock_time_is_read_as_it_is_written(seconds: int) -> None:
    text = format_clock(seconds * 1_000_000 + 999_999)
    assert parse_clock(text) == parse_moment(text) == seconds * 1_000_000
