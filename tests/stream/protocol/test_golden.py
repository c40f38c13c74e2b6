"""Every event has its exact text on the wire in golden/: one line for the least of it, one with everything in it."""

import dataclasses
import json
from pathlib import Path

import pytest

from onlooker.stream.protocol import client_events as asked
from onlooker.stream.protocol import server_events as told
from onlooker.stream.protocol.event_table import Event
from onlooker.stream.protocol.limits import Limits

GOLDEN = Path(__file__).with_name("golden")
ORIGIN_US = 1_795_000_000_000_000

CONFIG = told.Config(
    settings=told.KeptSettings(keyframes="gate", heartbeat_s=10.0, prune_rate=0.5, memory_tokens=None, gate="auto"),
    fps=2.0,
    max_tokens=64,
    temperature=0.0,
    frame_reports="summary",
    stats=True,
)
SOURCE = told.SourceState(
    state="reconnecting", code="timeout", reason="the camera does not answer", fps=0.0, age_ms=5000.0, retry_ms=1000.0
)
STATS = {
    "frames": 120,
    "kept": 30,
    "dropped": 4,
    "fps": 1.5,
    "target_fps": 2.0,
    "age_ms": 250.0,
    "now_us": 60_000_000,
    "span_us": (0, 60_000_000),
    "used_bytes": 1_048_576,
    "disk_bytes": 0,
    "tokens": 960,
    "queued": 1,
}
EMPTY_STATS = STATS | {"age_ms": None, "now_us": None, "span_us": None}

CLIENT: tuple[asked.ClientEvent, ...] = (
    asked.SessionUpdate(),
    asked.SessionUpdate(
        event_id="e1",
        source="frames",
        resume=asked.Resume(session_id="s_1", token="rt_1", last_seq=41),
        settings=asked.SessionSettings(
            keyframes="all", heartbeat_s=5.0, prune_rate=0.25, memory_tokens=2048, gate="always"
        ),
        fps=2.0,
        max_tokens=64,
        temperature=0.0,
        frame_reports="each",
        stats=True,
    ),
    asked.SourceList(),
    asked.SourceList(event_id="e2"),
    asked.ConversationItemCreate(item=asked.Message(role="user", content=(asked.InputText(text="Is the door open?"),))),
    asked.ConversationItemCreate(
        event_id="e3",
        item=asked.Message(
            role="user",
            content=(
                asked.InputImage(image_url="data:image/jpeg;base64,/9j/4AAQ"),
                asked.InputText(text="Was ist das für ein „Schild“? 🙂"),
            ),
        ),
    ),
    asked.ResponseCreate(),
    asked.ResponseCreate(
        event_id="e4",
        question="What was next to the boat?",
        since_us=0,
        until_us=60_000_000,
        evidence=8,
        max_tokens=32,
        temperature=0.5,
        deadline_ms=10_000,
    ),
    asked.ResponseCancel(response_id="r_1"),
    asked.ResponseCancel(event_id="e5", response_id="r_1"),
    asked.WatchCreate(condition="there is a dog"),
    asked.WatchCreate(event_id="e6", condition="there is a dog", cooldown_ms=10_000, look_ms=0),
    asked.WatchDelete(watch_id="w_1"),
    asked.WatchDelete(event_id="e7", watch_id="w_1"),
    asked.WatchList(),
    asked.WatchList(event_id="e8"),
    asked.MemoryGet(),
    asked.MemoryGet(event_id="e9"),
    asked.MemoryMark(label="the delivery"),
    asked.MemoryMark(event_id="e10", label="the delivery", time_us=12_500_000),
    asked.MemoryClear(everything=True),
    asked.MemoryClear(event_id="e11", since_us=-1, until_us=60_000_000),
    asked.Ping(),
    asked.Ping(event_id="e12"),
    asked.SessionClose(),
    asked.SessionClose(event_id="e13", forget=True),
)

