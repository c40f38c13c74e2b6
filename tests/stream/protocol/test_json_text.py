import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.protocol.errors import EventError
from onlooker.stream.protocol.json_text import read_object, write_object

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def read(text: str, size: int = 1 << 20, depth: int = 16, count: int = 4096) -> dict[str, object]:
    return read_object(text, size, depth, count)


def refused(text: str, **limits: int) -> str:
    with pytest.raises(EventError) as caught:
        read(text, **limits)
    assert caught.value.code == "invalid_json"
    return caught.value.message


@given(st.dictionaries(st.text(), values, max_size=5))
def test_what_is_written_is_read_again(value: dict[str, object]) -> None:
    assert read(write_object(value)) == value


@given(st.text())
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    try:
        value = read(text)
    except EventError as error:
        refusal = error.code
    else:
        refusal = ""
        assert json.loads(text) == value
    assert refusal in ("", "invalid_json")


@given(st.dictionaries(st.text(), values, max_size=5))
def test_depth_and_count_are_those_of_the_values(value: dict[str, object]) -> None:
    def depth(one: object) -> int:
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    text = write_object(value)
    assert read(text, depth=depth(value)) == value
    if depth(value) > 1:
        assert "nested deeper" in refused(text, depth=depth(value) - 1)


@pytest.mark.parametrize(
    "text", ["", "[]", "1", '"a"', "null", "{}{}", "{'a':1}", '{"a":}', "\ufeff{}", '{"a":1,}', "{\x00}"]
)
def test_what_is_no_object_is_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 21, "1" * 5000])
def test_numbers_that_no_field_can_hold_are_refused(number: str) -> None:
    refused(f'{{"a":{number}}}')


def test_a_key_that_stands_twice_is_refused_at_any_depth() -> None:
    assert "'a' stands twice" in refused('{"b":[{"a":1,"a":1}]}')


def test_size_is_counted_in_bytes() -> None:
    text = json.dumps({"a": "é" * 10}, ensure_ascii=False)
    assert read(text, size=len(text) + 10)
    assert f"{len(text) + 10} bytes" in refused(text, size=len(text) + 9)


@pytest.mark.parametrize("text", ["[" * 500_000, '{"a":' * 100_000, '{"a":' + "[" * 17 + "]" * 17 + "}"])
def test_nesting_is_refused_before_a_parser_sees_it(text: str) -> None:
    assert "nested deeper than 16" in refused(text)


def test_the_number_of_values_is_bounded() -> None:
    assert read('{"a":[' + ",".join("1" * 4) + "]}", count=6)
    assert "more than 6 values" in refused('{"a":[' + ",".join("1" * 6) + "]}", count=6)


def test_brackets_and_commas_in_text_do_not_count() -> None:
    assert read(write_object({"a": '[[[{{{,,,\\"[' * 50}), depth=1, count=2)


@pytest.mark.parametrize("piece", ['"', '\\"', '"\\', '{"', '","', "\\"])
def test_text_that_never_closes_is_read_in_one_pass(piece: str) -> None:
    """Time that grew with the square of the length would run into hours here."""
    refused('{"a":"' + piece * 200_000)


def test_half_a_character_is_replaced_when_written() -> None:
    assert write_object({"a": "x\ud83dy", "b\udc00": 1}) == '{"a":"x\ufffdy","b\ufffd":1}'


def test_nan_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_object({"a": float("nan")})


def test_a_deep_limit_does_not_reach_the_interpreters() -> None:
    assert sys.getrecursionlimit() >= 1000  # what json itself needs at 64 levels is far below
    assert read('{"a":' * 64 + "1" + "}" * 64, depth=64)
