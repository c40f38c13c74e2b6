import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.errors import SourceError
from onlooker.frame import Frame
from onlooker.stream.watching import Moment, Watching

S = 1_000_000
PICTURE = np.zeros((2, 2, 3), np.uint8)


@dataclass
class Recorder:
    """Stands in for a session: keeps the times of the frames that it saw."""

    seen_us: list[int] = field(default_factory=list)

    def see(self, frame: Frame) -> bool:
        self.seen_us.append(frame.time_us)
        return True

    @property
    def report(self) -> Any:
        now = self.seen_us[-1] if self.seen_us else 0
        return SimpleNamespace(frames=len(self.seen_us), keyframes=len(self.seen_us), now_us=now)

    @property
    def memory(self) -> Any:
        return SimpleNamespace(tokens=3 * len(self.seen_us), used_bytes=100 * len(self.seen_us))


@dataclass
class Line:
    """A source of frames at given times, that breaks after the last one when told to."""

    times_us: Sequence[int]
    breaks: bool = False
    taken: int = 0

    def __iter__(self) -> Iterator[Frame]:
        for time_us in self.times_us:
            self.taken += 1
            yield Frame(PICTURE, time_us)
        if self.breaks:
            raise SourceError("the disk is gone")


def watch(
    times_us: Sequence[int], moments_us: Sequence[int] = (), **options: Any
) -> tuple[list[tuple[Moment, int]], Recorder]:
    """Watch to the end; give each moment with the number of frames seen until then."""
    session = Recorder()
    watching = Watching(session, Line(times_us), moments_us, **options)  # type: ignore[arg-type]
    return [(moment, len(session.seen_us)) for moment in watching], session


def test_without_moments_the_end_is_the_only_one() -> None:
    moments, session = watch([0, S, 2 * S])
    assert moments == [(Moment(2 * S, "ended"), 3)]
    assert session.seen_us == [0, S, 2 * S]


@given(
    steps=st.lists(st.integers(1, 3 * S), min_size=1, max_size=30),
    moments_us=st.lists(st.integers(0, 60 * S), min_size=1, max_size=5),
    slack_us=st.integers(0, 2 * S),
)
def test_a_moment_comes_after_all_frames_until_it_and_before_the_next(
    steps: list[int], moments_us: list[int], slack_us: int
) -> None:
    times_us = [0, *itertools.accumulate(steps)]
    moments, session = watch(times_us, moments_us, slack_us=slack_us)
    wanted = sorted(set(moments_us))
    reached = [(moment, seen) for moment, seen in moments if moment.reason == "reached"]
    for time_us, (moment, seen) in zip(wanted, reached, strict=False):
        assert session.seen_us[:seen] == [stamp for stamp in times_us if stamp <= time_us]
        assert moment.now_us == session.seen_us[seen - 1]
    missed = [time_us for time_us in wanted if time_us > times_us[-1] + slack_us]
    assert len(reached) == len(wanted) - len(missed)
    rest = [moment for moment, _ in moments if moment.reason != "reached"]
    assert [moment.missed_us for moment in rest] == ([tuple(missed)] if missed else [])


def test_after_the_last_moment_nothing_more_is_read() -> None:
    session, source = Recorder(), Line([0, S, 2 * S, 3 * S, 4 * S])
    assert len(list(Watching(session, source, [S]))) == 1  # type: ignore[arg-type]
    assert session.seen_us == [0, S]
    assert source.taken == 3  # one more, to know that the moment has passed


def test_moments_behind_the_end_are_one_moment_there() -> None:
    moments, _ = watch([0, S], [500_000, 7 * S, 9 * S])
    assert moments[0][0] == Moment(0, "reached")
    assert moments[1:] == [(Moment(S, "ended", (7 * S, 9 * S)), 2)]


def test_when_nothing_new_came_since_the_last_moment_it_says_so() -> None:
    moments, _ = watch([0, S], [S + 1, 9 * S])
    assert [(moment.reason, moment.fresh) for moment, _ in moments] == [("reached", True), ("ended", False)]


def test_stop_ends_watching_with_a_moment() -> None:
    stop = threading.Event()

    def on_frame(watching: Watching) -> None:
        if watching.now_us == 2 * S:
            stop.set()

    moments, session = watch([0, S, 2 * S, 3 * S], [0, 60 * S], stop=stop, on_frame=on_frame)
    assert [moment.reason for moment, _ in moments] == ["reached", "stopped"]
    assert moments[-1][0].missed_us == (60 * S,)
    assert session.seen_us == [0, S, 2 * S]


def test_stop_during_an_answer_ends_watching_there() -> None:
    stop, session = threading.Event(), Recorder()
    reasons = []
    for moment in Watching(session, Line([0, S, 2 * S]), [0, 9 * S], stop=stop):  # type: ignore[arg-type]
        reasons.append((moment.reason, moment.fresh))
        stop.set()
    assert reasons == [("reached", True), ("stopped", False)]
    assert session.seen_us == [0]


def test_a_source_that_breaks_is_answered_from_first() -> None:
    session = Recorder()
    watching = iter(Watching(session, Line([0, S], breaks=True)))  # type: ignore[arg-type]
    assert next(watching) == Moment(S, "failed")
    with pytest.raises(SourceError, match="disk is gone"):
        next(watching)
    assert session.seen_us == [0, S]


def test_the_report_counts_and_leaves_out_the_time_spent_on_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        return now

    def tick(step: float) -> Callable[[Watching], None]:
        def on_frame(watching: Watching) -> None:
            nonlocal now
            now += step

        return on_frame

    monkeypatch.setattr("onlooker.stream.watching.time.perf_counter", clock)
    session = Recorder()
    watching = Watching(session, Line([0, S, 2 * S]), [0, S], on_frame=tick(0.5))  # type: ignore[arg-type]
    for _ in watching:
        now += 100.0
    report = watching.report
    assert (report.frames, report.now_us, report.tokens, report.memory_bytes) == (2, S, 6, 200)
    assert report.seconds == pytest.approx(1.0)
    assert report.rate == pytest.approx(2.0)
