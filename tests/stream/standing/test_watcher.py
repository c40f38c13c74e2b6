"""What a watcher looks at, when, and that nobody can tell from the memory."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import onlooker
from onlooker.errors import BusyError, ModelError, SettingsError
from onlooker.frame import Frame
from onlooker.settings import Settings
from onlooker.stream.session import Session
from onlooker.stream.standing.condition import Manner
from onlooker.stream.standing.verdict import Verdict
from onlooker.stream.standing.watcher import Cleared, Fired, Watcher
from onlooker.theatre.show import Show

SECOND = 1_000_000


@pytest.fixture(scope="session")
def pocket() -> Any:
    return onlooker.load("pocket", device="cpu")


class Script:
    """A judge that answers from a list, and keeps the sizes of the contexts that it was shown."""

    def __init__(self, *scores: float | None) -> None:
        self.scores = list(scores)
        self.contexts: list[Any] = []
        self.said = 0

    def judge(self, _rows: object, context: Any) -> Verdict:
        self.contexts.append(context)
        if not self.scores:
            raise ModelError("the model's logits are not finite")
        return Verdict(self.scores.pop(0))

    def words(self, _rows: object, _context: object) -> str:
        self.said += 1
        return "yes indeed"


def picture(level: int) -> np.ndarray[Any, Any]:
    return np.full((56, 56, 3), level, np.uint8)


@pytest.fixture
def session(tiny_backbone: Any) -> Session:
    return Session(tiny_backbone, Settings(chunk_frames=3, recent_frames=2, heartbeat_s=5.0))


def make(session: Session, script: Script, **more: Any) -> Watcher:
    judge: Any = script
    return Watcher(session, manner=Manner(), judge=judge, **more)


def test_changes_alone_are_looked_at(session: Session) -> None:
    script = Script(0.0, 0.0, 0.9)
    watcher = make(session, script)
    watcher.add("a", "is the ball red?")
    assert watcher.check() == []  # nothing was seen yet
    for second in range(30):  # still, but for heartbeats
        session.see(picture(90), second * SECOND)
        assert watcher.check() == []
    assert session.report.keyframes > 3 and len(script.contexts) == 1
    session.see(picture(200), 30 * SECOND)
    assert watcher.check() == watcher.check() == []
    session.see(picture(20), 31 * SECOND)
    [fired] = watcher.check()
    assert isinstance(fired, Fired) and fired.time_us == 31 * SECOND and fired.score == 0.9
    assert fired.text == "yes indeed" and fired.thumbnail.startswith(b"\xff\xd8") and fired.took_ms > 0
    assert len(script.contexts) == 3 and watcher.report.checks == 3 and watcher.report.asked == 3


def test_a_condition_is_looked_at_once_when_it_is_added(session: Session) -> None:
    script = Script(0.0, 0.9)
    watcher = make(session, script)
    session.see(picture(90), 0)
    watcher.add("a", "is the ball red?")
    assert watcher.check() == []
    watcher.add("b", "is the ball left?")
    [fired] = watcher.check()
    assert fired.watch_id == "b" and watcher.check() == [] and script.scores == []


def test_it_fires_and_clears_with_the_keyframes_times(session: Session) -> None:
    script = Script(0.9, 0.9, 0.4, 0.1, 0.9)
    watcher = make(session, script)
    watcher.add("a", "red ball", cooldown_us=0)
    told = []
    for second, level in enumerate((20, 60, 100, 140, 180)):
        session.see(picture(level), second * SECOND)
        session.see(picture(level), second * SECOND + SECOND // 2)
        told += watcher.check()
    assert [(type(event), event.time_us) for event in told] == [
        (Fired, 0),
        (Cleared, 3 * SECOND),
        (Fired, 4 * SECOND),
    ]


def test_what_waits_for_its_cool_down_needs_no_further_look(session: Session) -> None:
    script = Script(0.9, 0.0, 0.9)
    watcher = make(session, script)
    watcher.add("a", "red ball", cooldown_us=10 * SECOND)
    told = []
    for second in range(15):
        session.see(picture({0: 20, 1: 80, 2: 140}.get(second, 140)), second * SECOND)
        told += [(second, event) for event in watcher.check()]
    assert [(second, type(event), event.time_us) for second, event in told] == [
        (0, Fired, 0),
        (1, Cleared, 1 * SECOND),
        (10, Fired, 2 * SECOND),
    ]
    assert script.scores == [] and script.said == 2


def test_the_newest_keyframe_is_read_alone_and_more_where_asked(session: Session) -> None:
    script = Script(*[0.0] * 50)
    watcher = make(session, script)
    for second, level in enumerate((10, 200, 30, 220, 50, 240)):  # three are stored; as many wait
        assert session.see(picture(level), second * SECOND)
    watcher.add("newest", "red ball")
    watcher.add("some", "red ball", look_us=SECOND)
    watcher.add("all", "red ball", look_us=600 * SECOND)
    watcher.check()
    with session.at_hand() as ingest:
        sink, cells, at_hand = len(ingest.sink), ingest.cells, len(ingest.recent())
    assert [len(context) - sink for context in script.contexts] == [cells, 2 * cells, at_hand * cells]
    assert at_hand == 3


def test_conditions_share_one_reading(session: Session, tiny_backbone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(*[0.0] * 20)
    watcher = make(session, script)
    for number in range(8):
        watcher.add(str(number), "red ball")
    encoded, prefilled = [], []
    encode, prefill = tiny_backbone.encode, tiny_backbone.prefill
    monkeypatch.setattr(tiny_backbone, "encode", lambda images, *a: encoded.append(len(images)) or encode(images, *a))
    monkeypatch.setattr(tiny_backbone, "prefill", lambda *a, **k: prefilled.append(1) or prefill(*a, **k))
    for second, level in enumerate((20, 100)):
        session.see(picture(level), second * SECOND)
        watcher.check()
    assert encoded == [1, 1] and len(prefilled) == 2
    assert len({id(context) for context in script.contexts}) == 2


def test_a_failed_check_tells_nothing_and_is_made_again(session: Session) -> None:
    script = Script(0.9)
    watcher = make(session, script)
    watcher.add("a", "red ball")
    watcher.add("b", "red ball")
    session.see(picture(90), 0)
    with pytest.raises(ModelError):
        watcher.check()
    script.scores = [0.9, 0.9]
    assert [event.watch_id for event in watcher.check()] == ["a", "b"]


def test_unsure_answers_change_nothing(session: Session) -> None:
    watcher = make(session, Script(0.9, None, 0.0))
    watcher.add("a", "red ball", cooldown_us=0)
    told = []
    for second, level in enumerate((20, 100, 200)):
        session.see(picture(level), second * SECOND)
        told += [type(event) for event in watcher.check()]
    assert told == [Fired, Cleared] and watcher.report.unsure == 1


def test_the_number_of_conditions_is_bounded(session: Session) -> None:
    watcher = make(session, Script(), most=2)
    watcher.add("a", "red ball")
    with pytest.raises(SettingsError, match="'a' already"):
        watcher.add("a", "red ball")
    watcher.add("b", "red ball")
    with pytest.raises(BusyError, match="the most there may be"):
        watcher.add("c", "red ball")
    watcher.remove("a")
    assert [one.watch_id for one in watcher.conditions] == ["b"]
    assert watcher.add("c", "where is the ball").asked == Manner().put("where is the ball")
    with pytest.raises(SettingsError, match="there is no watch 'a'"):
        watcher.remove("a")


@pytest.mark.parametrize(
    ("words", "more"),
    [("", {}), ("red ball", {"look_us": -1}), ("red ball", {"look_us": 1 << 60}), ("red ball", {"cooldown_us": -1})],
)
def test_what_cannot_be_watched_for_is_refused(session: Session, words: str, more: dict[str, int]) -> None:
    watcher = make(session, Script())
    with pytest.raises(SettingsError):
        watcher.add("a", words, **more)
    assert watcher.conditions == ()


def test_forgetting_and_closing(session: Session) -> None:
    watcher = make(session, Script(0.9, 0.9))
    watcher.add("a", "red ball")
    session.see(picture(90), 0)
    assert len(watcher.check()) == 1
    session.forget(everything=True)
    assert watcher.check() == []
    session.close()
    with pytest.raises(SettingsError, match="closed"):
        watcher.check()


def test_a_glance_answers_no_without_the_model(tiny_backbone: Any, session: Session) -> None:
    for glance, asked in ((1.0, 0), (-1.0, 1)):
        judge: Any = Script(0.9)
        watcher = Watcher(session, manner=replace(Manner(), glance=glance), judge=judge)
        watcher.add("a", "red ball")
        session.see(picture(90), (1 + asked) * SECOND)
        assert len(watcher.check()) == asked
        assert (watcher.report.asked, watcher.report.glanced) == (asked, 1 - asked)


STREAM = list(Show(3, 32.0, size=56).frames(2.0))


def stored(session: Session) -> list[Any]:
    """All that was stored, and what the next chunk would add."""
    with session.at_hand() as ingest:
        archive = ingest.archive
        blocks = [*(archive.get(block_id) for block_id in archive.block_ids), *ingest.waiting()]
        return [
            (block.span_us, block.extent, block.keys, block.values, block.positions, block.coords) for block in blocks
        ]


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for mine, yours in zip(one, other, strict=True)
        for a, b in zip(mine, yours, strict=True)
    )


@settings(max_examples=6)
@given(checks=st.sets(st.integers(0, len(STREAM) - 1)), looks=st.lists(st.integers(0, 20), min_size=1, max_size=3))
def test_the_memory_is_the_same_with_and_without_watches(
    tiny_backbone: Any, checks: set[int], looks: list[int]
) -> None:
    plain, watched = Session(tiny_backbone, Settings()), Session(tiny_backbone, Settings())
    watcher = Watcher(watched)
    for number, look_s in enumerate(looks):
        watcher.add(str(number), "red ball", look_us=look_s * SECOND)
    for number, frame in enumerate(STREAM):
        assert plain.see(frame) == watched.see(frame)
        if number in checks:
            watcher.check()
    assert same(stored(plain), stored(watched))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_the_same_with_and_without_watches(
    pocket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files of a memory on disk, byte for byte but for what is random or tells the time."""
    kept = []
    for name in ("plain", "watched"):
        with pocket.session(memory=tmp_path / name) as session:
            watcher = Watcher(session)
            if name == "watched":
                watcher.add("a", "monkey")
                watcher.add("b", "is there a cat?", look_us=5 * SECOND)
            for frame in STREAM:
                session.see(frame)
                watcher.check()
        with pocket.session(memory=tmp_path / name, read_only=True) as session:
            kept.append((stored(session), session.memory, session.ask("what is there now?").text))
        assert (watcher.report.checks > 0) == (name == "watched")
    assert same(kept[0][0], kept[1][0]) and kept[0][1:] == kept[1][1:]
    sizes = [{name: len(data) for name, data in files_of(tmp_path / name).items()} for name in ("plain", "watched")]
    assert sum(sizes[0].values()) == sum(sizes[1].values())


