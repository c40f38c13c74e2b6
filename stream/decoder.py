"""Decoders of video files: decord for what it can hold, and OpenCV where decord is unsafe or gives up."""

import importlib
import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InstallationError, SourceError
from .clock import StampClock
from .container import Container

_FAULT_TOLERANCE = 1e-9  # decord hands out copies of an old frame for those it lost; the first copy is an error instead
_FAILED_GRABS = 64  # how many damaged pictures in a row OpenCV is asked to step over
_SEEK_MARGIN_US = 2_000_000
_LONGEST_S = 10 * 366 * 24 * 3600.0


class Undecodable(Exception):  # noqa: N818 - not an error yet: another decoder is tried
    """A decoder cannot read this file, or not reliably; the message says why."""


class Decoder(Protocol):
    """Decode a file's frames one after another."""

    @property
    def label(self) -> str:
        """The decoder's name."""
        ...

    @property
    def repaired(self) -> int:
        """Frames whose time stamp was replaced."""
        ...

    @property
    def duration_us(self) -> int | None:
        """An estimate."""
        ...

    @property
    def cut_short(self) -> bool:
        """Whether frames that the file announces could not be decoded; true only after the last."""
        ...

    def advance(self) -> int | None:
        """Decode the next frame; return its time in microseconds, or None after the last."""
        ...

    def image(self) -> NDArray[np.uint8]:
        """Return the frame that advance() decoded, uint8 [H, W, 3] RGB, in memory of its own."""
        ...


class DecordDecoder:
    """Decode with decord, stamps from its index of the file's packets.

    decord stamps no frame: its index lists the presentation times of all packets, sorted, and its n-th frame is
    taken for the n-th time. That holds only if every packet yields a frame and decoding begins at the first one, so
    files are refused (Undecodable) whose index is not strictly increasing from 0, as with stamps that are missing,
    doubled or hidden by an edit list, and containers where decord's rewind after indexing is not exact (MPEG-TS:
    it loses the first group of pictures). A damaged Matroska file can pass, and be stamped early behind the damage.

    decord also reads packets on while it waits for a frame, and decodes them all: behind a slow consumer it comes to
    hold most of the file as pictures, without bound. So files are refused whose pictures, frame_bytes each, would
    together need more than most_bytes. One decoding thread: with more, its worker is known to die of EAGAIN.
    """

    label = "decord"
    repaired = 0
    cut_short = False

    def __init__(
        self, path: Path, container: Container, start_us: int = 0, frame_bytes: int = 0, most_bytes: int = 1 << 28
    ) -> None:
        if container.kind == "other" or (container.kind == "avi" and not container.whole):
            raise Undecodable("not tried on this container, which it does not rewind reliably")
        decord = _import("decord", "decord2")
        self._failures = (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, AssertionError)
        try:
            self._reader: Any = decord.VideoReader(str(path), num_threads=1, fault_tol=_FAULT_TOLERANCE)
            count = len(self._reader)
            spans = np.asarray(self._reader.get_frame_timestamp(range(count)), dtype=np.float64)
        except self._failures as error:
            raise Undecodable(_first_line(error)) from error
        if count * frame_bytes > most_bytes:
            raise Undecodable("all of it, decoded, is too large to be held")
        starts = spans[:, 0]
        if (
            not np.isfinite(spans).all()
            or starts[0] != 0.0
            or starts[-1] > _LONGEST_S
            or (np.diff(starts) <= 0.0).any()
        ):
            raise Undecodable("the stamps in decord's index are missing, doubled or negative")
        self.times_us: NDArray[np.int64] = np.rint(starts * 1e6).astype(np.int64)
        self.duration_us: int | None = max(int(self.times_us[-1]), round(float(spans[-1, 1]) * 1e6))
        self.position = 0
        self._picture: Any = None
        if start_us > 0:
            self._seek(min(int(np.searchsorted(self.times_us, start_us)), count - 1))

    def _seek(self, index: int) -> None:
        try:
            self._reader.seek_accurate(index)
        except self._failures as error:
            raise Undecodable(f"decord cannot seek: {_first_line(error)}") from error
        self.position = index

    def advance(self) -> int | None:
        """Decode the next frame; return its time in microseconds, or None after the last. Raises Undecodable."""
        try:
            self._picture = self._reader.next()
        except StopIteration:
            return None
        except self._failures as error:
            raise Undecodable(_first_line(error)) from error
        time_us = int(self.times_us[self.position])
        self.position += 1
        return time_us

    def image(self) -> NDArray[np.uint8]:
        """Return the frame that advance() decoded, uint8 [H, W, 3] RGB, in memory of its own."""
        picture: NDArray[np.uint8] = self._picture.asnumpy()  # asnumpy copies
        height, width, channels = picture.shape
        if channels != 3:
            # For narrow pictures (96 or 144 wide, say) decord takes the padding at the end of a row for channels.
            picture = np.ascontiguousarray(picture.reshape(height, -1)[:, : width * 3]).reshape(height, width, 3)
        return picture


