import json
from pathlib import Path

import av
import numpy as np
import pytest

from onlooker.bench.record import CLIP_SETTINGS, entry, questions_of, record, variable_times
from onlooker.bench.video import VideoSettings
from onlooker.cli import main
from onlooker.errors import OnlookerError, SettingsError
from onlooker.theatre.questions import KINDS
from onlooker.theatre.show import Show
from onlooker.theatre.stage import Stage

BUNDLED = Path(__file__).resolve().parents[2] / "examples" / "theatre.mp4"
FAST = VideoSettings(preset="ultrafast")


def times(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        track = container.streams.video[0]
        assert track.time_base is not None
        return sorted(
            round(packet.pts * track.time_base * 1e6) for packet in container.demux(track) if packet.pts is not None
        )


def test_the_bundled_clip_is_ten_minutes_of_even_frames_under_4_mb() -> None:
    assert BUNDLED.stat().st_size < 4_000_000
    assert times(BUNDLED) == [number * 125_000 for number in range(4800)]


def test_the_bundled_questions_are_those_of_seed_7() -> None:
    written = json.loads(BUNDLED.with_suffix(".json").read_text(encoding="utf-8"))
    assert written == [entry(question) for question in questions_of(Show(7, 600.0))]
    assert {item["kind"] for item in written} == set(KINDS)
    for item in written:
        assert list(item) == ["question", "answer", "kind", "start_s", "end_s"]
        if item["answer"] == "no":
            assert (item["start_s"], item["end_s"]) == (None, None)
        else:
            assert 0 <= item["start_s"] < item["end_s"] <= 600
    asked = [(item["question"], item["answer"]) for item in written if item["kind"] != "present"]
    assert len(asked) == len(set(asked))


def test_the_bundled_clip_shows_what_the_questions_are_about() -> None:
    show, stage = Show(7, 600.0), Stage(224)
    scenes = [show.slot(number)[1] for number in (2, 20, 36)]
    with av.open(str(BUNDLED)) as container:
        for scene in scenes:
            middle = (scene.start_us + scene.end_us) // 2
            container.seek(middle, backward=True)
            frame = next(f for f in container.decode(video=0) if f.time is not None and f.time * 1e6 >= middle)
            assert frame.time is not None
            drawn = stage.draw(scene, round(frame.time * 1e6)).astype(int)
            assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - drawn).mean() < 4


def test_a_present_question_holds_in_the_whole_stretch_it_names() -> None:
    show = Show(5, 320.0)
    present = [question for question in questions_of(show) if question.kind == "present"]
    assert len(present) >= 8
    for question in present:
        start, end = question.spans_us[0]
        for moment in (start, (start + end) // 2, end - 1):
            assert show.present_question(moment).answer == question.answer


def test_the_same_show_makes_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        record(Show(3, 32.0, 64), tmp_path / f"{name}.mp4", fps=4, settings=FAST)
    for ending in ("mp4", "json"):
        assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()


def test_uneven_stamps_are_true_ones(tmp_path: Path) -> None:
    show = Show(3, 32.0, 64)
    wanted = list(variable_times(show, 4.0))
    steps = np.diff(wanted)
    assert wanted[0] == 0 and wanted[-1] < show.end_us
    assert steps.min() < 0.5e6 / 4 and steps.max() > 1.5e6 / 4
    assert steps.mean() == pytest.approx(1e6 / 4, rel=0.15)
    done = record(show, tmp_path / "uneven.mp4", fps=4, variable=True, settings=FAST)
    assert times(done.video.path) == wanted


@pytest.mark.parametrize("fps", [0.0, 0.05, 61.0])
def test_a_frame_rate_outside_the_limits_is_refused(fps: float, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="fps is"):
        record(Show(3, 32.0, 64), tmp_path / "clip.mp4", fps=fps)


def test_the_questions_may_not_replace_the_video(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ends in \.mp4"):
        record(Show(3, 32.0, 64), tmp_path / "clip.json")


def test_questions_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "clip.json").mkdir()
    with pytest.raises(OnlookerError, match=r"cannot write .*clip\.json"):
        record(Show(3, 16.0, 64), tmp_path / "clip.mp4", fps=1, settings=FAST)


def test_the_command_writes_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "theatre", "--seed", "3", "--minutes", "0.3", "--size", "64", "--fps", "2"]
    with pytest.raises(SystemExit) as caught:
        main.run([*words, "--out", str(tmp_path / "clip.mp4")])
    assert caught.value.code == 0
    assert "36 frames" in capsys.readouterr().out
    assert len(times(tmp_path / "clip.mp4")) == 36
    assert json.loads((tmp_path / "clip.json").read_text(encoding="utf-8"))
    assert CLIP_SETTINGS.threads == 1  # the same bytes on every machine
    # What is there is not written over unless that is asked for: labels made by hand may stand beside a clip.
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    with pytest.raises(SystemExit) as caught:
        main.run([*words, "--seed", "4", "--out", str(tmp_path / "clip.mp4")])
    assert caught.value.code == 2 and "--force" in capsys.readouterr().err
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == before
    with pytest.raises(SystemExit) as caught:
        main.run([*words, "--seed", "4", "--out", str(tmp_path / "clip.mp4"), "--force"])
    assert caught.value.code == 0
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] != before
