import io
import json

import pytest
from PIL import Image

from onlooker.stream.protocol import client_events as asked
from onlooker.stream.protocol import server_events as told
from onlooker.stream.protocol.connection import Close, FrameReceived, Received, Result, Send, ServerConnection, State
from onlooker.stream.protocol.errors import CLOSE_CODES, ERRORS
from onlooker.stream.protocol.frame_header import FrameHeader
from onlooker.stream.protocol.limits import Limits
from onlooker.stream.protocol.replay import Replay

HELLO = '{"type":"session.update"}'


def picture(width: int = 8, height: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "jpeg")
    return file.getvalue()


def frame(sequence: int = 0, image: bytes | None = None) -> bytes:
    return FrameHeader(sequence, 1_795_000_000_000_000).pack() + (picture() if image is None else image)


def opened(limits: Limits | None = None, *, takes_frames: bool = True, locked: bool = False) -> ServerConnection:
    connection = ServerConnection(limits or Limits(), 0.0)
    assert connection.receive_text(HELLO, 0.0) == [Received(asked.SessionUpdate(), first=True)]
    connection.opened(Replay(16, 10_000), takes_frames=takes_frames, locked=locked)
    return connection


def error_of(results: list[Result]) -> told.Error:
    assert isinstance(results[0], Send) and isinstance(results[0].event, told.Error)
    return results[0].event


def drops_of(results: list[Result]) -> list[tuple[str, int, int]]:
    events = [result.event for result in results if isinstance(result, Send)]
    return [
        (event.reason, event.count, event.last_sequence) for event in events if isinstance(event, told.FrameDropped)
    ]


@pytest.mark.parametrize("message", ['{"type":"ping"}', '{"type":"response.create","question":"what?"}', frame()])
def test_nothing_is_taken_before_the_first_session_update(message: str | bytes) -> None:
    connection = ServerConnection(Limits(), 0.0)
    take = connection.receive_bytes if isinstance(message, bytes) else connection.receive_text
    error = error_of(take(message, 0.0))  # type: ignore[operator]
    assert error.code == "invalid_event" and "session.update first" in error.remedy
    assert connection.state is State.WAIT_HELLO
    assert connection.receive_text(HELLO, 0.1) == [Received(asked.SessionUpdate(), first=True)]
    assert connection.state is State.OPEN


def test_a_hello_that_does_not_come_closes() -> None:
    connection = ServerConnection(Limits(hello_s=10.0), 100.0)
    assert connection.tick(109.9) == []
    connection.receive_text("nonsense", 109.9)
    results = connection.tick(110.0)
    assert error_of(results).code == "hello_timeout"
    assert results[1] == Close(4001, "hello_timeout")
    assert connection.state is State.CLOSED
    assert connection.tick(111.0) == []


def test_a_hello_in_time_is_enough() -> None:
    assert opened().tick(1e9) == []


def test_events_come_one_after_the_other_and_first_only_once() -> None:
    connection = opened()
    assert connection.receive_text('{"type":"session.update","fps":3}', 0.0) == [Received(asked.SessionUpdate(fps=3.0))]
    assert connection.receive_text('{"type":"ping","event_id":"p"}', 0.0) == [Received(asked.Ping(event_id="p"))]
    assert connection.tally.events == 3


@pytest.mark.parametrize("field", ['"source":"door"', '"resume":{"session_id":"s","token":"t","last_seq":0}'])
def test_a_session_is_chosen_in_the_first_event_only(field: str) -> None:
    error = error_of(opened().receive_text(f'{{"type":"session.update",{field},"event_id":"e"}}', 0.0))
    assert (error.code, error.event_id) == ("invalid_event", "e")


