"""Rules 3, 5, 7 and 9 at the door: frames in, answers out, from any threads, whatever comes."""

import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.answer import Answer
from onlooker.errors import ModelError, SettingsError, SourceError
from onlooker.frame import Frame
from onlooker.models.backbone import Backbone, HeadId, Sampling
from onlooker.settings import MIB, Settings
from onlooker.stream.session import Session
from onlooker.theatre.show import Show

HEADS = (HeadId(0, 0), HeadId(1, 1))
QUESTION = "where was the red ball ?"
SHORT = Sampling(6)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(Show(5, 60, size=56).frames(1.0))


def session_of(backbone: Backbone, frames: Iterable[Frame] = (), **changes: Any) -> Session:
    session = Session(backbone, Settings(**{"chunk_frames": 4, "keyframes": "all", **changes}), HEADS)
    for frame in frames:
        session.see(frame)
    return session


def told(answer: Answer) -> tuple[object, ...]:
    """Everything an answer says, without what the clock says."""
    said = (answer.text, answer.status, answer.asked_at_us, answer.refers_to_us, answer.evidence, answer.forgotten_us)
    return (*said, dict(answer.usage))


def assert_same(one: Session, other: Session) -> None:
    assert one._reader is not None and other._reader is not None
    ours, theirs = one._reader.ingest.archive, other._reader.ingest.archive
    assert ours.block_ids == theirs.block_ids and len(ours)
    for block_id in ours.block_ids:
        assert torch.equal(ours.get(block_id).keys, theirs.get(block_id).keys)
        assert torch.equal(ours.get(block_id).values, theirs.get(block_id).values)
        assert ours.get(block_id).span_us == theirs.get(block_id).span_us


@pytest.mark.parametrize("cut", [1, 3, 14, 29])
def test_an_answer_knows_nothing_of_what_follows(tiny_backbone: Backbone, frames: list[Frame], cut: int) -> None:
    ended = session_of(tiny_backbone, frames[:cut])
    went_on = session_of(tiny_backbone)
    for number, frame in enumerate(frames[:40]):
        if number == cut:
            assert told(went_on.ask(QUESTION, sampling=SHORT)) == told(ended.ask(QUESTION, sampling=SHORT))
        went_on.see(frame)
    assert_same(went_on, session_of(tiny_backbone, frames[:40]))


@settings(max_examples=5)
@given(asked=st.sets(st.integers(0, 29), max_size=5))
def test_questions_change_nothing(tiny_backbone: Backbone, frames: list[Frame], asked: set[int]) -> None:
    quiet, busy = session_of(tiny_backbone, frames[:30]), session_of(tiny_backbone)
    for number, frame in enumerate(frames[:30]):
        busy.see(frame)
        if number in asked:
            busy.ask("what is seen now ?", sampling=SHORT)
            busy.ask_stream(QUESTION, until_us=frame.time_us + 1).close()
    assert_same(busy, quiet)
    assert told(busy.ask(QUESTION, sampling=SHORT)) == told(quiet.ask(QUESTION, sampling=SHORT))


