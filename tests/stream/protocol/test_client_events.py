import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.protocol import client_events as asked
from onlooker.stream.protocol.errors import ERRORS, EventError
from onlooker.stream.protocol.limits import Limits

LIMITS = Limits()
TIMES = st.integers(-(2**53) + 1, 2**53 - 1)
VALID = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)

events = st.one_of(
    st.builds(
        asked.SessionUpdate,
        event_id=st.none() | VALID,
        source=st.none() | VALID,
        resume=st.none() | st.builds(asked.Resume, session_id=VALID, token=VALID, last_seq=st.integers(0, 2**53 - 1)),
        settings=st.none()
        | st.builds(
            asked.SessionSettings,
            keyframes=st.sampled_from([None, "gate", "all"]),
            heartbeat_s=st.none() | st.floats(0.01, 86_400),
            prune_rate=st.none() | st.floats(0.01, 1),
            memory_tokens=st.none() | st.integers(0, 1_000_000),
        ),
        fps=st.none() | st.floats(0.01, 1000),
        max_tokens=st.none() | st.integers(1, 4096),
        stats=st.none() | st.booleans(),
    ),
    st.builds(
        asked.ResponseCreate,
        question=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
        since_us=st.none() | TIMES.filter(lambda time_us: time_us < 0),
        until_us=st.none() | TIMES.filter(lambda time_us: time_us >= 0),
        evidence=st.integers(0, 8),
    ),
    st.builds(asked.WatchCreate, condition=VALID, cooldown_ms=st.none() | st.integers(0, 86_400_000)),
    st.builds(asked.MemoryMark, event_id=st.none() | VALID, label=VALID, time_us=st.none() | TIMES),
    st.builds(
        asked.ConversationItemCreate,
        item=st.builds(
            asked.Message,
            role=st.just("user"),
            content=st.lists(
                st.builds(asked.InputText, text=VALID) | st.builds(asked.InputImage, image_url=VALID),
                min_size=1,
                max_size=8,
            ).map(tuple),
        ),
    ),
    st.builds(asked.SessionClose, forget=st.booleans()),
)


def refused(text: str) -> EventError:
    with pytest.raises(EventError) as caught:
        asked.read(text, LIMITS)
    return caught.value


@given(events)
def test_what_is_written_is_read_again(event: asked.ClientEvent) -> None:
    text = asked.write(event)
    assert asked.read(text, LIMITS) == event
    assert asked.write(asked.read(text, LIMITS)) == text


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        ("{}", "invalid_event", "type"),
        ('{"type":5}', "invalid_event", "type"),
        ('{"type":"session.open"}', "unknown_event", "type"),
        ('{"type":"session.created"}', "unknown_event", "type"),
        ('{"type":"ping","x":1}', "unknown_field", "x"),
        ('{"type":"ping","a b":1}', "unknown_field", "?"),
        ('{"type":"ping","event_id":5}', "invalid_event", "event_id"),
        ('{"type":"ping","event_id":""}', "invalid_event", "event_id"),
        ('{"type":"ping","event_id":"\\ud800"}', "invalid_event", "event_id"),
        (json.dumps({"type": "ping", "event_id": "x" * 65}), "invalid_event", "event_id"),
        ('{"type":"session.update","fps":0}', "invalid_event", "fps"),
        ('{"type":"session.update","fps":true}', "invalid_event", "fps"),
        ('{"type":"session.update","fps":"2"}', "invalid_event", "fps"),
        ('{"type":"session.update","fps":1e300}', "invalid_event", "fps"),
        ('{"type":"session.update","max_tokens":1.0}', "invalid_event", "max_tokens"),
        ('{"type":"session.update","max_tokens":true}', "invalid_event", "max_tokens"),
        ('{"type":"session.update","stats":1}', "invalid_event", "stats"),
        ('{"type":"session.update","frame_reports":"all"}', "invalid_event", "frame_reports"),
        ('{"type":"session.update","frame_reports":["each"]}', "invalid_event", "frame_reports"),
        ('{"type":"session.update","settings":[]}', "invalid_event", "settings"),
        ('{"type":"session.update","settings":{"codec":"int4"}}', "unknown_field", "settings.codec"),
        ('{"type":"session.update","settings":{"prune_rate":2}}', "invalid_event", "settings.prune_rate"),
        ('{"type":"session.update","resume":{"session_id":"s","token":"t"}}', "invalid_event", "resume.last_seq"),
        (
            '{"type":"session.update","resume":{"session_id":"s","token":"t","last_seq":-1}}',
            "invalid_event",
            "resume.last_seq",
        ),
        ('{"type":"response.create","since_us":9007199254740992}', "invalid_event", "since_us"),
        ('{"type":"response.create","since_us":5,"until_us":5}', "bad_question", "until_us"),
        ('{"type":"response.create","evidence":9}', "invalid_event", "evidence"),
        ('{"type":"response.create","evidence":null}', "invalid_event", "evidence"),
        (json.dumps({"type": "response.create", "question": "x" * 8193}), "bad_question", "question"),
        ('{"type":"response.cancel"}', "invalid_event", "response_id"),
        ('{"type":"watch.create","condition":""}', "bad_question", "condition"),
        ('{"type":"memory.clear"}', "invalid_event", "everything"),
        ('{"type":"memory.clear","everything":true,"since_us":1}', "invalid_event", "everything"),
        ('{"type":"memory.clear","since_us":2,"until_us":1}', "invalid_event", "until_us"),
        (
            '{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[]}}',
            "invalid_event",
            "item.content",
        ),
        ('{"type":"conversation.item.create","item":{"role":"user","content":[]}}', "invalid_event", "item.type"),
        (
            '{"type":"conversation.item.create","item":{"type":"message","role":"system","content":[]}}',
            "invalid_event",
            "item.role",
        ),
        (
            '{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_audio"}]}}',
            "invalid_event",
            "item.content[0].type",
        ),
        (
            '{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text"}]}}',
            "invalid_event",
            "item.content[0].text",
        ),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(text: str, code: str, param: str) -> None:
    error = refused(text)
    assert (error.code, error.param) == (code, param)
    assert error.remedy


