import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.protocol import server_events as told
from onlooker.stream.protocol.errors import CLOSE_CODES, ERRORS, EventError
from onlooker.stream.protocol.limits import Limits

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
ID = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)
TIMES = st.integers(-(2**53) + 1, 2**53 - 1)
SPANS = st.lists(st.tuples(TIMES, TIMES), max_size=4).map(tuple)
SEQ = st.none() | st.integers(1, 2**53 - 1)

events = st.one_of(
    st.builds(told.ResponseOutputTextDelta, seq=SEQ, response_id=ID, delta=TEXT),
    st.builds(
        told.ResponseDone,
        seq=SEQ,
        response_id=ID,
        status=st.sampled_from(["completed", "cancelled", "incomplete", "failed"]),
        reason=st.none() | ID,
        text=TEXT,
        refers_to_us=st.none() | TIMES,
        asked_at_us=TIMES,
        forgotten_us=SPANS,
        usage=st.dictionaries(st.text("abc_", min_size=1, max_size=9), st.integers(0, 10**9), max_size=4),
        timings=st.dictionaries(st.text("abc_", min_size=1, max_size=9), st.floats(0, 1e9), max_size=4),
        error=st.none() | st.builds(told.Fault, code=ID, message=TEXT, remedy=TEXT),
    ),
    st.builds(
        told.ResponseEvidence,
        seq=SEQ,
        response_id=ID,
        evidence=st.lists(
            st.builds(
                told.EvidencePiece,
                index=st.integers(0, 8),
                start_us=TIMES,
                end_us=TIMES,
                score=st.floats(-1e15, 1e15),
                source=st.sampled_from(["recalled", "recent"]),
                image=st.none() | ID,
            ),
            max_size=4,
        ).map(tuple),
    ),
    st.builds(told.MemoryEvicted, seq=SEQ, spans_us=SPANS),
    st.builds(told.Error.of, st.sampled_from(sorted(ERRORS)), TEXT, param=st.none() | TEXT, event_id=st.none() | ID),
)


@given(events)
def test_what_is_written_is_read_again(event: told.ServerEvent) -> None:
    text = told.write(event)
    assert told.SERVER_EVENTS.read(text, told.BOUNDS) == event
    assert told.read(text) == event


def test_a_newer_servers_fields_and_events_are_passed_over() -> None:
    line = (
        (Path(__file__).with_name("golden") / "server" / "memory.state.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()[1]
    )
    newer = json.loads(line)
    newer["mood"] = {"a": [1]}
    newer["timeline"][0]["colour"] = "red"
    assert told.read(json.dumps(newer)) == told.read(line)
    assert told.read('{"type":"weather.report","rain":true}') is None
    with pytest.raises(EventError, match="no field 'mood'"):
        told.SERVER_EVENTS.read(json.dumps(newer), told.BOUNDS)


def test_what_is_empty_is_null_but_for_the_head() -> None:
    made = json.loads(told.write(told.WatchFired(watch_id="w", condition="c", time_us=1, latency_ms=1.0, text="")))
    assert made["image"] is None
    assert "seq" not in made and "event_id" not in made


@pytest.mark.parametrize("code", ERRORS)
def test_every_error_has_words_a_remedy_and_a_close(code: str) -> None:
    kind = ERRORS[code]
    assert kind.meaning and kind.remedy and kind.close in CLOSE_CODES
    error = told.Error.of(code)
    assert (error.message, error.remedy, error.fatal) == (kind.meaning, kind.remedy, kind.fatal)
    assert told.read(told.write(error)) == error


def test_an_error_with_endless_words_is_cut_to_what_a_client_reads() -> None:
    error = told.Error.of("internal", "x" * 10_000, remedy="y" * 10_000, param="z" * 10_000)
    assert told.read(told.write(error)) == error


def test_the_limits_that_are_told_are_those_that_hold() -> None:
    limits = Limits(max_fps=5.0, watches=3)
    announced = told.SessionLimits.of(limits)
    assert (announced.max_fps, announced.watches, announced.message_bytes) == (5.0, 3, limits.message_bytes)


@pytest.mark.parametrize("text", ["", "[]", '{"type":"pong"}', '{"type":"pong","server_unix_us":"now"}'])
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(EventError):
        told.read(text)