def test_pocket_tells_what_comes(pocket: Any) -> None:
    """The planted things of a show, each in another wording, while they are on the stage; nothing that never comes."""
    show = Show(7, 96.0)
    planted = [(show.slot(number)[1], sprites[0]) for number, (_, sprites) in sorted(show.planted.items())]
    wordings = ("{}", "a {}", "is there a {}?", "a {} appears", "the {}", "can you see a {}?")
    with pocket.session() as session:
        watcher = Watcher(session)
        for number, (_, thing) in enumerate(planted):
            watcher.add(str(number), wordings[number % len(wordings)].format(thing))
        watcher.add("never", f"is there a {show.roles[1][0]}?")
        told: list[Fired | Cleared] = []
        for frame in show.frames(2.0):
            session.see(frame)
            told += watcher.check()
    first = {event.watch_id: event for event in reversed(told) if isinstance(event, Fired)}
    for number, (scene, _) in enumerate(planted):
        fired = first[str(number)]
        assert scene.start_us <= fired.time_us < scene.start_us + SECOND and fired.text == "yes"
        ends = [event.time_us for event in told if event.watch_id == str(number) and isinstance(event, Cleared)]
        assert ends and scene.end_us <= ends[-1] < scene.end_us + SECOND
    assert "never" not in first and len(planted) == 6


def test_hub_families_are_watched_too(make_tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    """Random weights say neither yes nor no; the machinery runs on every family's features and grids."""
    for family in ("qwen2_5_vl", "qwen3_vl"):
        model = onlooker.load(str(make_tiny_model(tmp_path / family, family=family)), device="cpu")
        with model.session() as session:
            watcher = Watcher(session)
            watcher.add("a", "is the ball red?", look_us=2 * SECOND)
            for frame in STREAM[:6]:
                session.see(Frame(frame.image, frame.time_us))
                assert watcher.check() == []
            assert watcher.report.unsure == watcher.report.asked > 0