class OpenCVDecoder:
    """Decode with OpenCV's FFmpeg reader, which stamps each frame as it comes; the stamps are put right by a clock.

    One decoding thread: with more, what is made of damaged pictures differs from run to run.
    index_us: the times that decord lists, if decord gave up on the file; a stamp is moved to the nearest of them,
    so that where the change happened leaves no mark on the stamps.
    """

    label = "opencv"

    def __init__(self, path: Path, index_us: NDArray[np.int64] | None = None) -> None:
        self._cv2 = _import("cv2", "opencv-python-headless")
        self._path = path
        self._open()
        self._fps = float(self._capture.get(self._cv2.CAP_PROP_FPS))
        count = float(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        known = math.isfinite(self._fps) and 0.0 < self._fps <= 1000.0 and 0.0 < count / self._fps <= _LONGEST_S
        self.duration_us: int | None = round(count / self._fps * 1e6) if known else None
        width, height = (
            self._capture.get(name) for name in (self._cv2.CAP_PROP_FRAME_WIDTH, self._cv2.CAP_PROP_FRAME_HEIGHT)
        )
        self.frame_bytes = int(width) * int(height) * 3
        self.announced_bytes = int(count) * self.frame_bytes if known else 0
        self._clock = StampClock(self._fps)
        self._index_us = index_us
        self._delivered = 0
        self._stepped_over = False
        self._waiting = False  # whether a frame was grabbed already, by seek()

    def _open(self) -> None:
        options = [self._cv2.CAP_PROP_N_THREADS, 1]
        self._capture: Any = self._cv2.VideoCapture(str(self._path), self._cv2.CAP_FFMPEG, options)
        if not self._capture.isOpened():
            raise Undecodable("OpenCV cannot open it")

    @property
    def repaired(self) -> int:
        """Frames whose time stamp was replaced."""
        return self._clock.repaired

    @property
    def cut_short(self) -> bool:
        """Whether the index lists more frames than could be decoded, or damaged ones were stepped over."""
        return self._stepped_over or (self._index_us is not None and self._delivered < len(self._index_us))

    def seek(self, start_us: int) -> None:
        """Go to a frame at or before start_us: close to it, or to the first one if that is not to be had.

        OpenCV's seek counts frames at the average rate, so with a variable rate it may land anywhere; what it landed
        on is known by its stamp, and if that is too late the aim is moved back.
        """
        margin_us = _SEEK_MARGIN_US
        while start_us - margin_us > 0:
            self._capture.set(self._cv2.CAP_PROP_POS_MSEC, (start_us - margin_us) / 1000.0)
            if self._capture.grab():
                landed_us = self._raw_ms() * 1000.0
                if 0.0 < landed_us <= start_us:
                    self._waiting = True
                    return
            margin_us *= 4
        self._open()

    def skip(self, count: int) -> None:
        """Decode frames in vain, so as to go on where another decoder stopped."""
        for _ in range(count):
            if self.advance() is None:
                return

    def advance(self) -> int | None:
        """Decode the next frame; return its time in microseconds, or None after the last."""
        for attempt in range(_FAILED_GRABS):
            if self._waiting or self._capture.grab():
                self._waiting = False
                self._stepped_over |= attempt > 0
                self._delivered += 1
                return self._stamp()
        return None

    def _raw_ms(self) -> float:
        return float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC))

    def _stamp(self) -> int:
        time_us = self._clock.place(self._raw_ms() / 1000.0)
        index = self._index_us
        if index is None:
            return time_us
        after = min(int(np.searchsorted(index, time_us)), len(index) - 1)
        nearest = min((int(index[max(0, after - 1)]), int(index[after])), key=lambda known: abs(known - time_us))
        return nearest if abs(nearest - time_us) <= max(2, time_us >> 23) else time_us

    def image(self) -> NDArray[np.uint8]:
        """Return the frame that advance() decoded, uint8 [H, W, 3] RGB, in memory of its own. Raises Undecodable."""
        found, picture = self._capture.retrieve()
        if not found or picture is None:
            raise Undecodable("OpenCV cannot convert a picture")
        rgb: NDArray[np.uint8] = self._cv2.cvtColor(picture, self._cv2.COLOR_BGR2RGB)
        return rgb


