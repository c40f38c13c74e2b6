"""Video files written from frames, with the frames' own time stamps."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InstallationError, OnlookerError, SettingsError, SourceError
from ..frame import Frame

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

TIME_BASE = Fraction(1, 1_000_000)
"""Seconds in one tick of a written stamp: microseconds, so that stamps are exact (Matroska keeps milliseconds)."""

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
FIRST_GUESS_US = 1_000_000 // 8
"""Duration of the only frame of a one-frame file: nothing else says how long to show it."""


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """Say how a video file is encoded.

    crf: constant quality of libx264, 0 (lossless) .. 51 (worst).  preset: speed against size.  keyframe_frames: the
    most frames between two key frames, which is how far a reader decodes in vain when it seeks.  threads: 0 lets
    libx264 choose; 1 makes the same bytes on every machine.
    Raises SettingsError for a value outside its limits.
    """

    crf: int = 26
    preset: str = "medium"
    keyframe_frames: int = 250
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.crf <= 51:
            raise SettingsError(f"crf is {self.crf}; libx264 takes 0 (lossless) to 51; 18 to 30 is usual")
        if self.preset not in PRESETS:
            raise SettingsError(f"preset is {self.preset!r}; give one of {', '.join(PRESETS)}")
        if self.keyframe_frames < 1:
            raise SettingsError(f"keyframe_frames is {self.keyframe_frames}; give 1 or more")
        if self.threads < 0:
            raise SettingsError(f"threads is {self.threads}; give 0 (automatic) or more")


@dataclass(frozen=True, slots=True)
class WrittenVideo:
    """Report what a written file holds: frames, first and last stamp in microseconds, and the file's bytes."""

    path: Path
    frames: int
    first_us: int
    last_us: int
    file_bytes: int


def write_video(path: str | Path, frames: Iterable[Frame], settings: VideoSettings | None = None) -> WrittenVideo:
    """Write frames as H.264 (yuv420p) at the presentation times that they carry.

    The frames are taken one at a time, so any length fits in memory. Stamps need not be even: constant and variable
    frame rates are written alike. The container follows from the file's name (.mp4, .mkv, .mov). An odd width or
    height is made even by repeating the last column or row, because yuv420p halves both.

    Readers count time from the first frame, so start at 0 to get the same times back.

    Raises InstallationError without PyAV, SourceError for no frames, a frame of another size, or stamps that do not
    increase or are negative, and OnlookerError when the encoder or the disk fails. A file that failed is removed.
    """
    try:
        import av
    except ImportError as error:
        raise InstallationError("writing video needs PyAV; install it with: pip install 'onlooker[bench]'") from error
    path = Path(path)
    settings = settings or VideoSettings()
    options = {"movflags": "+faststart"} if path.suffix.lower() in (".mp4", ".mov", ".m4v") else {}
    try:
        with av.open(str(path), "w", options=options) as container:
            count, first_us, last_us = _encode(container, frames, settings)
    except (av.FFmpegError, OSError, ValueError) as error:
        path.unlink(missing_ok=True)
        raise OnlookerError(
            f"cannot write {path}: {error}; check the folder, the disk and the file's ending"
        ) from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return WrittenVideo(path, count, first_us, last_us, path.stat().st_size)


def _encode(container: "OutputContainer", frames: Iterable[Frame], settings: VideoSettings) -> tuple[int, int, int]:
    """Encode and mux the frames one behind the iterator, since a frame lasts until the next one's stamp."""
    stream: VideoStream | None = None
    waiting: Frame | None = None
    count, first_us, duration_us = 0, 0, FIRST_GUESS_US
    for frame in frames:
        if waiting is None:
            if frame.time_us < 0:
                raise SourceError(f"the first frame is at {frame.time_us} us; a video file begins at 0 or later")
            first_us = frame.time_us
        else:
            duration_us = frame.time_us - waiting.time_us
            _check_successor(waiting, frame, count)
            stream = stream or _open_stream(container, waiting, duration_us, settings)
            _put(container, stream, waiting, duration_us)
        waiting = frame
        count += 1
    if waiting is None:
        raise SourceError("there are no frames to write; give at least one")
    stream = stream or _open_stream(container, waiting, duration_us, settings)
    _put(container, stream, waiting, duration_us)
    container.mux(stream.encode(None))
    return count, first_us, waiting.time_us


def _check_successor(before: Frame, after: Frame, index: int) -> None:
    if after.time_us <= before.time_us:
        raise SourceError(
            f"frame {index} is at {after.time_us} us, not after its predecessor at {before.time_us} us; "
            "give frames in order of time"
        )
    if after.image.shape != before.image.shape:
        raise SourceError(
            f"frame {index} has shape {list(after.image.shape)}, the ones before {list(before.image.shape)}; "
            "a video file has one frame size"
        )


def _open_stream(
    container: "OutputContainer", frame: Frame, duration_us: int, settings: VideoSettings
) -> "VideoStream":
    """Open the encoder; the rate only guides libx264, the stamps alone say when a frame is shown."""
    rate = Fraction(1_000_000, max(1, duration_us)).limit_denominator(1001)
    options = {"crf": str(settings.crf), "preset": settings.preset}
    stream = container.add_stream("libx264", rate=max(rate, Fraction(1, 10)), options=options)
    height, width = frame.image.shape[:2]
    stream.width, stream.height = width + width % 2, height + height % 2
    stream.pix_fmt = "yuv420p"
    stream.time_base = TIME_BASE
    stream.codec_context.time_base = TIME_BASE
    stream.codec_context.gop_size = settings.keyframe_frames
    stream.codec_context.thread_count = settings.threads
    return stream


def _put(container: "OutputContainer", stream: "VideoStream", frame: Frame, duration_us: int) -> None:
    from av import VideoFrame

    height, width = frame.image.shape[:2]
    image = frame.image
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    picture = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    picture.pts, picture.duration, picture.time_base = frame.time_us, duration_us, TIME_BASE
    container.mux(stream.encode(picture))
