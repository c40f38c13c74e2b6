import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.bench.video import VideoSettings, write_video
from onlooker.errors import InstallationError, OnlookerError, SettingsError, SourceError
from onlooker.frame import Frame


def frames(times_us: list[int], width: int = 64, height: int = 48) -> Iterator[Frame]:
    for number, time_us in enumerate(times_us):
        image = np.full((height, width, 3), 40, np.uint8)
        image[:, :, 0] = (number * 20) % 256
        yield Frame(image, time_us, number)


def read(path: Path) -> tuple[list[int], list[np.ndarray]]:
    with av.open(str(path)) as container:
        track = container.streams.video[0]
        decoded = list(container.decode(track))
        return (
            [round(frame.pts * track.time_base * 1_000_000) for frame in decoded],
            [frame.to_ndarray(format="rgb24") for frame in decoded],
        )


@settings(max_examples=20)
@given(steps=st.lists(st.integers(1_000, 90_000_000), min_size=0, max_size=40), start_us=st.sampled_from([0, 0, 7_000]))
def test_any_increasing_stamps_are_written_exactly(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], start_us: int
) -> None:
    times_us = [start_us, *(start_us + total for total in itertools.accumulate(steps))]
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    written = write_video(path, frames(times_us), VideoSettings(preset="ultrafast"))
    assert read(path)[0] == times_us
    assert (written.frames, written.first_us, written.last_us) == (len(times_us), times_us[0], times_us[-1])
    assert written.file_bytes == path.stat().st_size


def test_b_frames_keep_their_times(tmp_path: Path) -> None:
    times_us = [number * number * 4_000 for number in range(60)]
    path = tmp_path / "clip.mp4"
    write_video(path, frames(times_us), VideoSettings(preset="slow"))
    with av.open(str(path)) as container:
        kinds = {str(frame.pict_type) for frame in container.decode(video=0)}
    assert len(kinds) == 3  # I, P and B pictures: otherwise this file tests nothing
    assert read(path)[0] == times_us


@pytest.mark.parametrize(("width", "height"), [(63, 48), (64, 47), (33, 31), (1, 1)])
def test_odd_sizes_are_padded_with_their_edge(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "odd.mp4"
    write_video(path, frames([0, 125_000], width, height), VideoSettings(crf=0))
    images = read(path)[1]
    assert images[0].shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(images[0].astype(int) - (0, 40, 40)).max() <= 4


def test_the_settings_reach_the_encoder(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    noisy = [Frame(chance.integers(0, 256, (64, 64, 3), dtype=np.uint8), index * 125_000) for index in range(20)]
    fine = write_video(tmp_path / "fine.mp4", noisy, VideoSettings(crf=10, keyframe_frames=5))
    coarse = write_video(tmp_path / "coarse.mp4", noisy, VideoSettings(crf=45, keyframe_frames=20))
    assert coarse.file_bytes < fine.file_bytes / 2
    with av.open(str(fine.path)) as container:
        assert [frame.key_frame for frame in container.decode(video=0)].count(True) >= 4
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert container.streams.video[0].codec_context.name == "h264"


def test_the_same_frames_make_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        write_video(tmp_path / name, frames([0, 40_000, 90_000]))
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_frames_are_taken_one_at_a_time(tmp_path: Path) -> None:
    """An endless stream that fails late has been encoded until then, and leaves no half file."""
    taken = 0

    def failing() -> Iterator[Frame]:
        nonlocal taken
        for frame in frames([index * 1_000 for index in range(200)]):
            taken += 1
            yield frame
        raise OnlookerError("the stream failed")

    with pytest.raises(OnlookerError, match="the stream failed"):
        write_video(tmp_path / "clip.mp4", failing())
    assert taken == 200
    assert not (tmp_path / "clip.mp4").exists()


@pytest.mark.parametrize(
    ("times_us", "why"),
    [([], "no frames"), ([0, 0], "not after"), ([0, 5_000, 4_000], "not after"), ([-1], "begins at 0 or later")],
)
def test_bad_stamps_are_refused(tmp_path: Path, times_us: list[int], why: str) -> None:
    with pytest.raises(SourceError, match=why):
        write_video(tmp_path / "clip.mp4", frames(times_us))
    assert not (tmp_path / "clip.mp4").exists()


def test_a_change_of_size_is_refused(tmp_path: Path) -> None:
    mixed = [*frames([0]), *(Frame(frame.image, 1_000) for frame in frames([0], 32, 32))]
    with pytest.raises(SourceError, match="one frame size"):
        write_video(tmp_path / "clip.mp4", mixed)


@pytest.mark.parametrize("options", [{"crf": 52}, {"crf": -1}, {"preset": "hasty"}, {"keyframe_frames": 0}])
def test_bad_settings_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(SettingsError):
        VideoSettings(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["no/such/folder/clip.mp4", "clip.unknown"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(OnlookerError, match=r"cannot write .*clip\."):
        write_video(tmp_path / name, frames([0]))


def test_without_pyav_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InstallationError, match=r"pip install 'onlooker\[bench\]'"):
        write_video(tmp_path / "clip.mp4", frames([0]))
