"""Whatever a client sends, a connection answers with results, raises nothing and keeps nothing.

The bulk is a plain seeded loop, so that it is the same everywhere; hypothesis finds the smallest example of what fails.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.stream.protocol import client_events as asked
from onlooker.stream.protocol import server_events as told
from onlooker.stream.protocol.client_connection import ClientConnection
from onlooker.stream.protocol.connection import Close, FrameReceived, Received, Result, Send, ServerConnection, State
from onlooker.stream.protocol.errors import CLOSE_CODES, ERRORS, EventError
from onlooker.stream.protocol.frame_header import FrameHeader
from onlooker.stream.protocol.limits import Limits
from onlooker.stream.protocol.replay import MOST_RECEIVED, Replay

GOLDEN = Path(__file__).with_name("golden")
MESSAGES = 120_000
PNG = bytes.fromhex(  # 8 × 6 pixels; nobody decodes it here
    "89504e470d0a1a0a 0000000d4948445200000008000000060802000000 00000000"
    "000000014944415400 00000000 0000000049454e44ae426082"
)
HEADER = FrameHeader(7, 1_795_000_000_000_000).pack()

ODD = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**53,
    -(2**53),
    10**30,
    1e-300,
    1e308,
    0.5,
    "",
    "x" * 100,
    "\ud800",
    "\0",
    "🙂",
    [],
    {},
    [[]],
    {"a": {}},
    [1, 2, 3],
]
PIECES = [
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "NaN",
    "1e999",
    "\\u",
    "\\ud800",
    "\x00",
    "\ufeff",
    "0",
    "-",
    "é",
    '"type":',
    " ",
]


def golden(side: str) -> list[str]:
    return [line for path in sorted((GOLDEN / side).iterdir()) for line in path.read_text("utf-8").splitlines()]


def mutated_value(draw: random.Random, value: object) -> object:
    """Change something somewhere inside a JSON value."""
    if draw.random() < 0.2:
        return draw.choice(ODD)
    if isinstance(value, dict) and value:
        key = draw.choice(list(value))
        kind = draw.random()
        if kind < 0.15:
            return {name: item for name, item in value.items() if name != key}
        if kind < 0.3:
            return value | {draw.choice(["", "x", "event_id", "seq", "type", "é", "a" * 300]): draw.choice(ODD)}
        return value | {key: mutated_value(draw, value[key])}
    if isinstance(value, list) and value:
        at = draw.randrange(len(value))
        return [*value[:at], mutated_value(draw, value[at]), *value[at + draw.randrange(2) :]]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return draw.choice([value + 1, -value, value * 1.5, str(value), 2**53, value])
    if isinstance(value, str):
        return draw.choice([value * 2, value[:-1], value.upper(), value + "\ud800", value])
    return draw.choice(ODD)


def mutated_text(draw: random.Random, text: str) -> str:
    """Change a text as text."""
    for _ in range(draw.randrange(1, 4)):
        at, to = sorted((draw.randrange(len(text) + 1), draw.randrange(len(text) + 1)))
        text = draw.choice(
            [text[:at] + text[to:], text[:at] + draw.choice(PIECES) + text[at:], text[:to] + text[at:], text[:at]]
        )
        text = text[:5000]
    return text


def random_value(draw: random.Random, depth: int = 0) -> object:
    kind = draw.randrange(8 if depth < 6 else 6)
    if kind < 6:
        return draw.choice(ODD)
    if kind == 6:
        return [random_value(draw, depth + 1) for _ in range(draw.randrange(4))]
    return {
        draw.choice(["type", "item", "a", "event_id"]): random_value(draw, depth + 1) for _ in range(draw.randrange(4))
    }


def random_message(draw: random.Random, lines: list[str]) -> str | bytes:
    kind = draw.randrange(10)
    if kind < 2:
        return draw.choice(lines)
    if kind < 5:
        return json.dumps(mutated_value(draw, json.loads(draw.choice(lines))))
    if kind < 7:
        return mutated_text(draw, draw.choice(lines))
    if kind == 7:
        return json.dumps(random_value(draw))
    if kind == 8:
        return draw.randbytes(draw.randrange(80))
    data = bytearray(HEADER + PNG)
    for _ in range(draw.randrange(3)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data[: draw.choice([len(data), draw.randrange(len(data) + 1)])])


def check(results: list[Result], connection: ServerConnection) -> Iterator[str]:
    """Look at what a connection made of a message, and name each result."""
    assert len(results) <= 3
    for place, result in enumerate(results):
        if isinstance(result, Received):
            assert asked.read(asked.write(result.event), Limits()) == result.event
            yield "event"
        elif isinstance(result, FrameReceived):
            assert 0 < result.picture.pixels <= connection.limits.max_pixels
            yield "frame"
        elif isinstance(result, Send):
            text = told.write(result.event)
            assert len(text) % 4 or told.SERVER_EVENTS.read(text, told.BOUNDS) == result.event  # a sample: it is slow
            if isinstance(result.event, told.Error):
                assert result.event.code in ERRORS
                assert result.event.fatal == any(isinstance(one, Close) for one in results)
                yield result.event.code
        else:
            assert result.code in CLOSE_CODES
            assert place == len(results) - 1 and connection.state is State.CLOSED
            yield "close"


def test_a_hundred_thousand_messages_give_results_and_nothing_else() -> None:
    draw, lines, seen = random.Random(20_261_122), golden("client") * 4 + golden("server"), Counter[str]()
    lines += ['{"type":"session.update","settings":{"gate":"auto"}}'] * 4
    limits = [
        Limits(message_rate=1e6, message_burst=1_000_000, errors_in_a_row=40),
        Limits(max_fps=1.0, message_burst=9),
    ]
    connection, replay, now, taken = ServerConnection(limits[0], 0.0), Replay(16, 1000), 0.0, 0
    for number in range(MESSAGES):
        if connection.state in (State.CLOSED, State.CLOSING) or draw.random() < 0.001:
            connection.close()
            assert connection.receive_text('{"type":"ping"}', now) == connection.receive_bytes(HEADER, now) == []
            connection, replay = ServerConnection(draw.choice(limits), now), Replay(16, 1000)
        greet = connection.state is State.WAIT_HELLO and draw.random() < 0.3
        message = '{"type":"session.update"}' if greet else random_message(draw, lines)
        now += draw.choice([0.0, 0.001, 0.3, 2.0])
        texts = connection.tally.events + connection.tally.refused + connection.tally.frames
        if isinstance(message, str):
            results = connection.receive_text(message, now)
        else:
            results = connection.receive_bytes(message, now)
        texts_now = connection.tally.events + connection.tally.refused + connection.tally.frames
        assert texts_now == texts + 1, "every message is an event, a frame or refused"
        if any(isinstance(one, Received) and one.first for one in results):
            connection.opened(replay, takes_frames=draw.random() < 0.8, locked=draw.random() < 0.2)
        seen.update(check(results, connection))
        seen.update(check(connection.tick(now), connection))
        taken = number
        if connection.state is State.OPEN:
            assert len(replay.received) <= MOST_RECEIVED
            assert set(connection.tally.frames_dropped) <= {"rate", "too_big", "bad_image", "read_only"}
    assert taken == MESSAGES - 1
    # The fuzzer reaches what it is meant to reach.
    reached = {"event", "frame", "close", "hello_timeout", "rate_limited", "settings_locked", "source_read_only"}
    reached |= {"invalid_json", "invalid_event", "unknown_event", "unknown_field", "bad_question"}
    reached |= {"bad_frame", "bad_image", "frame_too_big"}
    assert reached <= set(seen), reached - set(seen)
    assert seen["event"] > 10_000 and seen["frame"] > 1000


def test_a_client_survives_whatever_a_server_sends() -> None:
    draw, lines = random.Random(7), golden("server")
    client, refused = ClientConnection(), 0
    client.connect()
    for _ in range(20_000):
        message = random_message(draw, lines)
        if isinstance(message, bytes):
            continue
        try:
            client.receive(message)
        except EventError:
            refused += 1
        if client.ended is not None or draw.random() < 0.01:
            client.disconnected(draw.choice([None, *CLOSE_CODES]))
            client.connect()
    assert refused > 1000
    assert len(client.pending) == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def after_hello() -> ServerConnection:
    connection = ServerConnection(Limits(message_rate=1e6), 0.0)
    connection.receive_text('{"type":"session.update"}', 0.0)
    connection.opened(Replay(16, 1000))
    return connection


@given(st.text() | json_values.map(json.dumps))
def test_any_text_gives_results(text: str) -> None:
    connection = after_hello()
    assert list(check(connection.receive_text(text, 0.0), connection))


@pytest.mark.parametrize("line", golden("client"))
@given(data=st.data())
def test_any_field_may_hold_anything(line: str, data: st.DataObject) -> None:
    event = json.loads(line)
    key = data.draw(st.sampled_from(sorted(event)))
    event[key] = data.draw(json_values)
    connection = after_hello()
    assert list(check(connection.receive_text(json.dumps(event), 0.0), connection))


@given(st.binary(max_size=100) | st.binary(max_size=100).map(lambda image: HEADER + image))
def test_any_bytes_give_results(data: bytes) -> None:
    connection = after_hello()
    assert list(check(connection.receive_bytes(data, 0.0), connection))
