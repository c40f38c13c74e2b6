import itertools
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest

import onlooker.client
from onlooker.client import ConnectionChanged, RemoteSession, WatchFired
from onlooker.errors import BusyError, ModelError, OnlookerError, ProtocolError, SettingsError, SourceError
from onlooker.frame import Frame
from onlooker.stream.protocol import client_events as asked
from onlooker.stream.protocol import server_events as told

TOKEN = "secret-1"
ORIGIN_US = 1_795_000_000_000_000
PICTURE = np.zeros((48, 64, 3), np.uint8)

Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def session(server: Any) -> Iterator[RemoteSession]:
    with onlooker.client.connect(server.url) as made:
        yield made


def sent(server: Any, kind: type[Any]) -> list[Any]:
    return [event for event in server.asked if isinstance(event, kind)]


def silent(server: Any, event: asked.ClientEvent) -> bool:
    return isinstance(event, asked.ResponseCreate)


def test_a_session_is_there_when_connect_returns(session: RemoteSession) -> None:
    assert (session.id, session.source, session.model) == ("s_1", "frames", "pocket")
    assert session.origin_unix_us == ORIGIN_US
    assert session.connected and not session.closed


def test_settings_and_wishes_are_told_with_the_first_event(server: Any) -> None:
    with onlooker.client.connect(
        server.url, settings={"prune_rate": 0.25}, fps=5.0, max_tokens=32, temperature=0.5, source="door"
    ) as session:
        (hello,) = server.hellos
        assert hello.settings == asked.SessionSettings(prune_rate=0.25)
        assert (hello.fps, hello.max_tokens, hello.temperature, hello.source, hello.stats) == (
            5.0,
            32,
            0.5,
            "door",
            True,
        )
        assert session.config.fps == 5.0


def test_the_librarys_own_settings_are_told_as_far_as_a_client_may_choose(server: Any) -> None:
    with onlooker.client.connect(server.url, settings=onlooker.Settings(prune_rate=0.25, gate="always")):
        told_settings = server.hellos[0].settings
        assert (told_settings.prune_rate, told_settings.gate, told_settings.memory_tokens) == (0.25, "always", None)
    with pytest.raises(SettingsError, match="codec is the server's to choose"):
        onlooker.client.connect(server.url, settings=onlooker.Settings(codec="raw"))


def test_an_answer_has_its_text_its_moment_and_its_picture(session: RemoteSession) -> None:
    answer = session.ask("What was next to the boat?")
    assert (answer.text, answer.status, answer.refers_to_us, answer.asked_at_us) == (
        "to What was next to the boat?",
        "answered",
        1,
        5,
    )
    (evidence,) = answer.evidence
    assert (evidence.start_us, evidence.end_us, evidence.score, evidence.source) == (1, 2, 3.5, "recalled")
    assert evidence.thumbnail == b"\xff\xd8\xff picture"


def test_pictures_are_left_on_the_server_where_that_is_wished_for(server: Any) -> None:
    with onlooker.client.connect(server.url, thumbnails=False) as session:
        assert session.ask("what?").evidence[0].thumbnail == b""
        assert session.image("/v1/sessions/s_1/images/1.jpg").startswith(b"\xff\xd8\xff")
        assert session.image("/v1/sessions/s_1/images/2.jpg") == b""
        assert session.image("http://127.0.0.1/elsewhere") == b""


def test_what_a_question_may_say_is_said(server: Any, session: RemoteSession) -> None:
    session.ask("what?", since_us=1, until_us=9, evidence=2, max_tokens=7, temperature=0.5, deadline_s=2.5)
    (event,) = sent(server, asked.ResponseCreate)
    assert (event.since_us, event.until_us, event.evidence, event.max_tokens) == (1, 9, 2, 7)
    assert (event.temperature, event.deadline_ms) == (0.5, 2500)


def test_an_answer_streams(session: RemoteSession) -> None:
    inquiry = session.ask_stream("what?")
    assert "".join(inquiry) == "to what?"
    assert inquiry.done and inquiry.answer.text == "to what?"


