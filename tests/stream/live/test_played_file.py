import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onlooker.bench.video import VideoSettings, write_video
from onlooker.errors import SourceError
from onlooker.stream.file_source import FileSource
from onlooker.stream.live.failure import FeedError
from onlooker.stream.live.opening import open_live
from onlooker.stream.live.played_file import FileFeed
from onlooker.theatre.show import Show


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Frames at uneven times: 0, 50, 300, 350, 800 ms."""
    path = tmp_path / "clip.mp4"
    times = iter([0, 50_000, 300_000, 350_000, 800_000])
    write_video(path, Show(7, 16.0, 64).frames_at(times), VideoSettings(preset="ultrafast"))
    return path


def test_each_frame_comes_when_its_time_has_come(clip: Path) -> None:
    """On a clock that passes by pauses alone: none comes early, and none is held back longer than it must be."""
    now = [2_000_000]

    def pause(seconds: float) -> bool:
        now[0] += max(1, round(seconds * 1e6))
        return False

    connection = FileFeed(clip).connect(lambda: now[0], pause)
    got = []
    while (arrival := connection.advance()) is not None:
        assert arrival.stamp_us is not None
        assert arrival.stamp_us <= now[0] <= arrival.stamp_us + 2
        got.append(arrival.stamp_us - 2_000_000)
        assert connection.picture().shape == (64, 64, 3)
    connection.close()
    assert got == [frame.time_us for frame in FileSource(clip)]


def test_it_ends_and_says_so(clip: Path, decoding_threads: Callable[[], list[Any]]) -> None:
    with open_live(str(clip)) as source:
        frames = list(source)
        assert (source.status.state, source.status.code) == ("ended", None)
        assert source.info.kind == "file"
        assert source.identity == FileSource(clip).identity
    assert len(frames) + source.status.dropped == 5
    assert all(later.time_us > earlier.time_us for earlier, later in itertools.pairwise(frames))


def test_a_pause_that_is_cut_short_ends_it(clip: Path, decoding_threads: Callable[[], list[Any]]) -> None:
    connection = FileFeed(clip).connect(lambda: 0, lambda seconds: True)
    assert connection.advance() is not None  # the first is due at once
    assert connection.advance() is None
    connection.close()


def test_a_bad_file_is_found_when_it_is_opened(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 1000)
    with pytest.raises(SourceError, match="decoded"):
        open_live(str(tmp_path / "noise.mp4"))
    feed = FileFeed(clip)
    clip.unlink()
    with pytest.raises(FeedError, match="there is no file"):
        feed.connect(lambda: 0, lambda seconds: False)
