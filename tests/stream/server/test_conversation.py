"""A client's conversation with its session, over a real socket."""

import asyncio
import base64
from typing import Any

import pytest

from onlooker.model import Model
from onlooker.stream.server.settings import ServerSettings


def test_a_conversation_from_hello_to_goodbye(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            created = await client.hello(event_id="hi", frame_reports="each", max_tokens=8)
            assert (created["event_id"], created["resumed"], created["gap"]) == ("hi", False, False)
            assert created["config"]["max_tokens"] == 8 and created["config"]["frame_reports"] == "each"
            await client.see(4)
            done = await client.ask(event_id="q1", evidence=2)
            kinds = [event["type"] for event in client.heard if event["type"].startswith("response.")]
            assert kinds[0] == "response.created" and kinds[-1] == "response.done"
            assert kinds[1:-1].count("response.output_text.done") == 1
            pieces = [event["delta"] for event in client.heard if event["type"] == "response.output_text.delta"]
            assert "".join(pieces).strip() == done["text"]
            assert len({event.get("response_id") for event in client.heard if "response_id" in event}) == 1
            numbered = [event["seq"] for event in client.heard if "seq" in event]
            assert numbered == list(range(1, len(numbered) + 1))
            await client.send("memory.mark", label="here", event_id="m1")
            marked = await client.get("memory.marked")
            await client.send("memory.get", event_id="m2")
            state = await client.get("memory.state")
            assert state["marks"] == [{"label": "here", "time_us": marked["time_us"]}]
            assert state["keyframes"] >= 2 and state["span_us"][0] < state["span_us"][1]
            await client.send("session.close", event_id="bye")
            [closed] = await client.rest()
            assert (closed["type"], closed["reason"], client.ended) == ("session.closed", "closed", 1000)
            assert closed["stats"]["frames"] == 4
            await served.gone()

    asyncio.run(run())


def test_a_question_knows_the_frame_that_was_sent_just_before_it(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            await client.hello(max_tokens=2)
            origin_us = client.created["origin_unix_us"]
            for sequence in range(5):
                await client.socket.send(
                    harness.frame(sequence, captured_unix_us=origin_us + (sequence + 1) * 1_000_000)
                )
                done = await client.ask()
                assert done["asked_at_us"] == (sequence + 1) * 1_000_000

    asyncio.run(run())


def test_clients_of_other_apis_lay_a_message_down_first(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            await client.hello(max_tokens=2, frame_reports="each")
            url = "data:image/jpeg;base64," + base64.b64encode(harness.jpeg(3)).decode()
            content = [{"type": "input_image", "image_url": url}, {"type": "input_text", "text": "what is seen ?"}]
            item = {"type": "message", "role": "user", "content": content}
            await client.send("conversation.item.create", item=item, event_id="i")
            assert (await client.get("conversation.item.added"))["event_id"] == "i"
            await client.send("response.create")
            assert (await client.get("response.created"))["question"] == "what is seen ?"
            assert (await client.get("response.done"))["asked_at_us"] > 0
            await client.send("response.create", event_id="again")
            error = await client.get("error")
            assert (error["code"], error["event_id"], error["fatal"]) == ("empty_question", "again", False)

    asyncio.run(run())


def test_a_cancelled_answer_ends_as_cancelled(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            await client.hello(max_tokens=4096, temperature=2.0, frame_reports="each")
            await client.see(3)
            await client.send("response.create", question="what is the ball ?")
            response_id = (await client.get("response.created"))["response_id"]
            await client.send("response.cancel", response_id=response_id)
            done = await client.get("response.done")
            assert (done["response_id"], done["status"]) == (response_id, "cancelled")
            await client.send("response.cancel", response_id=response_id, event_id="late")
            error = await client.get("error")
            assert (error["code"], error["event_id"]) == ("unknown_response", "late")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("response.create", {"question": "   "}, "empty_question"),
        ("response.create", {"question": "x" * 8193}, "bad_question"),
        ("response.create", {"question": "what ?", "since_us": 5, "until_us": 5}, "bad_question"),
        ("response.cancel", {"response_id": "nobody"}, "unknown_response"),
        ("watch.delete", {"watch_id": "nobody"}, "unknown_watch"),
        ("memory.clear", {}, "invalid_event"),
        ("memory.mark", {"label": " "}, "invalid_event"),
        ("session.update", {"source": "hall"}, "invalid_event"),
        ("session.update", {"settings": {"prune_rate": 1.5}}, "invalid_event"),
        ("source.open", {"url": "rtsp://10.0.0.1"}, "unknown_event"),
        ("response.create", {"question": "what ?", "model": "other"}, "unknown_field"),
    ],
)
def test_what_cannot_be_done_is_told_with_a_code_and_a_remedy(
    harness: Any, model: Model, kind: str, fields: dict[str, object], code: str
) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            await client.hello()
            await client.send(kind, **fields, event_id="e")
            error = await client.get("error")
            assert (error["code"], error["event_id"], error["fatal"]) == (code, "e", False)
            assert error["message"] and error["remedy"]
            await client.send("ping", event_id="p")
            assert (await client.get("pong"))["event_id"] == "p"

    asyncio.run(run())


def test_settings_change_until_the_first_frame(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            created = await client.hello(settings={"prune_rate": 0.25}, frame_reports="each")
            assert created["config"]["settings"]["prune_rate"] == 0.25
            await client.send("session.update", settings={"heartbeat_s": 3.0}, fps=5.0)
            config = (await client.get("session.updated"))["config"]
            assert (config["settings"]["prune_rate"], config["settings"]["heartbeat_s"], config["fps"]) == (
                0.25,
                3.0,
                5.0,
            )
            await client.see(1)
            await client.send("session.update", settings={"heartbeat_s": 4.0})
            assert (await client.get("error"))["code"] == "settings_locked"
            await asyncio.to_thread(served.engine.check_integrity)

    asyncio.run(run())


def test_forgetting_takes_memory_and_pictures_away(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            await client.hello(frame_reports="each")
            await client.see(6)
            seat = served.server.registry.seats[client.created["session_id"]]
            image = f"/v1/sessions/{seat.id}/images/{seat.images.add(b'what was seen')}"
            assert (await served.get(image))[0] == 200
            await client.send("memory.clear", everything=True)
            assert (await client.get("memory.cleared"))["keyframes"] >= 1
            assert (await served.get(image))[0] == 404
            await client.send("memory.get")
            assert (await client.get("memory.state"))["keyframes"] == 0

    asyncio.run(run())


def test_many_look_at_one_camera_and_none_of_them_owns_it(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with (
            harness.serving(model, sources={"stage": "theatre:7"}) as served,
            served.client() as one,
            served.client() as other,
        ):
            while served.server.cameras["stage"].live.stats.now_us is None:  # its first frame comes when it comes
                await asyncio.sleep(0.01)
            for client in (one, other):
                created = await client.hello(source="stage", max_tokens=4)
                assert created["source"] == "stage" and created["started_us"] is not None
                assert (await client.get("source.status"))["source"] == "stage"
            assert one.created["session_id"] != other.created["session_id"]
            assert served.engine.report.sessions == 1
            answers = await asyncio.gather(one.ask(), other.ask())
            assert {answer["status"] for answer in answers} <= {"completed", "incomplete"}
            assert len({answer["response_id"] for answer in answers}) == 2
            assert not any(event.get("response_id") == answers[1]["response_id"] for event in one.heard)
            await one.socket.send(harness.frame(0))
            assert (await one.get("error"))["code"] == "source_read_only"
            await one.send("memory.clear", everything=True)
            assert (await one.get("error"))["code"] == "source_read_only"
            await one.send("source.list")
            assert [entry["name"] for entry in (await one.get("source.listed"))["sources"]] == ["stage"]
            await one.send("watch.create", condition="there is a ball")
            watch_id = (await one.get("watch.created"))["watch_id"]
            await other.send("watch.delete", watch_id=watch_id)
            assert (await other.get("error"))["code"] == "unknown_watch"
            await one.send("session.close", forget=True)
            await one.rest()
            assert (await other.ask())["status"] in ("completed", "incomplete")  # the camera goes on
            assert served.server.cameras["stage"].live.stats.watches == 0

    asyncio.run(run())


def test_a_source_that_nobody_declared_is_refused(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served:
            for source in ("hall", "rtsp://10.0.0.1/stream", "/etc/passwd", "camera:0", "theatre:7"):
                async with served.client() as client:
                    await client.send("session.update", source=source, event_id="s")
                    [error] = await client.rest()
                    assert (error["code"], error["event_id"], error["fatal"]) == ("unknown_source", "s", True)
            assert not served.server.registry.seats

    asyncio.run(run())


def test_figures_come_once_a_second_where_asked_for(harness: Any, model: Model) -> None:
    async def run() -> None:
        async with harness.serving(model) as served, served.client() as client:
            await client.hello(frame_reports="each")
            await client.see(3)
            assert not any(event["type"] == "session.stats" for event in client.heard)
            await client.send("session.update", stats=True)
            figures = await client.get("session.stats")
            assert figures["frames"] == 3 and figures["target_fps"] > 0 and figures["source"] is None

    asyncio.run(run())


def test_each_session_hears_of_its_own_answers_only(harness: Any, model: Model) -> None:
    async def run() -> None:
        settings = ServerSettings(port=0, max_sessions=4)
        async with harness.serving(model, settings) as served:

            async def talk(number: int) -> set[str]:
                async with served.client() as client:
                    await client.hello(max_tokens=4, frame_reports="each")
                    await client.see(2)
                    await asyncio.gather(*(client.send("response.create", question="what ?") for _ in range(3)))
                    own = {(await client.get("response.done"))["response_id"] for _ in range(3)}
                    assert {event["response_id"] for event in client.heard if "response_id" in event} == own
                    await client.send("session.close")
                    await client.rest()
                    return own

            told = await asyncio.gather(*(talk(number) for number in range(4)))
            assert len(set().union(*told)) == 12
            await served.gone()

    asyncio.run(run())
