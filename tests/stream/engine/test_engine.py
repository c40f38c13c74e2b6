"""The engine through its public face: what it promises to those who feed it and those who ask."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onlooker
from onlooker import BusyError, Engine, IntegrityError, LiveSession, Sampling, Settings, SettingsError, SourceError
from onlooker.frame import Frame
from onlooker.stream.engine.events import (
    AnswerBegun,
    AnswerEnded,
    AnswerPiece,
    FramesDropped,
    MemoryForgot,
    SessionEvent,
    SessionFailed,
)

from .feeding import Hold, feed, wait_until

QUESTION = "what is on the screen now?"
PAST = "was there a dog?"


def test_an_engine_answers_as_a_session_of_its_own_does(engine: Engine, pocket: Any, frames: list[Frame]) -> None:
    live, alone = engine.session(), pocket.session()
    feed(live, frames)
    for frame in frames:
        alone.see(frame)
    for question in (QUESTION, PAST, "when did you see the dog?"):
        one, other = live.ask(question), alone.ask(question)
        assert (one.text, one.evidence, one.asked_at_us) == (other.text, other.evidence, other.asked_at_us)


def test_interleaved_sessions_are_as_if_each_were_alone(engine: Engine, pocket: Any, frames: list[Frame]) -> None:
    every = Settings(keyframes="all")
    one, two = engine.session(every), engine.session(every)
    for first, second in zip(frames[:60], reversed(frames[:60]), strict=True):
        feed(one, [first])
        feed(two, [Frame(second.image, first.time_us, first.seq)])
        if first.seq % 20 == 7:
            one.ask(PAST)
    alone = pocket.session(every)
    for frame in frames[:60]:
        alone.see(frame)
    alone.ask(PAST)
    assert one.ask(PAST).text == alone.ask(PAST).text
    assert replace(one.memory().stats, working_bytes=0) == replace(alone.memory, working_bytes=0)
    assert two.memory().stats.tokens != 0


def test_only_the_newest_frame_waits_and_the_others_are_counted(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    heard: list[SessionEvent] = []
    session.subscribe(heard.append)
    hold = Hold(session)
    for frame in frames[:10]:
        assert session.see(frame)
    stats = session.stats
    assert (stats.received, stats.waiting, dict(stats.dropped)) == (10, 1, {"busy": 9})
    hold.release()
    wait_until(lambda: session.stats.taken == 1 and any(isinstance(event, FramesDropped) for event in heard))
    assert session.stats.now_us == frames[9].time_us
    assert [event for event in heard if isinstance(event, FramesDropped)] == [FramesDropped("busy", 9, 8)]


def test_a_question_knows_what_had_come_and_nothing_later(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    feed(session, frames[:20])
    hold = Hold(session)
    session.see(frames[20])  # it waits when the question comes, so it counts
    asked = session.submit(QUESTION)
    session.see(frames[60])
    assert session.stats.waiting == 2
    hold.release()
    assert asked.answer.asked_at_us == frames[20].time_us
    wait_until(lambda: session.stats.now_us == frames[60].time_us)
    assert not session.stats.dropped


def test_answers_are_the_same_whatever_comes_while_they_are_decoded(
    engine: Engine, pocket: Any, frames: list[Frame]
) -> None:
    session, alone = engine.session(), pocket.session()
    feed(session, frames[:40])
    for frame in frames[:40]:
        alone.see(frame)
    questions = [QUESTION, PAST, "when did you see the dog?", "what was next to the dog?"]
    asked = [session.submit(question) for question in questions]
    for frame in frames[40:]:
        session.see(frame)
    assert [one.answer.text for one in asked] == [alone.ask(question).text for question in questions]


def test_pieces_come_in_order_and_join_to_the_answer(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    feed(session, frames[:20])
    heard: list[SessionEvent] = []
    asked = session.submit(QUESTION, listener=heard.append, question_id="mine")
    pieces = list(asked)
    ended = asked.result()
    assert "".join(pieces).strip() == ended.answer.text != ""
    assert isinstance(heard[0], AnswerBegun) and isinstance(heard[-1], AnswerEnded)
    assert [event.text for event in heard if isinstance(event, AnswerPiece)] == pieces
    assert {event.question_id for event in heard} == {"mine"}  # type: ignore[union-attr]


def test_a_cancelled_question_stops_before_the_next_token(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    feed(session, frames[:20])
    hold = Hold(session)
    pieces: list[str] = []

    def hear(event: SessionEvent) -> None:
        if isinstance(event, AnswerPiece):
            pieces.append(event.text)
            asked.cancel()

    asked = session.submit(QUESTION, listener=hear)
    hold.release()
    ended = asked.result(30.0)
    assert (ended.ending, ended.answer.status, len(pieces)) == ("cancelled", "cancelled", 1)
    assert ended.answer.text == pieces[0].strip()


def test_a_question_that_is_cancelled_in_the_queue_is_never_read(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    hold = Hold(session)
    session.see(frames[0])
    asked = session.submit(QUESTION)
    asked.cancel()
    hold.release()
    assert asked.result(30.0).ending == "cancelled"
    wait_until(lambda: session.stats.taken == 1)  # its pinned frame is not lost


def test_a_deadline_ends_a_question_in_the_queue_and_in_the_middle(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    feed(session, frames[:20])
    hold = Hold(session)
    late = session.submit(QUESTION, deadline_s=0.01)
    time.sleep(0.02)
    hold.release()
    assert late.result(30.0).ending == "deadline"

    def slow(event: SessionEvent) -> None:
        if isinstance(event, AnswerPiece):
            time.sleep(0.6)

    middle = session.submit(QUESTION, deadline_s=0.5, listener=slow)
    assert middle.result(30.0).ending == "deadline"
    assert middle.result().answer.text
    with pytest.raises(SettingsError, match="more than 0"):
        session.submit(QUESTION, deadline_s=0.0)


def test_sessions_take_turns_at_frames(engine: Engine, frames: list[Frame]) -> None:
    sessions = [engine.session() for _ in range(4)]
    hold = Hold(sessions[0])
    order: list[str] = []
    for session in sessions:
        before = session._lane.session.see

        def see(frame: Frame, before: Any = before, name: str = session.id, after_gap: bool = False) -> bool:
            order.append(name)
            return bool(before(frame, after_gap=after_gap))

        session._lane.session.see = see  # type: ignore[method-assign, assignment]
    for session in sessions:
        session.see(frames[0])
    hold.release()
    wait_until(lambda: len(order) == 4)
    for session in sessions:
        session.see(frames[1])
        session.see(frames[2])
    wait_until(lambda: all(session.stats.waiting == 0 for session in sessions))
    assert sorted(order[:4]) == sorted(session.id for session in sessions)
    for session in sessions:
        del session._lane.session.see


def test_frames_are_taken_in_between_questions_without_end(
    make_engine: Callable[..., Engine], frames: list[Frame]
) -> None:
    engine = make_engine(patience_s=0.05)
    asked, watched = engine.session(), engine.session()
    feed(asked, frames[:8])
    stop = threading.Event()

    def ask_on() -> None:
        while not stop.is_set():
            asked.ask(QUESTION)

    threads = [threading.Thread(target=ask_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        feed(watched, frames[:20])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert watched.stats.taken == 20


def test_newer_frames_inherit_the_wait_of_those_they_replace(
    make_engine: Callable[..., Engine], frames: list[Frame]
) -> None:
    engine = make_engine(patience_s=0.2)
    asked, fed = engine.session(), engine.session()
    feed(asked, frames[:8])
    stop = threading.Event()

    def ask_on() -> None:
        while not stop.is_set():
            asked.ask(QUESTION)

    threads = [threading.Thread(target=ask_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        end = time.monotonic() + 30.0
        while fed.stats.taken < 3:  # each frame by itself waits far less than patience_s
            fed.see(frames[0].image)
            time.sleep(0.01)
            assert time.monotonic() < end, fed.stats
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_failing_session_takes_no_other_down(engine: Engine, frames: list[Frame]) -> None:
    bad, good = engine.session(), engine.session()
    heard: list[SessionEvent] = []
    bad.subscribe(heard.append)

    def fail(*args: object, **named: object) -> None:
        raise RuntimeError("the tower fell")

    bad._lane.session.see = fail  # type: ignore[method-assign, assignment]
    bad._lane.session.ask_stream = fail  # type: ignore[method-assign, assignment]
    bad.see(frames[0])
    ended = bad.submit(QUESTION).result(30.0)
    assert (ended.ending, ended.code) == ("failed", "internal")
    assert "the tower fell" in ended.message
    wait_until(lambda: any(isinstance(event, SessionFailed) for event in heard))
    assert bad.stats.dropped == {"failed": 1}
    feed(good, frames[:20])
    assert good.ask(QUESTION).text
    del bad._lane.session.see, bad._lane.session.ask_stream


def test_closing_gives_every_byte_back(engine: Engine, frames: list[Frame]) -> None:
    for _ in range(3):
        session = engine.session()
        feed(session, frames[:12])
        session.submit(QUESTION)
        session.close()
        assert not session.see(frames[20])
        with pytest.raises(SettingsError, match="closed"):
            session.submit(QUESTION)
    engine.check_integrity()
    report = engine.report
    assert (report.sessions, report.sessions_opened, report.received, report.questions) == (0, 3, 36, 0)


def test_what_still_holds_a_closed_memory_is_found(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    kept = session._lane.session
    session.close()
    with pytest.raises(IntegrityError, match="holds"):
        engine.check_integrity()
    del kept
    engine.check_integrity()


def test_closing_ends_what_is_asked_and_takes_in_what_was_accepted(
    engine: Engine, frames: list[Frame], tmp_path: Path
) -> None:
    session = engine.session(memory=tmp_path / "m")
    feed(session, frames[:20])
    hold = Hold(session)
    session.see(frames[20])
    asked = session.submit(QUESTION)
    closing = threading.Thread(target=session.close)
    closing.start()
    session.see(frames[21])
    hold.release()
    closing.join()
    assert asked.result(30.0).ending in ("cancelled", "completed")
    again = engine.session(memory=tmp_path / "m")
    assert again.stats.now_us in (frames[20].time_us, frames[21].time_us)


def test_bounds_are_told_with_their_limit(make_engine: Callable[..., Engine], frames: list[Frame]) -> None:
    engine = make_engine(max_sessions=1, queued_questions=2)
    session = engine.session()
    with pytest.raises(BusyError, match="1 sessions"):
        engine.session()
    hold = Hold(session)
    asked = [session.submit(QUESTION) for _ in range(2)]
    with pytest.raises(BusyError, match="limit is 2"):
        session.submit(QUESTION)
    hold.release()
    for one in asked:
        assert one.answer.text == "Nothing has been seen yet."
    session.close()
    engine.session()


@pytest.mark.parametrize(("question", "message"), [("", "empty"), ("x" * 9000, "long")])
def test_a_bad_question_is_refused_at_once(engine: Engine, question: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        engine.session().submit(question)


def test_late_frames_and_no_pictures_are_refused(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    feed(session, frames[4:5])
    assert not session.see(frames[4])
    assert not session.see(frames[2])
    assert session.stats.dropped == {"late": 2}
    with pytest.raises(SourceError, match="shape"):
        session.see(np.zeros((3, 3, 3, 3), np.uint8))


def test_a_picture_may_be_drawn_over_when_it_was_seen(engine: Engine, pocket: Any, frames: list[Frame]) -> None:
    session, alone = engine.session(), pocket.session()
    canvas = np.empty_like(frames[0].image)
    for frame in frames[:20]:
        canvas[...] = frame.image
        before = session.stats.taken
        session.see(canvas, frame.time_us)
        canvas[...] = 0
        wait_until(lambda before=before: session.stats.taken > before)  # type: ignore[misc]
        alone.see(frame)
    assert session.ask(QUESTION).text == alone.ask(QUESTION).text
    assert session.memory().stats == alone.memory


def test_stream_time_is_the_wall_clock_since_the_origin(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    session.see(frames[0].image, captured_unix_us=session.origin_unix_us + 5_000_000)
    wait_until(lambda: session.stats.taken == 1)
    assert session.stats.now_us == 5_000_000
    session.see(frames[1].image)  # now: earlier than that, and so just behind it
    wait_until(lambda: session.stats.taken == 2)
    assert session.stats.now_us == 5_000_001


def test_a_memory_goes_on_with_its_origin_and_marks(engine: Engine, frames: list[Frame], tmp_path: Path) -> None:
    first = engine.session(memory=tmp_path / "m")
    origin = first.origin_unix_us
    first.see(frames[0].image)
    wait_until(lambda: first.stats.taken == 1)
    mark = first.mark("  here it\nbegan ")
    assert mark.label == "here it began"
    first.close()
    again = engine.session(memory=tmp_path / "m")
    assert again.origin_unix_us == origin
    assert again.memory().marks == (mark,)
    assert again.see(frames[1].image)
    wait_until(lambda: again.stats.taken == 1)
    assert (again.stats.now_us or 0) > mark.time_us


def test_a_clock_set_back_does_not_stop_a_memory(engine: Engine, frames: list[Frame], tmp_path: Path) -> None:
    first = engine.session(memory=tmp_path / "m")
    ahead_us = first.origin_unix_us + 3_600_000_000
    first.see(frames[0].image, captured_unix_us=ahead_us)
    wait_until(lambda: first.stats.taken == 1)
    first.close()
    again = engine.session(memory=tmp_path / "m")
    assert again.see(frames[1].image)
    wait_until(lambda: again.stats.taken == 1)
    assert 3_600_000_000 < (again.stats.now_us or 0) < 3_660_000_000


def test_forgetting_takes_marks_along_and_is_told(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session(Settings(keyframes="all"))
    feed(session, frames[:40])
    session.mark("early", frames[2].time_us)
    session.mark("late", frames[30].time_us)
    heard: list[SessionEvent] = []
    session.subscribe(heard.append)
    assert session.forget(0, frames[10].time_us) > 0
    state = session.memory()
    assert [mark.label for mark in state.marks] == ["late"]
    assert state.timeline[0].kind == "forgotten"
    assert any(isinstance(event, MemoryForgot) for event in heard)
    for label, message in (("", "label"), ("x" * 200, "label")):
        with pytest.raises(SettingsError, match=message):
            session.mark(label)


def test_marks_are_bounded_and_the_earliest_goes_first(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    feed(session, frames[:2])
    for number in range(260):
        session.mark(f"number {number}", number)
    marks = session.memory().marks
    assert (len(marks), marks[0].label, marks[-1].label) == (256, "number 4", "number 259")


def test_a_memory_within_its_caps_tells_what_it_forgot(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session(Settings(keep_s=8.0))
    heard = session.events(timeout_s=20.0)
    feed(session, frames)
    session.see(frames[-1].image, frames[-1].time_us + 60_000_000)
    time.sleep(1.1)
    session.see(frames[-1].image, frames[-1].time_us + 61_000_000)
    assert any(isinstance(event, MemoryForgot) for event in heard)


def test_an_engine_that_is_closed_says_so_and_saved_all(
    make_engine: Callable[..., Engine], frames: list[Frame], tmp_path: Path
) -> None:
    engine = make_engine()
    session = engine.session(memory=tmp_path / "m")
    feed(session, frames[:5])
    engine.close()
    engine.close()
    with pytest.raises(SettingsError, match="closed"):
        engine.session()
    again = make_engine().session(memory=tmp_path / "m")
    assert again.stats.now_us == frames[4].time_us


def test_a_listener_may_look_ask_and_close(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    feed(session, frames[:10])
    done = threading.Event()

    def hear(event: SessionEvent) -> None:
        if isinstance(event, AnswerEnded):
            assert session.memory().stats.blocks >= 0
            session.submit(PAST, listener=lambda _: None)
            session.close()
            done.set()

    session.submit(QUESTION, listener=hear)
    assert done.wait(30.0)
    wait_until(lambda: engine.report.sessions == 0)


def test_a_listener_is_told_that_it_cannot_wait_for_an_answer(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    feed(session, frames[:10])
    said: list[str] = []

    def hear(event: SessionEvent) -> None:
        if isinstance(event, AnswerBegun):
            try:
                session.ask(PAST)
            except SettingsError as error:
                said.append(str(error))

    assert session.submit(QUESTION, listener=hear).answer.text
    assert len(said) == 1 and "another thread" in said[0]


def test_one_session_that_hangs_keeps_no_other_from_being_saved(
    make_engine: Callable[..., Engine], frames: list[Frame], tmp_path: Path
) -> None:
    engine = make_engine()
    hung, good = engine.session(), engine.session(memory=tmp_path / "m")
    feed(good, frames[:5])
    hold = Hold(hung)
    with pytest.raises(TimeoutError):
        engine.close(0.2)
    hold.release()
    wait_until(lambda: engine.open_sessions == 0)
    assert make_engine().session(memory=tmp_path / "m").stats.now_us == frames[4].time_us


def test_what_goes_wrong_beside_a_question_still_ends_it(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    feed(session, frames[:5])
    hold = Hold(session)

    def fail(*args: object) -> list[SessionEvent]:
        raise OSError("the disk is gone")

    session._lane.refresh = fail  # type: ignore[method-assign, assignment]
    session.see(frames[5])
    asked = session.submit(QUESTION)
    hold.release()
    assert asked.result(30.0).ending == "completed"
    del session._lane.refresh


def test_closing_the_engine_stops_its_sources(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    session = engine.session()
    session.watch_source(onlooker.open_live("theatre:3"))
    wait_until(lambda: session.stats.taken > 0)
    engine.close()
    names = {thread.name for thread in threading.enumerate()}
    assert not [name for name in names if session.id in name and ("feed" in name or "look" in name)]


def test_a_listener_that_raises_stops_nothing(engine: Engine, frames: list[Frame]) -> None:
    session = engine.session()
    feed(session, frames[:10])

    def hear(event: SessionEvent) -> None:
        raise ValueError("not mine")

    session.submit(QUESTION, listener=hear)
    assert session.ask(QUESTION, sampling=Sampling(4)).text


def test_a_listener_that_raises_when_its_session_is_closed_costs_no_memory(
    engine: Engine, frames: list[Frame], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = engine.session(memory=tmp_path / "m")
    feed(session, frames[:5])

    def hear(event: SessionEvent) -> None:
        raise ValueError("gone")

    session.subscribe(hear)
    hold = Hold(session)
    session.submit(QUESTION, listener=hear)
    closing = threading.Thread(target=session.close)
    closing.start()
    hold.release()
    closing.join()
    assert "a listener failed at AnswerEnded" in caplog.messages
    caplog.clear()  # its traceback holds the session
    assert engine.session(memory=tmp_path / "m").stats.now_us == frames[4].time_us


def test_time_away_is_a_gap_in_what_is_remembered(engine: Engine, frames: list[Frame], tmp_path: Path) -> None:
    first = engine.session(memory=tmp_path / "m")
    feed(first, frames[:5])
    first.close()
    again = engine.session(memory=tmp_path / "m")
    later_us = frames[4].time_us + 600_000_000
    feed(again, [Frame(frames[5].image, later_us, 5), Frame(frames[5].image, later_us + 1_000_000, 6)])
    feed_us = again.memory().timeline
    assert [(one.start_us, one.end_us) for one in feed_us] == [
        (0, frames[4].time_us + 1),
        (later_us, later_us + 1_000_001),
    ]
    assert again.stats.kept == 1  # the first one after the gap, though nothing in it is new
    again.see(frames[5].image, later_us + 900_000_000, after_gap=True)
    wait_until(lambda: again.stats.taken == 3)
    assert again.memory().timeline[-1].start_us == later_us + 900_000_000


def test_the_books_balance_after_a_storm_of_frames_and_questions(
    make_engine: Callable[..., Engine], frames: list[Frame]
) -> None:
    engine = make_engine(queued_questions=4)
    sessions = [engine.session() for _ in range(5)]
    refused = [0]

    def storm(session: LiveSession, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for frame in frames:
            session.see(frame)
            if rng.random() < 0.2:
                try:
                    asked = session.submit(PAST, sampling=Sampling(6))
                    if rng.random() < 0.3:
                        asked.cancel()
                except BusyError:
                    refused[0] += 1
            time.sleep(0.001)

    threads = [threading.Thread(target=storm, args=(session, seed)) for seed, session in enumerate(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: engine.report.questions == 0 and all(one.stats.waiting == 0 for one in sessions))
    engine.check_integrity()
    report = engine.report
    assert report.received == len(frames) * 5 == report.taken + sum(report.dropped.values())
