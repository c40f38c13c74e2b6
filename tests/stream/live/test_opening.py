from pathlib import Path

import pytest

from onlooker.errors import SettingsError, SourceError
from onlooker.stream.live.live_source import LiveSource
from onlooker.stream.live.opening import feed_of, is_live, open_live
from onlooker.stream.source import open_source


@pytest.mark.parametrize(
    ("word", "live"),
    [
        ("theatre:7", True),
        ("camera:0", True),
        ("RTSP://cam/1", True),
        ("https://cam/video", True),
        ("udp://@:1234", True),
        ("clip.mp4", False),
        ("C:\\clips\\a.mp4", False),
        ("file:///clips/a.mp4", False),
        ("ftp://cam/1", False),
        ("", False),
        ("a" * 5000, False),
        ("camera:0\0", True),
    ],
)
def test_live_words(word: str, live: bool) -> None:
    assert is_live(word) is live


def test_a_file_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_live("camera:1")
    Path("camera:1").write_bytes(b"x")
    assert not is_live("camera:1")


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("camera:", "names no camera; give its number"),
        ("camera:front", "names no camera"),
        ("camera:-1", "names no camera"),
        ("camera:/etc/passwd", "names no camera"),
        ("theatre:seven", "names no theatre"),
        ("ftp://bob:secret@cam/1", r"ftp addresses are not read; give theatre:SEED"),
        ("rtsp:///1", "names no host"),
        ("rtsp://bob:se#cret@cam/1", "percent-encoded"),
        ("no-such.mp4", "there is no file"),
        ("file://elsewhere/a.mp4", "another machine"),
        (" ", "is empty"),
    ],
)
def test_words_that_name_nothing_are_refused_at_once(word: str, why: str) -> None:
    with pytest.raises(SourceError, match=why) as caught:
        open_live(word)
    assert "cret" not in str(caught.value)


def test_cameras_are_opened_by_number_or_device() -> None:
    assert (feed_of("camera:0").name, feed_of("camera:/dev/video2").name) == ("camera:0", "camera:/dev/video2")
    assert (feed_of("camera:0").kind, feed_of("rtsps://cam/1").kind, feed_of("srt://cam:1").kind) == (
        "camera",
        "rtsp",
        "network",
    )


def test_open_source_gives_live_sources_too() -> None:
    with open_source("theatre:3", 10.0, end_us=300_000) as source:
        assert isinstance(source, LiveSource)
        assert (source.info.kind, source.info.duration_us, source.info.width) == ("theatre", None, 224)
        times = [frame.time_us for frame in source]
    assert set(times) <= {0, 100_000, 200_000}
    assert times


def test_going_on_lies_behind_what_was_watched() -> None:
    """What the theatre shows goes on too: it depends on the stream time alone."""
    with open_source("theatre:3", 10.0, after_us=200_000) as source:
        frame = next(iter(source))
    assert frame.time_us > 200_000
    assert frame.time_us % 100_000 == 0
    with open_source("theatre:3", 10.0, end_us=100_000, after_us=50_000) as source:
        assert all(50_000 < frame.time_us < 100_000 for frame in source)


def test_a_live_source_has_no_start_to_choose() -> None:
    with pytest.raises(SettingsError, match="watched from now on, not from 5 s"):
        open_source("theatre:3", start_us=5_000_000)
