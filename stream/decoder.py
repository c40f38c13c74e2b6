"""Decoders of video files: decord, and OpenCV where decord cannot be trusted or gives up."""

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
    it loses the first group of pictures). One decoding thread: with more, decord's worker is known to die of EAGAIN.
    """

    label = "decord"
    repaired = 0
    cut_short = False

    def __init__(self, path: Path, container: Container, start_us: int = 0) -> None:
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

    skip: frames to decode in vain first, so as to go on where another decoder stopped.  index_us: that decoder's
    times; a stamp is moved to the nearest, so that where the change happened leaves no mark on the stamps.
    """

    label = "opencv"

    def __init__(self, path: Path, skip: int = 0, index_us: NDArray[np.int64] | None = None) -> None:
        self._cv2 = _import("cv2", "opencv-python-headless")
        self._capture: Any = self._cv2.VideoCapture(str(path), self._cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise Undecodable("OpenCV cannot open it")
        fps = float(self._capture.get(self._cv2.CAP_PROP_FPS))
        count = float(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        self.duration_us: int | None = None
        if math.isfinite(fps) and 0.0 < fps <= 1000.0 and 0.0 < count / fps <= _LONGEST_S:
            self.duration_us = round(count / fps * 1e6)
        self._clock = StampClock(fps)
        self._index_us = index_us
        self._delivered = 0
        for _ in range(skip):
            if self.advance() is None:
                break

    @property
    def repaired(self) -> int:
        """Frames whose time stamp was replaced."""
        return self._clock.repaired

    @property
    def cut_short(self) -> bool:
        """Whether the index lists more frames than could be decoded."""
        return self._index_us is not None and self._delivered < len(self._index_us)

    def advance(self) -> int | None:
        """Decode the next frame; return its time in microseconds, or None after the last."""
        for _ in range(_FAILED_GRABS):
            if self._capture.grab():
                self._delivered += 1
                return self._stamp()
        return None

    def _stamp(self) -> int:
        stamp_ms = float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC))
        time_us = self._clock.place(stamp_ms / 1000.0)
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
    """Decode a file with decord as far as that goes, and with OpenCV from there.

    Both decode with FFmpeg to the same pixels. When decord meets a damaged packet its worker ends at a moment that
    depends on timing, and OpenCV goes on behind the last frame that decord gave, so that what comes out does not.
    Raises SourceError, naming file and remedy, if neither can open it.
    """

    def __init__(self, path: Path, container: Container, start_us: int = 0) -> None:
        self._path = path
        self._decoder: DecordDecoder | OpenCVDecoder
        try:
            self._decoder = DecordDecoder(path, container, start_us)
        except Undecodable as refused:
            try:
                self._decoder = OpenCVDecoder(path)
            except Undecodable as failed:
                reason = _reason(path) if container.kind == "other" else str(refused)
                raise _unreadable(path, container, f"decord: {reason}; OpenCV: {failed}") from failed
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
                try:
                    self._decoder = OpenCVDecoder(self._path, self._decoder.position, self._decoder.times_us)
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


def _reason(path: Path) -> str:
    """Ask decord why it cannot open a file of unknown kind: unlike OpenCV it tells sound from nonsense."""
    try:
        _import("decord", "decord2").VideoReader(str(path), num_threads=1)
    except Exception as error:  # noqa: BLE001 - bare RuntimeError, AssertionError and decord's own kinds alike
        return _first_line(error)
    return "opens it, but not reliably"


def _first_line(error: BaseException) -> str:
    """Cut decord's message to what it says: the time and the source line before it mean nothing to a user."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rsplit("] ", 1)[-1][:200]


def _unreadable(path: Path, container: Container, why: str) -> SourceError:
    if not container.has_index:
        return SourceError(
            f"{path} is cut before its index (the moov box of an mp4), so nothing in it can be decoded; copy the whole "
            f"file again, let the recorder finish, or rebuild the index with a tool such as untrunc"
        )
    if "cannot find video stream" in why:
        return SourceError(f"{path} holds no pictures, only sound or other data; give a file with a video track")
    return SourceError(
        f"{path} is not a video that can be decoded ({why}); "
        f"if a player shows it, convert it: ffmpeg -i {path.name} -c:v libx264 -pix_fmt yuv420p converted.mp4"
    )