def test_settings_are_locked_by_the_first_frame() -> None:
    connection = opened()
    change = '{"type":"session.update","settings":{"prune_rate":0.5}}'
    assert isinstance(connection.receive_text(change, 0.0)[0], Received)
    assert isinstance(connection.receive_bytes(frame(), 0.0)[0], FrameReceived)
    assert error_of(connection.receive_text(change, 0.0)).code == "settings_locked"
    assert isinstance(connection.receive_text('{"type":"session.update","fps":2}', 0.0)[0], Received)
    assert error_of(opened(locked=True).receive_text(change, 0.0)).code == "settings_locked"


def test_a_frame_is_handed_over_with_its_size_and_not_decoded() -> None:
    (result,) = opened().receive_bytes(frame(7, picture(64, 48)), 0.0)
    assert isinstance(result, FrameReceived)
    assert (result.header.sequence, result.picture.width, result.picture.height) == (7, 64, 48)
    assert bytes(result.image) == picture(64, 48)


def test_frames_over_the_rate_are_dropped_and_counted_without_an_error() -> None:
    connection = opened(Limits(max_fps=2.0))
    results = [connection.receive_bytes(frame(at), 0.0) for at in range(10)]
    assert sum(isinstance(one, FrameReceived) for some in results for one in some) == 2
    assert drops_of([one for some in results for one in some]) == [("rate", 1, 2)]
    assert connection.tick(0.9) == []
    assert drops_of(connection.tick(1.0)) == [("rate", 7, 9)]
    assert connection.tick(2.5) == []
    assert connection.tally.frames_dropped == {"rate": 8}


def test_each_drop_is_told_where_that_is_wished_for() -> None:
    connection = opened(Limits(max_fps=2.0))
    connection.receive_text('{"type":"session.update","frame_reports":"each"}', 0.0)
    results = [one for at in range(5) for one in connection.receive_bytes(frame(at), 0.0)]
    assert drops_of(results) == [("rate", 1, 2), ("rate", 1, 3), ("rate", 1, 4)]


def test_a_client_may_wish_for_fewer_frames_and_never_for_more() -> None:
    for wish, taken in ((2.0, 2), (500.0, 5)):
        connection = opened(Limits(max_fps=5.0))
        connection.receive_text(f'{{"type":"session.update","fps":{wish}}}', 0.0)
        results = [one for at in range(20) for one in connection.receive_bytes(frame(at), 0.0)]
        assert sum(isinstance(one, FrameReceived) for one in results) == taken


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (frame(3, b"GIF89a" + b"\0" * 100), "bad_image", "bad_image"),
        (frame(3, picture(400, 300)), "frame_too_big", "too_big"),
        (frame(3, picture() + b"\0" * 4096), "frame_too_big", "too_big"),
    ],
)
def test_a_bad_picture_is_an_error_once_a_second_and_always_counted(data: bytes, code: str, reason: str) -> None:
    connection = opened(Limits(max_frame_bytes=4096, max_pixels=10_000, errors_in_a_row=4, max_fps=1000.0))
    results = connection.receive_bytes(data, 0.0)
    assert error_of(results).code == code and not error_of(results).fatal
    assert drops_of(results) == [(reason, 1, 3)]
    assert [connection.receive_bytes(data, 0.5) for _ in range(50)] == [[]] * 50
    assert connection.state is State.OPEN  # a camera that is too sharp is no attack
    results = connection.receive_bytes(data, 1.0)
    assert error_of(results).code == code
    assert drops_of(results) == [(reason, 51, 3)]
    assert connection.tally.frames_dropped == {reason: 52}


def test_a_camera_of_the_operators_takes_neither_frames_nor_forgetting() -> None:
    connection = opened(takes_frames=False)
    assert error_of(connection.receive_bytes(frame(), 0.0)).code == "source_read_only"
    error = error_of(connection.receive_text('{"type":"memory.clear","everything":true,"event_id":"m"}', 0.0))
    assert (error.code, error.event_id) == ("source_read_only", "m")
    assert error_of(connection.receive_text('{"type":"session.update","settings":{"gate":"auto"}}', 0.0)).code == (
        "settings_locked"
    )
    assert isinstance(connection.receive_text('{"type":"memory.get"}', 0.0)[0], Received)