def test_questions_from_several_threads_get_their_own_answers(session: RemoteSession) -> None:
    answers: dict[int, list[str]] = {}

    def ask(number: int) -> None:
        answers[number] = [session.ask(f"{number}.{at}").text for at in range(10)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [f"to {number}.{at}" for at in range(10)] for number in range(6)}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"status": "incomplete", "reason": "max_tokens"}, "truncated"),
        ({"status": "incomplete", "reason": "deadline"}, "cancelled"),
        ({"status": "cancelled"}, "cancelled"),
        ({"reason": "not_remembered"}, "not_remembered"),
    ],
)
def test_each_ending_has_its_status(server: Any, session: RemoteSession, changes: dict[str, Any], status: str) -> None:
    def script(server: Any, event: asked.ClientEvent) -> bool:
        if isinstance(event, asked.ResponseCreate):
            server.answer(event, **changes)
            return True
        return False

    server.script = script
    assert session.ask("what?").status == status


def test_a_failed_answer_raises(server: Any, session: RemoteSession) -> None:
    fault = told.Fault(code="model_error", message="the device failed", remedy="ask again")

    def script(server: Any, event: asked.ClientEvent) -> bool:
        if isinstance(event, asked.ResponseCreate):
            server.answer(event, status="failed", error=fault)
            return True
        return False

    server.script = script
    with pytest.raises(ModelError, match="the device failed; ask again"):
        session.ask("what?")
    with pytest.raises(ModelError):
        list(session.ask_stream("what?"))


def test_a_refused_question_raises_what_the_library_raises(server: Any, session: RemoteSession) -> None:
    def script(server: Any, event: asked.ClientEvent) -> bool:
        server.tell(told.Error.of("busy", "8 questions wait", event_id=event.event_id))
        return True

    server.script = script
    with pytest.raises(BusyError, match="8 questions wait"):
        session.ask("what?")
    server.script = lambda server, event: False
    assert session.ask("what?").text == "to what?"


