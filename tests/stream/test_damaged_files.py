"""Files that are cut, damaged, or stamped oddly: what can be decoded comes, at the right times, and says so."""

import logging
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from onlooker.errors import SourceError
from onlooker.stream.file_source import FileSource

pytestmark = pytest.mark.usefixtures("decoding_threads")

Clips = Any  # tests/stream/conftest.py


@pytest.mark.parametrize("share", [0.4, 0.55, 0.7, 0.85, 0.97])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_cut_file_gives_the_same_beginning_and_says_so(
    clips: Clips, tmp_path: Path, caplog: pytest.LogCaptureFixture, ending: str, share: float
) -> None:
    path = clips(f"irregular.{ending}")
    with FileSource(path) as source:
        whole = list(source)
    data = path.read_bytes()
    cut = tmp_path / f"cut.{ending}"
    cut.write_bytes(data[: int(len(data) * share)])
    with caplog.at_level(logging.WARNING), FileSource(cut) as source:
        got = list(source)
    assert len(got) > 120 * (share - 0.3)  # the index of so short an mp4 is a quarter of it
    assert source.report.truncated_at_us == got[-1].time_us
    assert any("is cut or damaged" in message for message in caplog.messages)
    # The packet at the cut, and the ones that refer to it, may decode to something else.
    sure = len(got) - 8
    assert [frame.time_us for frame in got[:sure]] == [frame.time_us for frame in whole[:sure]]
    assert all(np.array_equal(one.image, other.image) for one, other in zip(got[:sure], whole, strict=False))


def test_a_damaged_file_gives_the_same_frames_every_time(clips: Clips, tmp_path: Path) -> None:
    data = bytearray(clips("irregular.mp4").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 800] = bytes(800)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    runs = []
    for _ in range(4):
        with FileSource(damaged) as source:
            runs.append([(frame.time_us, frame.image.tobytes()) for frame in source])
        assert source.report.truncated
        assert source.report.decoder == "opencv"
    assert all(run == runs[0] for run in runs)
    assert len(runs[0]) > 70
    assert runs[0][-1][0] > clips.irregular_us[60]  # it goes on behind the damage


def test_an_mp4_without_its_index_is_refused(clips: Clips, tmp_path: Path) -> None:
    path = clips("constant.mp4")
    tail = tmp_path / "tail.mp4"
    with av.open(str(path)) as source, av.open(str(tail), "w") as target:  # no faststart: the index comes last
        track = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = track
                target.mux(packet)
    tail.write_bytes(tail.read_bytes()[:-400])
    with pytest.raises(SourceError, match=r"tail\.mp4 is cut before its index .*copy"):
        FileSource(tail)


def test_an_edit_list_hides_frames_and_starts_the_time_at_the_first_shown(clips: Clips, tmp_path: Path) -> None:
    path, edited = clips("constant.mp4"), tmp_path / "edited.mp4"
    with (
        av.open(str(path)) as source,
        av.open(str(edited), "w", container_options={"avoid_negative_ts": "disabled"}) as target,
    ):
        track = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts -= 1_000_000
            packet.dts -= 1_000_000
            packet.stream = track
            target.mux(packet)
    with av.open(str(edited)) as reference:
        shown = [clips.number(frame.to_ndarray(format="rgb24")) for frame in reference.decode(video=0)]
    assert shown[0] == 8  # otherwise this file tests nothing
    numbers, times_us, source_ = clips.read(edited)
    assert numbers == shown
    assert times_us == [(number - 8) * 125_000 for number in shown]
    assert source_.report.repaired == 0


def test_mpeg_ts_loses_no_frames(clips: Clips, tmp_path: Path) -> None:
    stream = tmp_path / "stream.ts"
    _remux(clips("constant.mp4"), stream)
    numbers, times_us, _ = clips.read(stream)
    assert numbers == list(range(120))
    assert np.abs(np.subtract(times_us, clips.constant_us)).max() <= 12  # a 90 kHz clock


def test_a_clock_that_starts_again_is_repaired(clips: Clips, tmp_path: Path) -> None:
    stream, joined = tmp_path / "stream.ts", tmp_path / "joined.ts"
    _remux(clips("constant.mp4"), stream)
    joined.write_bytes(stream.read_bytes() * 2)
    numbers, times_us, source = clips.read(joined)
    assert numbers == [*range(120), *range(120)]
    assert np.diff(times_us).min() > 0
    assert times_us[-1] == pytest.approx(2 * clips.constant_us[-1] + 125_000, abs=50)
    assert source.report.repaired == 1


def test_missing_stamps_are_repaired(clips: Clips, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bare = tmp_path / "bare.h264"  # an elementary stream has no stamps at all
    _remux(clips("constant.mp4"), bare)
    with caplog.at_level(logging.WARNING):
        numbers, times_us, source = clips.read(bare)
    assert numbers == list(range(120))
    assert np.diff(times_us).min() > 0
    assert source.report.repaired == 119
    assert any("119 of 120 time stamps" in message for message in caplog.messages)


def _remux(path: Path, target_path: Path) -> None:
    with av.open(str(path)) as source, av.open(str(target_path), "w") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = track
                target.mux(packet)


@pytest.mark.parametrize("ending", ["avi", "webm"])
def test_other_codecs_and_containers(clips: Clips, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"clip.{ending}"
    codec, pixels = ("mjpeg", "yuvj420p") if ending == "avi" else ("libvpx", "yuv420p")
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=8)
        track.width, track.height, track.pix_fmt = 96, 64, pixels
        track.bit_rate = 2_000_000
        for number in range(40):
            container.mux(track.encode(av.VideoFrame.from_ndarray(clips.draw(number), format="rgb24")))
        container.mux(track.encode(None))
    numbers, times_us, _ = clips.read(path)
    assert numbers == list(range(40))
    assert times_us == list(clips.constant_us[:40])
    if ending == "avi":  # cut, an AVI has lost its index, and OpenCV reads it
        cut = tmp_path / "cut.avi"
        cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        numbers, times_us, source = clips.read(cut)
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= 10
        assert (source.report.decoder, source.report.truncated) == ("opencv", True)


def test_rotation_is_applied(clips: Clips, tmp_path: Path) -> None:
    data = bytearray(clips("constant.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # version 0: the matrix stands 40 bytes into the box
    quarter = (0, 0x10000, 0, -0x10000 & 0xFFFFFFFF, 0, 0, 96 << 16, 0, 0x40000000)
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big") for value in quarter)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    with FileSource(turned) as source:
        assert (source.info.width, source.info.height) == (64, 96)
        first = next(iter(source)).image
    assert clips.number(np.ascontiguousarray(np.rot90(first))) == 0
    with FileSource(clips("constant.mp4")) as upright:
        assert np.array_equal(np.rot90(first), next(iter(upright)).image)