class FileDecoder:
    """Decode a file with decord if that is safe, as far as it goes, and with OpenCV otherwise and from there.

    Both decode with FFmpeg to the same pixels. When decord meets a damaged packet its worker ends at a moment that
    depends on timing, and OpenCV goes on behind the last frame that decord gave, so that what comes out does not.

    start_us: begin at or before that time, close to it where the container can be searched.  most_bytes: how large
    a file may be, decoded, for decord to read it.
    Raises SourceError, naming file and remedy, if neither can open it.
    """

    def __init__(self, path: Path, container: Container, start_us: int = 0, most_bytes: int = 1 << 28) -> None:
        self._path = path
        self._decoder: DecordDecoder | OpenCVDecoder
        opencv: OpenCVDecoder | None = None
        try:
            opencv = OpenCVDecoder(path)
            if opencv.announced_bytes > most_bytes:
                raise Undecodable("all of it, decoded, is too large to be held")
            self._decoder = DecordDecoder(path, container, start_us, opencv.frame_bytes, most_bytes)
        except Undecodable as failed:
            if opencv is None:
                raise _unreadable(path, container) from failed
            self._decoder = opencv
            if start_us > 0 and container.kind != "other":
                opencv.seek(start_us)
        self.duration_us = self._decoder.duration_us

    @property
    def label(self) -> str:
        """The name of the decoder at work."""
        return self._decoder.label

    @property
    def repaired(self) -> int:
        """Frames whose time stamp was replaced."""
        return self._decoder.repaired

    @property
    def cut_short(self) -> bool:
        """Whether frames that the file announces could not be decoded; true only after the last."""
        return self._decoder.cut_short

    def advance(self) -> int | None:
        """Decode the next frame; return its time in microseconds, or None after the last."""
        if isinstance(self._decoder, DecordDecoder):
            try:
                return self._decoder.advance()
            except Undecodable:
                done, index_us = self._decoder.position, self._decoder.times_us
                try:
                    self._decoder = OpenCVDecoder(self._path, index_us)
                    self._decoder.skip(done)
                except Undecodable as failed:
                    raise SourceError(f"reading {self._path} failed halfway: {failed}; copy the file again") from failed
        return self._decoder.advance()

    def image(self) -> NDArray[np.uint8]:
        """Return the frame that advance() decoded, uint8 [H, W, 3] RGB, in memory of its own."""
        try:
            return self._decoder.image()
        except Undecodable as failed:
            raise SourceError(f"reading {self._path} failed halfway: {failed}; copy the file again") from failed


def use_plain_arrays() -> None:
    """Get decord's own arrays in this thread, whatever bridge (torch, ...) the program has set for its main one."""
    _import("decord", "decord2").bridge.set_bridge("native")


def _import(module: str, distribution: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InstallationError(
            f"reading video files needs {module}, which does not load ({error}); "
            f"install it with: pip install {distribution}"
        ) from error


def _first_line(error: BaseException) -> str:
    """Cut decord's message to what it says: the time and the source line before it mean nothing to a user."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rsplit("] ", 1)[-1][:200]


def _unreadable(path: Path, container: Container) -> SourceError:
    """Say what is wrong with a file that OpenCV does not open: decord tells sound from nonsense."""
    if not container.has_index:
        return SourceError(
            f"{path} is cut before its index (the moov box of an mp4), so nothing in it can be decoded; copy the whole "
            f"file again, let the recorder finish, or rebuild the index with a tool such as untrunc"
        )
    try:
        _import("decord", "decord2").VideoReader(str(path), num_threads=1)
        why = "OpenCV cannot open it, and decord opens it unreliably"
    except Exception as error:  # noqa: BLE001 - bare RuntimeError, AssertionError and decord's own kinds alike
        why = _first_line(error)
    if "cannot find video stream" in why:
        return SourceError(f"{path} holds no pictures, only sound or other data; give a file with a video track")
    return SourceError(
        f"{path} is not a video that can be decoded ({why}); "
        f"if a player shows it, convert it: ffmpeg -i {path.name} -c:v libx264 -pix_fmt yuv420p converted.mp4"
    )