@pytest.mark.parametrize(
    "arguments", [{"question": " "}, {"question": "a", "evidence": 9}, {"question": "a", "since_us": 5, "until_us": 5}]
)
def test_what_no_server_takes_is_refused_here(server: Any, session: RemoteSession, arguments: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        session.ask(**arguments)
    assert server.asked == []
    assert session.stats.waiting == 0


def test_a_cancelled_answer_ends(server: Any, session: RemoteSession, until: Until) -> None:
    begun: list[asked.ResponseCreate] = []

    def script(server: Any, event: asked.ClientEvent) -> bool:
        if isinstance(event, asked.ResponseCreate):
            begun.append(event)
            server.tell(told.ResponseCreated(event_id=event.event_id, response_id="r_9", question="", asked_at_us=0))
            server.tell(told.ResponseOutputTextDelta(response_id="r_9", delta="the"))
            return True
        if isinstance(event, asked.ResponseCancel):
            server.tell(told.ResponseDone(response_id="r_9", status="cancelled", text="the", asked_at_us=0))
            return True
        return False

    server.script = script
    inquiry = session.ask_stream("what?")
    assert next(inquiry) == "the"
    inquiry.cancel()
    assert (inquiry.answer.status, inquiry.answer.text) == ("cancelled", "the")
    early = session.ask_stream("what?")
    early.cancel()  # perhaps before the server said that it took it
    assert early.answer.status == "cancelled"
    assert session.stats.waiting == 0


def test_an_answer_that_never_comes_is_given_up_behind_its_deadline(
    server: Any, session: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onlooker.client.inquiry.GRACE_S", 0.05)
    server.script = silent
    with pytest.raises(BusyError, match="no answer to 'what\\?' came in time"):
        session.ask("what?", deadline_s=0.05)


def test_the_other_calls_bring_what_the_server_says(session: RemoteSession) -> None:
    state = session.memory()
    assert (state.keyframes, state.tokens, state.span_us) == (3, 96, (0, 9))
    assert (state.timeline[0].kind, state.marks[0].label) == ("kept", "a")
    assert session.mark("now").time_us == 7
    assert session.mark("then", 5) == onlooker.client.Mark(label="then", time_us=5)
    assert session.forget(everything=True) == session.forget(1, 2) == 3
    assert [one.name for one in session.sources()] == ["door"]
    assert session.watches() == ()


def test_a_watch_tells_its_listener_or_everyone(server: Any, session: RemoteSession) -> None:
    heard: list[Any] = []
    came = threading.Event()

    def listen(event: Any) -> None:
        heard.append(event)
        came.set()
        raise RuntimeError("a listener of mine is broken")

    events = session.events(timeout_s=20.0)
    mine = session.watch("a dog", cooldown_s=2.5, look_s=1.0, listener=listen)
    theirs = session.watch("a cat")
    (dog, _) = sent(server, asked.WatchCreate)
    assert (dog.condition, dog.cooldown_ms, dog.look_ms) == ("a dog", 2500, 1000)
    for watch_id in (mine, theirs):
        server.tell(told.WatchFired(watch_id=watch_id, condition="c", time_us=1, latency_ms=2.0, text="yes"))
    fired = next(events)
    assert isinstance(fired, WatchFired) and fired.watch_id == theirs
    assert came.wait(20.0) and [event.watch_id for event in heard] == [mine]
    session.unwatch(mine)
    server.tell(told.WatchCleared(watch_id=mine, condition="c", time_us=1))
    assert next(events).watch_id == mine  # type: ignore[union-attr]


def test_a_listener_cannot_wait_for_its_own_thread(server: Any, session: RemoteSession) -> None:
    refused: list[OnlookerError] = []
    came = threading.Event()

    def listen(event: Any) -> None:
        try:
            session.ask("what?")
        except OnlookerError as error:
            refused.append(error)
        came.set()

    watch_id = session.watch("a dog", listener=listen)
    server.tell(told.WatchFired(watch_id=watch_id, condition="c", time_us=1, latency_ms=2.0, text="yes"))
    assert came.wait(20.0)
    assert isinstance(refused[0], SettingsError)


def test_figures_come_without_waiting(server: Any, session: RemoteSession, until: Until) -> None:
    assert session.stats.server is None
    server.tell_as_is(
        told.SessionStats(
            frames=9, kept=1, dropped=2, fps=1.0, target_fps=2.0, age_ms=None, now_us=None, span_us=None, used_bytes=1,
            disk_bytes=0, tokens=0, queued=0,
        )
    )  # fmt: skip
    until(lambda: session.stats.server is not None)
    assert session.stats.server is not None and session.stats.server.frames == 9


# Frames


def test_a_frame_arrives_with_its_time_and_number(server: Any, session: RemoteSession, until: Until) -> None:
    assert session.see(PICTURE, captured_unix_us=ORIGIN_US + 5)
    until(lambda: len(server.frames) == 1)
    assert session.see(PICTURE, 10)
    until(lambda: len(server.frames) == 2)
    assert session.see(Frame.from_array(PICTURE, 15))
    until(lambda: len(server.frames) == 3)
    assert session.see(PICTURE[:, :, 0].astype(np.float32))
    until(lambda: len(server.frames) == 4)
    headers = [frame.header for frame in server.frames]
    assert [header.sequence for header in headers] == [0, 1, 2, 3]
    assert [header.captured_unix_us - ORIGIN_US for header in headers[:3]] == [5, 10, 15]
    assert [(frame.picture.width, frame.picture.height) for frame in server.frames] == [(64, 48)] * 4
    assert session.stats.sent == 4


def test_an_encoded_picture_goes_as_it_is(server: Any, session: RemoteSession, until: Until) -> None:
    data = onlooker_png()
    assert session.see(data)
    until(lambda: len(server.frames) == 1)
    assert bytes(server.frames[0].image) == data


def test_a_frame_may_be_written_to_once_it_was_seen(server: Any, session: RemoteSession, until: Until) -> None:
    server.reading.clear()
    picture = np.full((48, 64, 3), 200, np.uint8)
    session.see(picture)
    picture[:] = 0
    server.reading.set()
    until(lambda: len(server.frames) == 1)
    import io

    from PIL import Image

    assert np.asarray(Image.open(io.BytesIO(bytes(server.frames[0].image)))).min() > 190


def test_times_never_go_back(session: RemoteSession) -> None:
    assert session.see(PICTURE, 10)
    assert not session.see(PICTURE, 10)
    assert not session.see(PICTURE, 9)
    assert session.see(PICTURE, 11)


def test_bare_pictures_in_a_row_have_growing_times(server: Any, session: RemoteSession, until: Until) -> None:
    assert all(session.see(PICTURE) for _ in range(50))
    until(lambda: session.stats.sent + session.stats.replaced == 50)
    times = [frame.header.captured_unix_us for frame in server.frames]
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    "frame",
    [b"GIF89a", b"", np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.int32), "x"],
)
def test_what_is_no_picture_raises_at_once(session: RemoteSession, frame: Any) -> None:
    with pytest.raises(SourceError):
        session.see(frame)