SERVER: tuple[told.ServerEvent, ...] = (
    told.SessionCreated(
        session_id="s_1",
        resume_token="rt_1",
        resumed=False,
        gap=False,
        source="frames",
        model=told.ModelInfo(name="pocket", calibrated=True),
        config=CONFIG,
        limits=told.SessionLimits.of(Limits()),
        origin_unix_us=ORIGIN_US,
        server_unix_us=ORIGIN_US,
    ),
    told.SessionCreated(
        event_id="e1",
        session_id="s_1",
        resume_token="rt_2",
        resumed=True,
        gap=True,
        source="door",
        model=told.ModelInfo(name="pocket", calibrated=True),
        config=CONFIG,
        limits=told.SessionLimits.of(Limits()),
        origin_unix_us=ORIGIN_US,
        server_unix_us=ORIGIN_US + 60_000_000,
        started_us=1_000_000,
        last_seq=44,
        received=("e1", "e4"),
    ),
    told.SessionUpdated(config=CONFIG),
    told.SessionUpdated(seq=1, event_id="e1", config=dataclasses.replace(CONFIG, fps=5.0)),
    told.SessionClosed(reason="idle"),
    told.SessionClosed(seq=2, event_id="e13", reason="closed", stats=told.Stats(**STATS)),
    told.SessionGoingAway(reason="the server is shutting down", deadline_ms=10_000),
    told.SessionGoingAway(seq=3, reason="the server is shutting down", deadline_ms=0),
    told.SessionStats(**EMPTY_STATS),
    told.SessionStats(**STATS, source=SOURCE),
    told.SourceListed(sources=()),
    told.SourceListed(
        seq=4,
        event_id="e2",
        sources=(
            told.ListedSource(name="door", state="live"),
            told.ListedSource(name="yard", state="failed", reason="the password is wrong"),
        ),
    ),
    told.SourceStatus(source="frames", state="live"),
    told.SourceStatus(
        seq=5,
        source="door",
        state="reconnecting",
        code="timeout",
        reason="the camera does not answer",
        fps=12.5,
        age_ms=5000.0,
        retry_ms=1000.0,
    ),
    told.FrameAccepted(sequence=0, time_us=0),
    told.FrameAccepted(sequence=4_294_967_295, time_us=60_000_000),
    told.FrameDropped(reason="rate", count=1, last_sequence=7),
    told.FrameDropped(reason="busy", count=12, last_sequence=4_294_967_295),
    told.ConversationItemAdded(item_id="i_1"),
    told.ConversationItemAdded(seq=6, event_id="e3", item_id="i_1"),
    told.ResponseCreated(response_id="r_1", question="Is the door open?", asked_at_us=0),
    told.ResponseCreated(
        seq=7, event_id="e4", response_id="r_1", question="What was next to the boat?", asked_at_us=60_000_000
    ),
    told.ResponseOutputTextDelta(response_id="r_1", delta=""),
    told.ResponseOutputTextDelta(seq=8, response_id="r_1", delta="the „dog“ 🙂\n"),
    told.ResponseOutputTextDone(response_id="r_1", text=""),
    told.ResponseOutputTextDone(seq=9, response_id="r_1", text="the dog"),
    told.ResponseEvidence(response_id="r_1", evidence=()),
    told.ResponseEvidence(
        seq=10,
        response_id="r_1",
        evidence=(
            told.EvidencePiece(
                index=0,
                start_us=4_000_000,
                end_us=9_000_000,
                score=6.25,
                source="recalled",
                image="/v1/sessions/s_1/images/4000000.jpg",
            ),
            told.EvidencePiece(index=1, start_us=58_000_000, end_us=60_000_000, score=-0.5, source="recent"),
        ),
    ),
    told.ResponseDone(response_id="r_1", status="cancelled", text="", asked_at_us=60_000_000),
    told.ResponseDone(
        seq=11,
        response_id="r_1",
        status="failed",
        reason="model_error",
        text="the",
        refers_to_us=4_000_000,
        asked_at_us=60_000_000,
        forgotten_us=((0, 1_000_000), (2_000_000, 3_000_000)),
        usage={"context_tokens": 400, "answer_tokens": 1},
        timings={"queue_ms": 1.5, "total_ms": 120.25},
        error=told.Fault(code="model_error", message="the device failed", remedy="ask again"),
    ),
    told.WatchCreated(watch_id="w_1", condition="there is a dog"),
    told.WatchCreated(seq=12, event_id="e6", watch_id="w_1", condition="there is a dog"),
    told.WatchDeleted(watch_id="w_1"),
    told.WatchDeleted(seq=13, event_id="e7", watch_id="w_1"),
    told.WatchListed(watches=()),
    told.WatchListed(
        seq=14,
        event_id="e8",
        watches=(told.ListedWatch(watch_id="w_1", condition="there is a dog", cooldown_ms=10_000, look_ms=0),),
    ),
    told.WatchFired(watch_id="w_1", condition="there is a dog", time_us=61_000_000, latency_ms=80.5, text="yes"),
    told.WatchFired(
        seq=15,
        watch_id="w_1",
        condition="there is a dog",
        time_us=61_000_000,
        latency_ms=80.5,
        text="yes",
        image="/v1/sessions/s_1/images/61000000.jpg",
    ),
    told.WatchCleared(watch_id="w_1", condition="there is a dog", time_us=63_000_000),
    told.WatchCleared(seq=16, watch_id="w_1", condition="there is a dog", time_us=63_000_000),
    told.MemoryState(
        keyframes=0,
        tokens=0,
        used_bytes=4096,
        cap_bytes=2_147_483_648,
        disk_bytes=0,
        disk_cap_bytes=0,
        span_us=None,
        timeline=(),
        marks=(),
    ),
    told.MemoryState(
        seq=17,
        event_id="e9",
        keyframes=30,
        tokens=960,
        used_bytes=1_048_576,
        cap_bytes=2_147_483_648,
        disk_bytes=524_288,
        disk_cap_bytes=68_719_476_736,
        span_us=(0, 60_000_000),
        timeline=(
            told.Stretch(start_us=0, end_us=1_000_000, kind="forgotten"),
            told.Stretch(start_us=1_000_000, end_us=20_000_000, kind="gist"),
            told.Stretch(start_us=20_000_000, end_us=60_000_000, kind="kept"),
        ),
        marks=(told.Mark(label="the delivery", time_us=12_500_000),),
    ),
    told.MemoryMarked(label="the delivery", time_us=12_500_000),
    told.MemoryMarked(seq=18, event_id="e10", label="the delivery", time_us=12_500_000),
    told.MemoryCleared(keyframes=0),
    told.MemoryCleared(seq=19, event_id="e11", keyframes=30),
    told.MemoryEvicted(spans_us=()),
    told.MemoryEvicted(seq=20, spans_us=((0, 1_000_000),)),
    told.Error.of("invalid_json"),
    told.Error(
        seq=21,
        event_id="e4",
        code="busy",
        message="8 questions are waiting, the limit",
        remedy="wait for an answer, then ask again",
        param="question",
        retryable=True,
        retry_after_ms=500,
        fatal=False,
    ),
    told.Pong(server_unix_us=ORIGIN_US),
    told.Pong(event_id="e12", server_unix_us=ORIGIN_US),
)