def test_too_many_events_are_told_when_to_come_again() -> None:
    connection = opened(Limits(message_rate=2.0, message_burst=4))
    for _ in range(3):
        assert isinstance(connection.receive_text('{"type":"ping"}', 0.0)[0], Received)
    error = error_of(connection.receive_text('{"type":"ping"}', 0.0))
    assert (error.code, error.retryable, error.retry_after_ms) == ("rate_limited", True, 500)
    assert isinstance(connection.receive_text('{"type":"ping"}', 0.51)[0], Received)


def test_too_many_errors_in_a_row_close() -> None:
    connection = opened(Limits(errors_in_a_row=3))
    for _ in range(5):
        assert not error_of(connection.receive_text("{", 0.0)).fatal
        assert not error_of(connection.receive_bytes(b"\0" * 30, 0.0)).fatal
        assert isinstance(connection.receive_text('{"type":"ping"}', 0.0)[0], Received)
    connection.receive_text("{", 0.0)
    connection.receive_text("{", 0.0)
    results = connection.receive_bytes(b"\0" * 30, 0.0)
    assert error_of(results).fatal and error_of(results).code == "bad_frame"
    assert results[1:] == [Close(1003, "bad_frame")]
    assert connection.receive_text(HELLO, 0.0) == connection.receive_bytes(frame(), 0.0) == []


def test_a_question_longer_than_this_server_takes_is_refused() -> None:
    connection = opened(Limits(question_chars=10))
    text = json.dumps({"type": "response.create", "question": "x" * 11, "event_id": "q"})
    error = error_of(connection.receive_text(text, 0.0))
    assert (error.code, error.param, error.event_id) == ("bad_question", "question", "q")
    text = json.dumps(
        {
            "type": "conversation.item.create",
            "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x" * 11}]},
        }
    )
    assert error_of(connection.receive_text(text, 0.0)).code == "bad_question"


def test_requests_that_came_are_noted_for_a_client_that_comes_back() -> None:
    connection, replay = ServerConnection(Limits(), 0.0), Replay(16, 1000)
    connection.receive_text('{"type":"session.update","event_id":"hello"}', 0.0)
    connection.opened(replay)
    connection.receive_text('{"type":"response.create","question":"a","event_id":"q1"}', 0.0)
    connection.receive_text('{"type":"response.create","evidence":99,"event_id":"q2"}', 0.0)
    connection.receive_text('{"type":"memory.get"}', 0.0)
    assert replay.received == ("q1",)


def test_nothing_is_read_behind_session_close() -> None:
    connection = opened()
    assert connection.receive_text('{"type":"session.close"}', 0.0) == [Received(asked.SessionClose())]
    assert connection.state is State.CLOSING
    assert connection.receive_text('{"type":"ping"}', 0.0) == connection.receive_bytes(frame(), 0.0) == []
    assert connection.close() == [Close(1000, "")]
    assert connection.close() == []


@pytest.mark.parametrize("code", ERRORS)
def test_a_fatal_error_always_precedes_its_close(code: str) -> None:
    results = opened().fail(code)
    assert error_of(results).fatal == ERRORS[code].fatal
    assert results[1:] == ([Close(ERRORS[code].close, code)] if ERRORS[code].fatal else [])
    results = opened().fail(code, fatal=True)
    assert error_of(results).fatal
    assert isinstance(results[1], Close) and results[1].code in CLOSE_CODES


def test_a_closed_connection_says_nothing_more() -> None:
    connection = opened()
    connection.disconnected()
    assert connection.fail("internal") == connection.close() == connection.tick(1e6) == []


def test_the_reason_of_a_close_fits_its_frame() -> None:
    (result,) = opened().close(1011, "é" * 100)
    assert isinstance(result, Close) and len(result.reason.encode()) <= 123