def test_what_is_too_big_for_the_server_raises_at_once(server: Any) -> None:
    server.limits = type(server.limits)(max_pixels=3000, max_frame_bytes=2000)
    with onlooker.client.connect(server.url) as session:
        with pytest.raises(SourceError, match="3072 pixels"):
            session.see(PICTURE)
        with pytest.raises(SourceError, match="pixels"):
            session.see(onlooker_png())
        with pytest.raises(SourceError, match="bytes"):
            session.see(onlooker_png() + b"\0" * 2000)


def test_a_camera_of_the_operators_takes_no_frames(server: Any) -> None:
    with onlooker.client.connect(server.url, source="door") as session, pytest.raises(SourceError, match="door"):
        session.see(PICTURE)


def test_seeing_does_not_wait_for_a_server_that_reads_nothing(server: Any, session: RemoteSession) -> None:
    server.reading.clear()
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    slowest = 0.0
    for _ in range(300):
        began = time.perf_counter()
        assert session.see(noise)
        slowest = max(slowest, time.perf_counter() - began)
        time.sleep(0.002)
    stats = session.stats
    assert slowest < 5.0  # it would hang for good
    assert stats.seen == 300 and stats.replaced > 100
    assert stats.sent + stats.replaced <= 300
    server.reading.set()
    assert session.ask("what?").text == "to what?"


def test_frames_go_no_faster_than_is_agreed(server: Any, until: Until) -> None:
    with onlooker.client.connect(server.url, fps=2.0) as session:
        for _ in range(30):
            session.see(PICTURE)
            time.sleep(0.001)
        until(lambda: len(server.frames) >= 1)
        assert len(server.frames) <= 2
        assert session.ask("what?").text  # texts do not wait for their turn


# Connections that break


def test_a_dropped_connection_comes_back_and_misses_nothing(server: Any, session: RemoteSession, until: Until) -> None:
    events = session.events(timeout_s=20.0)
    for number in range(3):
        server.drop()
        server.tell(told.WatchFired(watch_id="w", condition="c", time_us=number, latency_ms=0.0, text=""))
        until(lambda number=number: session.stats.reconnects == number + 1)
    seen = [next(events) for _ in range(9)]
    assert [event.time_us for event in seen if isinstance(event, WatchFired)] == [0, 1, 2]
    assert [event.connected for event in seen if isinstance(event, ConnectionChanged)] == [False, True] * 3
    assert session.ask("what?").text == "to what?"
    assert session.stats.gaps == 0
    assert [hello.resume is not None for hello in server.hellos] == [False, True, True, True]


def test_a_question_outlives_a_drop_before_and_after_the_server_had_it(server: Any, session: RemoteSession) -> None:
    held: list[asked.ResponseCreate] = []

    def script(server: Any, event: asked.ClientEvent) -> bool:
        if isinstance(event, asked.ResponseCreate) and not held:
            held.append(event)
            server.drop()
            return True
        return False

    server.script = script
    inquiry = session.ask_stream("first")
    while not held:
        time.sleep(0.002)
    second = session.ask_stream("second")  # while there is no connection, or just when it breaks
    assert second.answer.text == "to second"
    assert not inquiry.done
    server.answer(held[0], "at last")
    assert inquiry.answer.text == "at last"
    assert [event.question for event in sent(server, asked.ResponseCreate)] == ["first", "second"]  # neither twice