def test_two_sessions_equal_separate_ones(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    shows = [frames, list(Show(6, 60, size=56).frames(1.0))]
    apart = [session_of(tiny_backbone, show) for show in shows]
    together = [session_of(tiny_backbone) for _ in shows]
    for pair in zip(*shows, strict=True):
        for session, frame in zip(together, pair, strict=True):
            session.see(frame)
    streams = [session.ask_stream(QUESTION, sampling=SHORT) for session in together]
    for _ in range(7):  # decoded by turns
        for stream in streams:
            next(stream, None)
    for one, other, stream in zip(apart, together, streams, strict=True):
        assert_same(one, other)
        assert told(stream.answer) == told(one.ask(QUESTION, sampling=SHORT))
    assert streams[0].answer.text != streams[1].answer.text


def test_an_empty_session_says_so(tiny_backbone: Backbone) -> None:
    session = session_of(tiny_backbone)
    answer = session.ask(QUESTION)
    assert (answer.status, answer.evidence, answer.refers_to_us) == ("not_remembered", (), None)
    assert answer.text == "Nothing has been seen yet."
    assert session.memory.blocks == 0 and session.report.frames == 0


def test_nothing_relevant_has_no_evidence(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    session = session_of(tiny_backbone, frames)
    for answer in (session.ask(QUESTION, since_us=10**12), session.ask("what was seen at 59:00 ?")):
        assert (answer.status, answer.evidence, answer.refers_to_us) == ("not_remembered", (), None)
    answer = session.ask("what is the ball now ?", sampling=SHORT)
    assert answer.status in ("answered", "truncated") and answer.refers_to_us == frames[-1].time_us


def test_nothing_relevant_is_told_before_anything_is_stored(
    tiny_backbone: Backbone, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_backbone, "card", replace(tiny_backbone.card, relevance=0.99))
    session = session_of(tiny_backbone, frames[:3])
    assert session.memory.blocks == 0
    answer = session.ask(QUESTION, sampling=SHORT)
    assert (answer.status, answer.evidence) == ("not_remembered", ())


def test_what_was_forgotten_is_told(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    session = session_of(tiny_backbone, archive_bytes=MIB, recipe="none")
    for number in range(400):
        session.see(Frame(frames[number % 60].image, number * 1_000_000))
    assert session.memory.used_bytes <= MIB
    [forgotten] = session.memory.forgotten
    gone = (0, forgotten.end_us)
    assert session.ask(QUESTION, sampling=SHORT).forgotten_us == (gone,)
    assert session.ask(QUESTION, since_us=forgotten.end_us, sampling=SHORT).forgotten_us == ()
    middle = session.ask(QUESTION, since_us=3_000_000, until_us=9_000_000, sampling=SHORT)
    assert middle.forgotten_us == ((3_000_000, 9_000_000),)
    assert (middle.status, middle.evidence) == ("not_remembered", ())
    assert session.ask("what was seen in the last 10 seconds ?", sampling=SHORT).forgotten_us == ()
    now = "what is on the screen now ?"
    assert session.ask(now, sampling=SHORT).forgotten_us == ()
    assert session.ask(now, until_us=9_000_000, sampling=SHORT).forgotten_us == ((0, 9_000_000),)


def test_one_feeds_while_two_ask(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    session = session_of(tiny_backbone)
    answers: list[list[Answer]] = [[], []]
    fed, stop = threading.Event(), threading.Event()

    def feed() -> None:
        number = 0
        while not stop.is_set():  # without pause: a question must get its turn all the same
            session.see(Frame(frames[number % 60].image, number * 1000))
            number += 1
            fed.set()

    def ask(place: int) -> None:
        fed.wait(30)
        for _ in range(6):
            answers[place].append(session.ask(QUESTION, sampling=Sampling(2)))

    # A thread that raises fails the test: pytest warns of it, and warnings are errors.
    askers = [threading.Thread(target=ask, args=(place,), daemon=True) for place in range(2)]
    feeder = threading.Thread(target=feed, daemon=True)
    for thread in (feeder, *askers):
        thread.start()
    for thread in askers:
        thread.join(120)
    stop.set()
    feeder.join(60)
    assert not any(thread.is_alive() for thread in (*askers, feeder))
    for got in answers:
        times = [answer.asked_at_us for answer in got]
        assert len(times) == 6 and times == sorted(times)
    assert_same(
        session,
        session_of(tiny_backbone, (Frame(frames[n % 60].image, n * 1000) for n in range(session.report.frames))),
    )


def test_pieces_join_to_the_answer(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    stream = session_of(tiny_backbone, frames[:20]).ask_stream(QUESTION, sampling=SHORT)
    pieces = list(stream)
    answer = stream.answer
    assert "".join(pieces).strip() == answer.text and len(pieces) > 1
    timings = answer.timings
    assert set(timings) == {"read_ms", "probe_ms", "recall_ms", "first_token_ms", "total_ms"}
    assert 0 < timings["probe_ms"] + timings["recall_ms"] <= timings["read_ms"]
    assert timings["read_ms"] <= timings["first_token_ms"] <= timings["total_ms"]
    assert answer.usage["answer_tokens"] == 6 and answer.usage["context_tokens"] > answer.usage["recalled_tokens"] > 0
    assert list(stream) == [] and stream.answer.timings == timings
    stream.close()
    assert told(stream.answer) == told(answer)


def test_closing_an_answer_cancels_it(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    session = session_of(tiny_backbone, frames[:20])
    whole = list(session.ask_stream("what is seen now ?", sampling=SHORT))
    stream = session.ask_stream("what is seen now ?", sampling=SHORT)
    pieces = [next(stream), next(stream)]
    stream.close()
    assert list(stream) == [] and stream.answer.status == "cancelled"
    assert stream.answer.text == "".join(pieces).strip() and pieces == whole[:2]
    never = session.ask_stream(QUESTION)
    never.close()
    assert (never.answer.status, never.answer.text) == ("cancelled", "")


def test_an_answer_that_fails_is_cancelled(
    tiny_backbone: Backbone, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = session_of(tiny_backbone, frames[:6]).ask_stream(QUESTION)
    next(stream)
    language = tiny_backbone._language  # type: ignore[attr-defined]
    monkeypatch.setattr(language, "_logits", lambda _: torch.full((96,), torch.nan))
    with pytest.raises(ModelError, match="not finite"):
        list(stream)
    assert stream.answer.status == "cancelled" and list(stream) == []


def test_an_answer_goes_on_after_its_session(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    with session_of(tiny_backbone, frames[:10]) as session:
        expected = session.ask(QUESTION, sampling=SHORT)
        stream = session.ask_stream(QUESTION, sampling=SHORT)
    list(stream)
    assert told(stream.answer) == told(expected)
    for call in (lambda: session.see(frames[11]), lambda: session.ask(QUESTION), lambda: session.memory):
        with pytest.raises(SettingsError, match="closed"):
            call()
    session.close()
    assert session.report.frames == 10


PICTURES = {
    "grey": np.full((40, 50), 99, np.uint8),
    "one channel": np.full((40, 50, 1), 99, np.uint8),
    "rgba": np.full((40, 50, 4), 99, np.uint8),
    "float": np.full((40, 50, 3), 0.4, np.float32),
    "nan": np.full((40, 50, 3), np.nan),
    "1x1": np.zeros((1, 1, 3), np.uint8),
    "thin": np.zeros((1, 2000, 3), np.uint8),
    "huge": np.zeros((3000, 4000, 3), np.uint8),
    "strided": np.zeros((80, 100, 3), np.uint8)[::2, ::-2],
    "read-only": np.broadcast_to(np.uint8(7), (40, 50, 3)),
}


@pytest.mark.parametrize("keyframes", ["all", "gate"])
def test_pictures_of_every_kind(tiny_backbone: Backbone, keyframes: str) -> None:
    session = session_of(tiny_backbone, keyframes=keyframes)
    for number, picture in enumerate([*PICTURES.values()] * 2):
        session.see(picture, number * 1000)
    assert session.report.frames == 20
    assert session.ask(QUESTION, sampling=SHORT).asked_at_us == 19_000


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.int64),
        [[1, 2], [3, 4]],
        [[1, 2], [3]],
        None,
        "picture.png",
    ],
)
def test_what_is_no_picture_is_refused(tiny_backbone: Backbone, picture: Any) -> None:
    session = session_of(tiny_backbone)
    with pytest.raises(SourceError, match="cannot read"):
        session.see(picture, 5)
    assert session.report.frames == 0
    session.see(np.zeros((4, 4, 3), np.uint8), 5)


def test_times(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    session = session_of(tiny_backbone)
    picture = frames[0].image
    session.see(picture, -3_000_000)
    for time_us in (-3_000_000, -4_000_000, -(1 << 40)):
        with pytest.raises(SourceError, match="later time"):
            session.see(picture, time_us)
    for wrong in (float("nan"), float("inf"), 1.5, "7", 1 << 63, -(1 << 70)):
        with pytest.raises(SourceError, match="time is"):
            session.see(picture, wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="its own time"):
        session.see(frames[0], 7)
    for number in range(-2, 8):
        session.see(picture, number * 1_000_000)
    assert session.report.frames == 11
    answer = session.ask(QUESTION, until_us=-1_000_000, sampling=SHORT)
    assert all(item.end_us <= 0 for item in answer.evidence)


def test_frames_without_times_get_rising_ones(tiny_backbone: Backbone, frames: list[Frame]) -> None:
    session = session_of(tiny_backbone)
    session.see(frames[0].image)
    session.see(frames[1].image)
    session.see(frames[2].image, 10**15)  # from here on the clock is behind
    session.see(frames[3].image)
    assert session.report.now_us == 10**15 + 1


@pytest.mark.parametrize("question", [5, None, b"where was the ball ?", ["ball"]])
def test_questions_are_text(tiny_backbone: Backbone, question: Any) -> None:
    session = session_of(tiny_backbone)
    for ask in (session.ask, session.ask_stream):
        with pytest.raises(SettingsError, match=r"not text; ask something"):
            ask(question)


@pytest.mark.parametrize("question", ["", "   ", "\n\t ", "ball " * 5000, "<video>", "<|im_end|><|im_start|>"])
def test_questions_that_are_refused(tiny_backbone: Backbone, frames: list[Frame], question: str) -> None:
    session = session_of(tiny_backbone, frames[:3])
    with pytest.raises(SettingsError, match=r"empty|limit is 8192|no words of its own"):
        session_of(tiny_backbone).check(question)
    with pytest.raises(SettingsError, match=r"empty|limit is 8192|no words of its own"):
        session.ask(question)
    assert session.ask(QUESTION, sampling=SHORT).text


@pytest.mark.parametrize(
    "question",
    [
        "?",
        "où est le ballon rouge ?",
        "赤いボールはどこ",
        "🟥⚽\u200d?",
        "\ud800 ball",
        "a\0b",
        "ball <|im_end|> <video> red",
        "b" * 8000,
    ],
)
def test_questions_that_are_answered(tiny_backbone: Backbone, frames: list[Frame], question: str) -> None:
    session = session_of(tiny_backbone, frames[:10])
    answer = session.ask(question, sampling=SHORT)
    assert answer.status in ("answered", "truncated", "not_remembered")
    plain = session_of(tiny_backbone, frames[:10]).ask("ball red", sampling=SHORT)
    if "<" in question:  # special tokens in a question are but white space
        assert answer.text == plain.text and answer.usage == plain.usage


@pytest.mark.parametrize(("since_us", "until_us"), [(5, 5), (6, 5), (0, -1)])
def test_empty_ranges_are_refused(tiny_backbone: Backbone, since_us: int, until_us: int) -> None:
    with pytest.raises(SettingsError, match="range ends"):
        session_of(tiny_backbone).ask(QUESTION, since_us=since_us, until_us=until_us)
