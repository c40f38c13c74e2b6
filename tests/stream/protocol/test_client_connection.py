import dataclasses
import json

import pytest

from onlooker.stream.protocol import client_events as asked
from onlooker.stream.protocol import server_events as told
from onlooker.stream.protocol.client_connection import FINAL_CODES, ClientConnection
from onlooker.stream.protocol.errors import CLOSE_CODES, ERRORS, EventError
from onlooker.stream.protocol.limits import Limits
from onlooker.stream.protocol.replay import Replay

CREATED = told.SessionCreated(
    session_id="s_1",
    resume_token="rt_1",
    resumed=False,
    gap=False,
    source="frames",
    model=told.ModelInfo(name="pocket", calibrated=True),
    config=told.Config(
        settings=told.KeptSettings(keyframes="gate", heartbeat_s=10.0, prune_rate=0.5, memory_tokens=None, gate="auto"),
        fps=2.0,
        max_tokens=64,
        temperature=0.0,
        frame_reports="summary",
        stats=False,
    ),
    limits=told.SessionLimits.of(Limits()),
    origin_unix_us=0,
    server_unix_us=0,
)


def delta(text: str = "x") -> told.ResponseOutputTextDelta:
    return told.ResponseOutputTextDelta(response_id="r_1", delta=text)


class Server:
    """The other side of a session: numbers what it says, and resumes."""

    def __init__(self, most_events: int = 100) -> None:
        self.replay, self.tokens = Replay(most_events, 100_000), 1

    def resume(self, hello: str) -> list[str]:
        resume = json.loads(hello)["resume"]
        assert (resume["session_id"], resume["token"]) == ("s_1", f"rt_{self.tokens}")
        self.tokens += 1
        missed = self.replay.missed(resume["last_seq"])
        created = dataclasses.replace(
            CREATED,
            resume_token=f"rt_{self.tokens}",
            resumed=True,
            gap=missed.gap,
            last_seq=self.replay.last_seq,
            received=self.replay.received,
        )
        return [told.write(created), *missed.messages]


def opened(hello: asked.SessionUpdate | None = None) -> ClientConnection:
    client = ClientConnection(hello)
    client.connect()
    assert client.receive(told.write(CREATED)).event == CREATED
    return client


def test_the_first_connection_opens_and_the_next_one_resumes() -> None:
    client = ClientConnection(
        asked.SessionUpdate(source="door", settings=asked.SessionSettings(prune_rate=0.5), fps=2.0)
    )
    assert json.loads(client.connect()) == {
        "type": "session.update",
        "source": "door",
        "settings": {"prune_rate": 0.5},
        "fps": 2.0,
    }
    client.receive(told.write(CREATED))
    client.receive(Server().replay.add(delta()))
    assert client.disconnected(None)
    assert json.loads(client.connect()) == {
        "type": "session.update",
        "resume": {"session_id": "s_1", "token": "rt_1", "last_seq": 1},
        "fps": 2.0,
    }


def test_a_change_of_settings_outlives_its_connection() -> None:
    client = opened(asked.SessionUpdate(fps=2.0, stats=True))
    client.send(asked.SessionUpdate(fps=5.0))
    hello = json.loads(client.connect())
    assert (hello["fps"], hello["stats"]) == (5.0, True)


def test_what_was_missed_comes_once_and_in_order() -> None:
    client, server = opened(), Server()
    first = server.replay.add(delta("a"))
    assert client.receive(first).event == delta("a").__class__(seq=1, response_id="r_1", delta="a")
    server.replay.add(delta("b"))  # lost on the way
    heard = [client.receive(text).event for text in server.resume(client.connect())]
    assert [event.delta for event in heard if isinstance(event, told.ResponseOutputTextDelta)] == ["b"]
    assert client.receive(first).event is None
    assert client.gaps == 0


def test_each_resume_uses_the_newest_token() -> None:
    client, server = opened(), Server()
    for _ in range(3):
        for text in server.resume(client.connect()):
            client.receive(text)
    assert client.created is not None and client.created.resume_token == "rt_4"


def test_a_request_that_never_came_is_sent_again_behind_the_replay() -> None:
    client, server = opened(), Server()
    came = client.send(asked.ResponseCreate(event_id="q1", question="a"))
    lost = client.send(asked.ResponseCreate(event_id="q2", question="b"))
    server.replay.note_received(json.loads(came)["event_id"])
    server.replay.add(told.ResponseCreated(event_id="q1", response_id="r_1", question="a", asked_at_us=0))
    server.replay.add(delta())
    heard = [client.receive(text) for text in server.resume(client.connect())]
    assert [one.resend for one in heard] == [(), (), (lost,)]


def test_a_request_is_pending_until_it_is_answered_in_full() -> None:
    client, server = opened(), Server()
    client.send(asked.ResponseCreate(event_id="q1", question="a"))
    client.send(asked.MemoryGet(event_id="m1"))
    client.send(asked.WatchCreate(event_id="w1", condition="a dog"))
    client.send(asked.Ping())
    client.receive(server.replay.add(told.ResponseCreated(event_id="q1", response_id="r", question="a", asked_at_us=0)))
    client.receive(server.replay.add(told.Error.of("busy", event_id="w1")))
    assert client.pending == ("q1", "m1")
    client.receive(server.replay.add(told.ResponseDone(response_id="r", status="completed", text="a", asked_at_us=0)))
    assert client.pending == ("m1",)
    client.forget("m1")
    assert client.pending == ()