def test_a_restarted_server_is_asked_again(server: Any, session: RemoteSession, until: Until) -> None:
    server.script = silent
    inquiry = session.ask_stream("what?")
    until(lambda: len(server.asked) == 1)
    server.tell(told.ResponseCreated(event_id=inquiry.id, response_id="old", question="what?", asked_at_us=0))
    server.tell(told.ResponseOutputTextDelta(response_id="old", delta="to be forg"))
    until(lambda: inquiry.response_id == "old")
    server.script = lambda server, event: False
    server.restart()
    assert inquiry.answer.text == "to what?"
    assert "".join(inquiry) == "to what?"
    assert session.stats.gaps == 1


def test_a_watch_outlives_a_restart(server: Any, session: RemoteSession, until: Until) -> None:
    heard: list[Any] = []
    watch_id = session.watch("a dog", listener=heard.append)
    count = itertools.count()

    def script(server: Any, event: asked.ClientEvent) -> bool:
        if isinstance(event, asked.WatchCreate):
            server.tell(told.WatchCreated(event_id=event.event_id, watch_id=f"new{next(count)}", condition="a dog"))
        return isinstance(event, asked.WatchCreate)

    server.script = script
    server.restart()
    until(lambda: len(sent(server, asked.WatchCreate)) == 2)
    server.tell(told.WatchFired(watch_id="new0", condition="a dog", time_us=1, latency_ms=2.0, text="yes"))
    until(lambda: len(heard) == 1)
    assert heard[0].watch_id == watch_id
    session.unwatch(watch_id)
    assert sent(server, asked.WatchDelete)[0].watch_id == "new0"


def test_a_stream_that_was_partly_read_says_that_it_began_anew(
    server: Any, session: RemoteSession, until: Until
) -> None:
    server.script = silent
    inquiry = session.ask_stream("what?")
    until(lambda: len(server.asked) == 1)
    server.tell(told.ResponseCreated(event_id=inquiry.id, response_id="old", question="what?", asked_at_us=0))
    server.tell(told.ResponseOutputTextDelta(response_id="old", delta="a dog"))
    assert next(inquiry) == "a dog"
    server.script = lambda server, event: False
    server.restart()
    with pytest.raises(ProtocolError, match="restarted"):
        list(inquiry)
    assert inquiry.answer.text == "to what?"


def test_the_newest_frame_waits_for_the_connection(server: Any, session: RemoteSession, until: Until) -> None:
    server.stop()
    until(lambda: not session.connected)
    for number in range(5):
        assert session.see(PICTURE, number)
    server.start()
    until(lambda: len(server.frames) == 1)
    assert server.frames[0].header.captured_unix_us == ORIGIN_US + 4
    assert server.frames[0].header.discontinuity
    assert session.see(PICTURE, 5)
    until(lambda: len(server.frames) == 2)
    assert not server.frames[1].header.discontinuity


@pytest.mark.parametrize(
    ("code", "words"),
    [("session_taken", "another connection"), ("session_expired", "nobody came back"), ("not_authorized", "token")],
)
def test_when_the_session_is_gone_everything_that_waits_raises(
    server: Any, session: RemoteSession, until: Until, code: str, words: str
) -> None:
    server.script = silent
    inquiry, events = session.ask_stream("what?"), session.events()
    until(lambda: len(server.asked) == 1)
    server.fail(code)
    with pytest.raises(ProtocolError, match=words):
        _ = inquiry.answer
    assert [event for event in events if isinstance(event, WatchFired)] == []  # it ends
    until(lambda: session.closed)
    with pytest.raises(ProtocolError, match=words):
        session.memory()
    assert not session.see(PICTURE)
    assert server.connections == 1  # it does not fight for the session


def test_a_session_that_another_resumed_is_not_fought_for(server: Any, session: RemoteSession, until: Until) -> None:
    server.tokens += 1  # somebody else holds the newest token now
    server.drop()
    until(lambda: session.closed)
    with pytest.raises(ProtocolError, match="resume_refused"):
        session.ask("what?")