def lines(side: str, kind: str) -> list[str]:
    return (GOLDEN / side / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("kind", asked.CLIENT_EVENTS.classes)
def test_what_a_client_sends_is_as_it_was_laid_down(kind: str) -> None:
    events = [event for event in CLIENT if kind == event.TYPE]
    assert len(events) == 2
    assert [asked.write(event) for event in events] == lines("client", kind)
    assert [asked.read(line, Limits()) for line in lines("client", kind)] == events


@pytest.mark.parametrize("kind", told.SERVER_EVENTS.classes)
def test_what_the_server_sends_is_as_it_was_laid_down(kind: str) -> None:
    events = [event for event in SERVER if kind == event.TYPE]
    assert len(events) == 2
    assert [told.write(event) for event in events] == lines("server", kind)
    assert [told.SERVER_EVENTS.read(line, told.BOUNDS) for line in lines("server", kind)] == events
    assert [told.read(line) for line in lines("server", kind)] == events


@pytest.mark.parametrize(
    ("side", "classes"), [("client", asked.CLIENT_EVENTS.classes), ("server", told.SERVER_EVENTS.classes)]
)
def test_the_golden_files_are_of_the_events_there_are(side: str, classes: dict[str, type[Event]]) -> None:
    assert {path.stem for path in (GOLDEN / side).iterdir()} == set(classes)


def test_everything_that_can_be_in_an_event_is_in_a_golden_one() -> None:
    for events in (CLIENT, SERVER):
        for kind in {type(event) for event in events}:
            same = [event for event in events if type(event) is kind]
            for field in dataclasses.fields(kind):
                values = [getattr(event, field.name) for event in same]
                assert any(value is not None for value in values), f"{kind.__name__}.{field.name}"


def test_every_golden_line_is_one_json_object_that_names_its_type() -> None:
    for path in GOLDEN.glob("*/*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert next(iter(json.loads(line).items())) == ("type", path.stem)