def test_a_restarted_server_is_asked_again_and_heard_from_its_first_number_on() -> None:
    client, server = opened(), Server()
    question = client.send(asked.ResponseCreate(event_id="q1", question="a"))
    server.replay.note_received("q1")
    client.receive(
        server.replay.add(told.ResponseCreated(event_id="q1", response_id="r_1", question="a", asked_at_us=0))
    )
    for _ in range(5):
        client.receive(server.replay.add(delta()))
    server.replay = Replay(100, 100_000)
    heard = [client.receive(text) for text in server.resume(client.connect())]
    assert isinstance(heard[0].event, told.SessionCreated) and heard[0].event.gap
    assert heard[-1].resend == (question,)
    assert client.receive(server.replay.add(delta("new"))).event is not None
    assert client.gaps == 1


def test_standing_questions_outlive_a_restart_under_their_first_names() -> None:
    client, server = opened(), Server()
    made = {name: client.send(asked.WatchCreate(event_id=name, condition=name)) for name in ("a", "b")}
    for name in made:
        client.receive(server.replay.add(told.WatchCreated(event_id=name, watch_id=f"{name}0", condition=name)))
    client.send(asked.WatchDelete(event_id="d", watch_id="a0"))
    client.receive(server.replay.add(told.WatchDeleted(event_id="d", watch_id="a0")))
    for restart in (1, 2):
        server.replay = Replay(100, 100_000)
        (heard,) = [client.receive(text) for text in server.resume(client.connect())]
        assert heard.resend == (made["b"],)
        client.receive(server.replay.add(told.WatchCreated(event_id="b", watch_id=f"b{restart}", condition="b")))
        fired = told.WatchFired(watch_id=f"b{restart}", condition="b", time_us=0, latency_ms=0.0, text="")
        event = client.receive(server.replay.add(fired)).event
        assert isinstance(event, told.WatchFired) and event.watch_id == "b0"
    listed = (told.ListedWatch(watch_id="b2", condition="b", cooldown_ms=0, look_ms=0),)
    event = client.receive(server.replay.add(told.WatchListed(watches=listed))).event
    assert isinstance(event, told.WatchListed) and event.watches[0].watch_id == "b0"
    assert json.loads(client.send(asked.WatchDelete(event_id="e", watch_id="b0")))["watch_id"] == "b2"


def test_standing_questions_are_not_put_twice_to_a_server_that_has_them() -> None:
    client, server = opened(), Server(most_events=16)
    client.send(asked.WatchCreate(event_id="a", condition="a"))
    client.receive(server.replay.add(told.WatchCreated(event_id="a", watch_id="a0", condition="a")))
    for number in range(40):
        server.replay.add(delta(str(number)))
    heard = [client.receive(text) for text in server.resume(client.connect())]
    assert client.gaps == 1
    assert all(one.resend == () for one in heard)


def test_events_that_the_ring_has_lost_are_a_gap_and_the_rest_comes() -> None:
    client, server = opened(), Server(most_events=16)
    for number in range(40):
        server.replay.add(delta(str(number)))
    heard = [client.receive(text).event for text in server.resume(client.connect())]
    assert [event.delta for event in heard if isinstance(event, told.ResponseOutputTextDelta)] == [
        str(number) for number in range(24, 40)
    ]
    assert (client.gaps, client.last_seq) == (1, 40)


def test_a_hole_within_a_connection_is_a_gap() -> None:
    client, server = opened(), Server()
    client.receive(server.replay.add(delta()))
    server.replay.add(delta())
    client.receive(server.replay.add(delta()))
    assert (client.gaps, client.last_seq) == (1, 3)


@pytest.mark.parametrize("code", [code for code, kind in ERRORS.items() if kind.fatal])
def test_behind_a_fatal_error_it_comes_back_unless_that_is_of_no_use(code: str) -> None:
    client = opened()
    client.receive(told.write(told.Error.of(code)))
    assert client.error is not None and client.error.code == code
    assert client.disconnected(ERRORS[code].close) == (code not in FINAL_CODES)
    assert (client.ended is not None) == (code in FINAL_CODES)


@pytest.mark.parametrize("close", [*CLOSE_CODES, 1005, 1006, 1012, None])
def test_a_close_without_an_error_is_judged_by_its_code(close: int | None) -> None:
    client = opened()
    again = close not in (1003, 1008, 4002, 4003)
    assert client.disconnected(close) == again
    if not again:
        assert isinstance(client.ended, told.Error) and client.ended.fatal


def test_a_closed_session_is_over() -> None:
    client, server = opened(), Server()
    client.receive(server.replay.add(told.SessionClosed(reason="closed")))
    assert not client.disconnected(1000)


def test_what_no_server_takes_is_not_sent() -> None:
    client = opened()
    with pytest.raises(EventError, match="evidence is 99"):
        client.send(asked.ResponseCreate(event_id="q", question="a", evidence=99))
    assert client.pending == ()
    with pytest.raises(EventError, match="prune_rate is 5"):
        ClientConnection(asked.SessionUpdate(settings=asked.SessionSettings(prune_rate=5.0))).connect()


def test_unknown_events_of_a_newer_server_are_passed_over() -> None:
    assert opened().receive('{"type":"weather.report","seq":1}').event is None