@pytest.mark.parametrize("code", ["slow_reader", "going_away", "internal"])
def test_behind_an_error_that_passes_it_comes_back(
    server: Any, session: RemoteSession, until: Until, code: str
) -> None:
    server.fail(code)
    until(lambda: session.stats.reconnects == 1)
    assert session.ask("what?").text == "to what?"


def test_a_server_that_is_full_for_a_while_is_tried_again(server: Any, session: RemoteSession, until: Until) -> None:
    server.refuse = HTTPStatus.SERVICE_UNAVAILABLE
    server.drop()
    until(lambda: not session.connected)
    server.refuse = None
    assert session.ask("what?").text == "to what?"


def test_a_token_that_is_refused_later_ends_the_session(server: Any, session: RemoteSession, until: Until) -> None:
    server.refuse = HTTPStatus.UNAUTHORIZED
    server.drop()
    until(lambda: session.closed)
    with pytest.raises(ProtocolError, match="401"):
        session.ask("what?")


def test_noise_from_a_server_is_passed_over(server: Any, session: RemoteSession) -> None:
    for text in ("nonsense", '{"type":"weather.report"}', '{"type":"pong"}'):
        server._put(text)
    assert session.ask("what?").text == "to what?"


# Opening and closing


def test_a_wrong_token_is_said_at_once_and_never_shown(server: Any) -> None:
    with pytest.raises(ProtocolError, match=r"refuses the connection \(401\): send the token") as caught:
        onlooker.client.connect(server.url, token="wrong-secret")
    assert "wrong-secret" not in str(caught.value)


def test_the_token_may_come_from_the_environment(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONLOOKER_TOKEN", TOKEN)
    with onlooker.client.connect(f"ws://127.0.0.1:{server.port}") as session:
        assert session.connected


def test_a_server_that_is_not_there_is_said_at_once(server: Any) -> None:
    server.stop()
    with pytest.raises(ProtocolError, match="is the server running there"):
        onlooker.client.connect(server.url)


def test_a_server_that_comes_up_later_may_be_waited_for(server: Any) -> None:
    server.stop()
    later = threading.Timer(0.3, server.start)
    later.start()
    with onlooker.client.connect(server.url, wait_s=30.0) as session:
        assert session.connected
    later.join()


def test_a_server_without_room_is_busy(server: Any) -> None:
    server.refuse = HTTPStatus.SERVICE_UNAVAILABLE
    with pytest.raises(BusyError, match="503"):
        onlooker.client.connect(server.url)


def test_a_source_that_is_not_there_is_said(server: Any) -> None:
    with pytest.raises(SourceError, match="there is no source 'garden'"):
        onlooker.client.connect(server.url, source="garden")


@pytest.mark.parametrize("settings", [{"prune_rate": 5}, {"recipe": "novelty"}])
def test_settings_that_cannot_be_are_said_before_anything_is_sent(server: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        onlooker.client.connect(server.url, settings=settings)
    assert server.connections == 0


def test_closing_ends_the_session_on_the_server_and_every_thread(server: Any) -> None:
    before = {thread.name for thread in threading.enumerate()}
    session = onlooker.client.connect(server.url)
    session.close(forget=True)
    session.close()
    assert sent(server, asked.SessionClose)[0].forget
    assert session.closed
    assert not {"onlooker-link", "onlooker-sender"} & ({thread.name for thread in threading.enumerate()} - before)
    with pytest.raises(ProtocolError, match="closed"):
        session.ask("what?")


def test_closing_works_without_a_connection(server: Any, until: Until) -> None:
    session = onlooker.client.connect(server.url)
    server.stop()
    until(lambda: not session.connected)
    session.close()
    assert session.closed


def test_closing_does_not_hang_on_a_server_that_reads_nothing(server: Any) -> None:
    session = onlooker.client.connect(server.url)
    server.reading.clear()
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for _ in range(100):
        session.see(noise)
        time.sleep(0.002)
    session.close(timeout_s=0.2)
    assert session.closed
    server.reading.set()


def onlooker_png() -> bytes:
    from onlooker.client.encoding import encode_png

    return encode_png(PICTURE)
