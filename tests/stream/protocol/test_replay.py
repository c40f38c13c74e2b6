import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.protocol import server_events as told
from onlooker.stream.protocol.replay import MOST_RECEIVED, Replay


def delta(text: str) -> told.ResponseOutputTextDelta:
    return told.ResponseOutputTextDelta(response_id="r", delta=text)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=60),
    st.integers(16, 40),
    st.integers(200, 4000),
    st.integers(0, 70),
)
def test_what_was_missed_comes_in_order_or_there_is_a_gap(
    texts: list[str], most_events: int, most_bytes: int, last_seq: int
) -> None:
    replay = Replay(most_events, most_bytes)
    sent = [replay.add(delta(text)) for text in texts]
    assert [json.loads(message)["seq"] for message in sent] == list(range(1, len(texts) + 1))
    assert len(replay) <= most_events
    assert replay.nbytes <= most_bytes
    assert replay.nbytes == sum(len(message.encode()) for message in sent[len(sent) - len(replay) :])
    missed = replay.missed(last_seq)
    if last_seq > len(sent):
        assert missed.gap
    elif not missed.gap:
        assert list(missed.messages) == sent[last_seq:]
    else:
        assert len(missed.messages) < len(sent) - last_seq
        assert list(missed.messages) == sent[len(sent) - len(replay) :]


def test_one_message_over_all_bounds_is_sent_and_not_kept() -> None:
    replay = Replay(16, 100)
    assert len(replay.add(delta("x" * 1000))) > 1000
    assert (len(replay), replay.nbytes, replay.last_seq) == (0, 0, 1)
    assert replay.missed(0).gap
    assert not replay.missed(1).gap


def test_a_number_that_was_never_given_is_a_gap() -> None:
    replay = Replay(16, 1000)
    replay.add(delta("a"))
    missed = replay.missed(41)
    assert missed.gap
    assert len(missed.messages) == 1


def test_an_event_that_cannot_be_written_takes_no_number() -> None:
    replay = Replay(16, 1000)
    with pytest.raises(ValueError, match="JSON"):
        replay.add(told.WatchFired(watch_id="w", condition="c", time_us=0, latency_ms=float("nan"), text=""))
    assert (replay.last_seq, len(replay)) == (0, 0)
    assert '"seq":1' in replay.add(delta("a"))


def test_only_the_newest_requests_are_remembered() -> None:
    replay = Replay(16, 1000)
    for number in range(MOST_RECEIVED + 10):
        replay.note_received(f"e{number}")
    assert replay.received[0] == "e10"
    assert len(replay.received) == MOST_RECEIVED


def test_numbers_go_on_from_where_they_were() -> None:
    replay = Replay(16, 1000, start_seq=41)
    assert '"seq":42' in replay.add(delta("a"))
    assert replay.missed(41).messages and not replay.missed(41).gap
    assert replay.missed(40).gap