def test_a_refused_event_is_known_by_its_id() -> None:
    assert refused('{"type":"response.create","evidence":9,"event_id":"q7"}').event_id == "q7"
    assert refused('{"type":"response.crate","event_id":"q7"}').event_id == "q7"
    assert refused('{"type":"response.crate","event_id":7}').event_id is None


def test_whole_numbers_do_for_fractions() -> None:
    event = asked.read('{"type":"session.update","fps":2}', LIMITS)
    assert isinstance(event, asked.SessionUpdate)
    assert event.fps == 2.0 and isinstance(event.fps, float)


def test_null_is_as_good_as_leaving_out_what_may_be_left_out() -> None:
    assert asked.read('{"type":"response.create","question":null}', LIMITS) == asked.ResponseCreate()


@pytest.mark.parametrize("sent", ["x" * 5000, "\u202e\x1b[31m" * 100, "🙂" * 1000, ["a"] * 50, {"a": "b"}, 10**18])
def test_what_strangers_send_is_shown_short_and_plain(sent: object) -> None:
    for text in (json.dumps({"type": sent}), json.dumps({"type": "session.update", "stats": sent})):
        error = refused(text)
        assert len(error.message) < 100
        assert error.message.replace("…", "").isascii() and error.message.isprintable()


def test_a_mapping_becomes_settings_as_strictly() -> None:
    assert asked.from_settings({"prune_rate": 1}) == asked.SessionSettings(prune_rate=1.0)
    with pytest.raises(EventError, match="no field 'recipe'"):
        asked.from_settings({"recipe": "novelty"})


def test_every_code_that_the_reader_gives_is_in_the_table() -> None:
    used = {"invalid_json", "invalid_event", "unknown_event", "unknown_field", "bad_question"}
    assert used <= set(ERRORS)


def test_golden_events_lose_no_field_unnoticed() -> None:
    """Take each required field out of each golden event: none may pass."""
    for path in (Path(__file__).with_name("golden") / "client").iterdir():
        full = json.loads(path.read_text(encoding="utf-8").splitlines()[1])
        least = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
        for name in set(least) - {"evidence", "forget", "everything"}:
            error = refused(json.dumps({key: value for key, value in full.items() if key != name}))
            assert error.param == name
