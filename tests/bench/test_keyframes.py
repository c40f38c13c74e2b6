"""The keyframe benchmark counts what was planted, and its clips are the same every time."""

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onlooker.bench.keyframe_bench import KeyframePlan, report_text, run_keyframes, score, write_keyframe_rows
from onlooker.bench.keyframe_clips import CLIPS, FPS, HEIGHT, WIDTH, Change, Clip, clip_of, time_of
from onlooker.bench.keyframe_detectors import Found, detectors_of
from onlooker.errors import InstallationError, SettingsError
from onlooker.frame import Frame


@pytest.mark.parametrize("name", sorted(CLIPS))
def test_a_clip_holds_what_it_says(name: str) -> None:
    clip = clip_of(name, 3, 8.0)
    ends = [0, *(change.until_us for change in clip.changes)]
    assert ends == sorted(ends) and ends[-1] == clip.length_us
    assert all(change.shown_us < change.until_us for change in clip.changes)
    assert clip.changes[0].shown_us == 0
    first, again = (next(iter(one.frames())) for one in (clip, clip_of(name, 3, 8.0)))
    assert first.image.shape == (HEIGHT, WIDTH, 3) and np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, next(iter(clip_of(name, 4, 8.0).frames())).image)


def test_the_last_frame_is_at_the_clips_end() -> None:
    clip = clip_of("fades", 0, 8.0)
    times = [frame.time_us for frame in clip.frames()]
    assert times == [time_of(n) for n in range(len(times))] and time_of(len(times)) == clip.length_us


@pytest.mark.parametrize("name", ["appears", "hand-events"])
def test_things_are_there_when_they_are_said_to_be(name: str) -> None:
    clip = clip_of(name, 1, 8.0)
    frames = [frame.image.astype(int) for frame in clip.frames()]
    if name == "appears":
        for change in clip.changes[1:]:
            number = round(change.shown_us * FPS / 1e6)
            moved = np.abs(frames[number] - frames[number - 1]).max(axis=2) > 40
            assert 200 < np.count_nonzero(moved) < 4000
            assert np.count_nonzero(np.abs(frames[number + 1] - frames[number]).max(axis=2) > 40) < 100
    assert len({change.shown_us for change in clip.changes}) == 6


def clip_with(*changes: Change) -> Clip:
    return Clip("made", changes, time_of(10 * FPS), lambda: iter(()))


def test_a_keyframe_counts_between_a_change_and_the_next_one() -> None:
    changes = (
        Change("first", 0, time_of(40), 0),
        Change("cut", time_of(50), time_of(80), time_of(40)),
        Change("thing", time_of(80), time_of(120)),
    )
    row = score("x", clip_with(*changes), [Found(0, True), Found(45, True), Found(79, False)], [1.0, 3.0, 2.0])
    assert (row.changes, row.found, row.keyframes, row.ms) == (3, 2, 3, 2.0)
    assert (row.cuts, row.told, row.cuts_found) == (1, 1, 1)
    assert row.excess == pytest.approx(6.0)
    late = score("x", clip_with(*changes), [Found(0, True), Found(60, True), Found(30, True)], [])
    assert (late.told, late.cuts_found, late.found) == (2, 0, 2)  # half a second after frame 50 is frame 56


def test_detectors_are_told_apart(tmp_path: Path) -> None:
    plan = KeyframePlan(("cuts", "hand"), ("ours", "bare", "clock"), 8.0, 1)
    rows = run_keyframes(plan)
    by_name = {(row.detector, row.clip): row for row in rows}
    assert len(by_name) == 6
    ours, bare = by_name["ours", "hand"], by_name["bare", "hand"]
    assert (ours.found, bare.found) == (1, 1) and ours.excess < 20 < 200 < bare.excess
    cuts = by_name["ours", "cuts"]
    assert cuts.found == cuts.changes and cuts.cuts_found == cuts.cuts == cuts.told > 0
    assert by_name["clock", "cuts"].told == 0
    text = report_text(rows, plan)
    assert "too many a minute" in text and f"{cuts.found}/{cuts.changes}" in text
    write_keyframe_rows(tmp_path / "rows.json", rows)
    assert json.loads((tmp_path / "rows.json").read_text())[0]["clip"] == "cuts"


def test_pyscenedetects_detectors_find_hard_cuts() -> None:
    pytest.importorskip("scenedetect")
    rows = run_keyframes(KeyframePlan(("cuts",), ("content", "hash"), 8.0, 1))
    assert all(row.cuts_found == row.cuts and row.keyframes == row.cuts + 1 for row in rows)


def test_without_pyscenedetect_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("scenedetect"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InstallationError, match="scenedetect-headless"):
        detectors_of(FPS)
    assert list(detectors_of(FPS, ["ours", "clock"])) == ["ours", "clock"]


def test_the_clock_keeps_one_frame_a_second() -> None:
    clock = detectors_of(FPS, ["clock"])["clock"]()
    picture = np.zeros((2, 2, 3), np.uint8)
    found = [number for number in range(60) if clock.see(Frame(picture, time_of(number), number))]
    assert found == [0, 12, 24, 36, 48]


@pytest.mark.parametrize("wrong", [{"clips": ("nothing",)}, {"seconds": 1.0}, {"seeds": 0}, {"seed": -1}])
def test_plans_outside_their_limits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        KeyframePlan(**wrong)
    with pytest.raises(SettingsError, match="nobody"):
        detectors_of(FPS, ["nobody"])
