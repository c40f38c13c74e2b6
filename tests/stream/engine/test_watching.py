"""Standing questions through the engine."""

from collections.abc import Callable

import pytest

from onlooker import BusyError, Engine, LiveSession, SettingsError
from onlooker.frame import Frame
from onlooker.stream.engine.events import SessionEvent, SessionFailed, WatchCleared, WatchFired
from onlooker.theatre.show import Show

from .feeding import feed, wait_until


def shown(show: Show) -> tuple[str, int, int]:
    """Give a thing that is planted alone, and when."""
    for number, (kind, sprites) in sorted(show.planted.items()):
        if kind == "solo":
            event = show.slot(number)[1]
            return sprites[0], event.start_us, event.end_us
    raise AssertionError("nothing is shown alone")


@pytest.fixture(scope="module")
def show() -> Show:
    return Show(5, 160.0)


def played(show: Show, end_us: int) -> list[Frame]:
    return list(show.frames(2.0, 0, end_us + 6_000_000))


def test_a_condition_fires_once_when_it_becomes_true_and_is_cleared(engine: Engine, show: Show) -> None:
    name, start_us, end_us = shown(show)
    session = engine.session()
    heard: list[SessionEvent] = []
    watch_id = session.watch(f"was there a {name}?", cooldown_s=1.0, listener=heard.append)
    feed(session, played(show, end_us))
    wait_until(lambda: any(isinstance(event, WatchCleared) for event in heard))
    fired = [event for event in heard if isinstance(event, WatchFired)]
    assert len(fired) == 1
    assert fired[0].watch_id == watch_id
    assert start_us <= fired[0].time_us <= end_us
    assert fired[0].thumbnail.startswith(b"\xff\xd8")
    assert fired[0].latency_ms > 0.0


def test_what_is_stored_does_not_depend_on_what_is_watched_for(engine: Engine, show: Show) -> None:
    _, _, end_us = shown(show)
    watched, plain = engine.session(), engine.session()
    watched.watch("was there a dog?")
    for session in (watched, plain):
        feed(session, played(show, end_us))
    assert watched.memory() == plain.memory()


def test_watches_are_bounded_named_and_removed(make_engine: Callable[..., Engine]) -> None:
    session: LiveSession = make_engine(max_watches=1).session()
    watch_id = session.watch("was there a dog?", watch_id="dog")
    with pytest.raises(BusyError, match="limit"):
        session.watch("was there a cat?")
    assert session.stats.watches == 1
    assert session.unwatch(watch_id)
    assert not session.unwatch(watch_id)
    with pytest.raises(SettingsError):
        session.watch("  ")


def test_a_failing_check_is_told_and_stops_nothing(engine: Engine, show: Show) -> None:
    session = engine.session()
    heard: list[SessionEvent] = []
    session.subscribe(heard.append)
    session.watch("was there a dog?")

    def fail() -> None:
        raise RuntimeError("no more looking")

    session._lane.watcher.check = fail  # type: ignore[method-assign, assignment]
    feed(session, list(show.frames(2.0, 0, 10_000_000)))
    wait_until(lambda: any(isinstance(event, SessionFailed) for event in heard))
    assert session.ask("what is there now?").text
    del session._lane.watcher.check
