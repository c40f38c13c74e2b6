"""Cameras and network streams, read by OpenCV: FFmpeg for addresses, V4L2 or AVFoundation for devices."""

import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..source import SourceKind
from ..undecodable import load
from .address import Address
from .failure import Failure, FeedError
from .feed import Arrival, Connection, Pause
from .limits import LiveLimits
from .probe import Finding, probe

_BACKLOG_FRAMES = 1000
_BACKLOG_S = 2.0
_HASTE = 0.5  # a frame that comes in less than this share of its time since the last was waiting already


@dataclass(frozen=True, slots=True)
class NetworkFeed:
    """Read a network address.

    RTSP is asked first, by a DESCRIBE of our own: FFmpeg does not tell why it fails, and OpenCV opens one address at
    a time in a process, so that one camera that does not answer would hold up all others.
    """

    address: Address
    kind: SourceKind
    limits: LiveLimits = field(default_factory=LiveLimits)
    exact: bool = False
    size: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """The address without its credentials."""
        return self.address.shown

    @property
    def identity(self) -> str:
        """The address without user and credentials: a new password makes no other camera."""
        return self.address.identity

    @property
    def stamped(self) -> bool:
        """Only RTSP carries the sender's own clock; what FFmpeg stamps on MJPEG counts 25 a second, whatever comes."""
        return self.kind == "rtsp"

    def connect(self, now_us: Callable[[], int], pause: Pause) -> Connection:
        """Connect.  Raises FeedError."""
        cv2 = load("cv2", "opencv-python-headless")
        found = Finding()
        if self.kind == "rtsp":
            found = probe(self.address, self.limits.open_s)
            if found.failure is not None:
                raise FeedError(found.failure)
        options = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(self.limits.open_s * 1000)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(self.limits.read_s * 1000)),
            *(cv2.CAP_PROP_N_THREADS, 1),
        ]
        began = time.monotonic()
        capture = cv2.VideoCapture(self.address.url, cv2.CAP_FFMPEG, options)
        if not capture.isOpened():
            capture.release()
            raise FeedError(self._explain(found, time.monotonic() - began))
        return _Capture(capture, cv2, self.name, "opencv/ffmpeg", self.limits, self._pacing(capture, cv2, pause))

    def _explain(self, found: Finding, seconds: float) -> Failure:
        """Say why it could not be opened."""
        if self.kind == "http" or self.address.scheme in ("rtmp", "rtmps", "tcp"):
            found = probe(self.address, self.limits.open_s)
        if found.failure is not None:
            return found.failure
        if seconds >= self.limits.open_s:
            return Failure.of("timeout", f"{self.name}: no video came within {self.limits.open_s:g} s")
        if self.kind in ("rtsp", "http"):
            offers = f" (it offers {found.offers})" if found.offers else ""
            return Failure.of("codec", f"{self.name}: it answers, but no video of it can be decoded{offers}")
        return Failure.of("unknown", f"{self.name}: it cannot be opened")

    def _pacing(self, capture: Any, cv2: Any, pause: Pause) -> "_Pacing | None":
        """Play a recording behind an http address, and live HLS, by its stamps: both come as fast as they are read."""
        if self.kind != "http":
            return None
        count = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        finite = math.isfinite(count) and count > 0
        return _Pacing(pause, finite) if finite or self.address.target.partition("?")[0].endswith(".m3u8") else None


@dataclass(frozen=True, slots=True)
class CameraFeed:
    """Read a camera of this machine: its number, or on Linux its device's path."""

    device: int | str
    limits: LiveLimits = field(default_factory=LiveLimits)
    kind: SourceKind = "camera"
    exact: bool = False
    stamped: bool = False
    size: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """The word that opens it."""
        return f"camera:{self.device}"

    @property
    def identity(self) -> str:
        """The same: a machine has one camera under a number at a time."""
        return self.name

    def connect(self, now_us: Callable[[], int], pause: Pause) -> Connection:
        """Connect.  Raises FeedError."""
        cv2 = load("cv2", "opencv-python-headless")
        linux = sys.platform.startswith("linux")
        if linux:
            path = Path(f"/dev/video{self.device}" if isinstance(self.device, int) else self.device)
            failure = device_failure(path, self.name)
            if failure is not None:
                raise FeedError(failure)
        backend = cv2.CAP_V4L2 if linux else cv2.CAP_AVFOUNDATION if sys.platform == "darwin" else cv2.CAP_ANY
        capture = cv2.VideoCapture(self.device, backend)
        if not capture.isOpened():
            capture.release()
            remedy = "close other programs that use it, and let this terminal use the camera in the system's settings"
            raise FeedError(Failure.of("busy", f"{self.name}: it is there, but gives no video", remedy))
        return _Capture(capture, cv2, self.name, "opencv/v4l2" if linux else "opencv", self.limits)


def device_failure(path: Path, name: str) -> Failure | None:
    """Say why a device cannot be used, as far as the file system knows."""
    if not path.exists():
        remedy = "list what is there with: onlooker cameras"
        return Failure.of("not_found", f"{name}: there is no camera {path}", remedy)
    if not os.access(path, os.R_OK | os.W_OK):
        remedy = "add yourself to the group of the device (sudo usermod -aG video $USER) and log in again"
        return Failure.of("refused", f"{name}: this user may not open {path}", remedy)
    return None


@dataclass(slots=True)
class _Pacing:
    """Hold frames back until their time has come.  finite: whether the end of it is the end of the source."""

    pause: Pause
    finite: bool
    began: float | None = None

    def wait(self, stamp_us: int) -> None:
        now = time.monotonic()
        if self.began is None:
            self.began = now - stamp_us / 1e6
        ahead_s = self.began + stamp_us / 1e6 - now
        if abs(ahead_s) > 60.0:  # a jump of the stamps
            self.began = now - stamp_us / 1e6
        elif ahead_s > 0:
            self.pause(ahead_s)


class _Capture:
    """One connection through OpenCV."""

    def __init__(
        self, capture: Any, cv2: Any, name: str, decoder: str, limits: LiveLimits, pacing: _Pacing | None = None
    ) -> None:
        self._capture, self._cv2, self._name, self.decoder = capture, cv2, name, decoder
        self._limits, self._pacing = limits, pacing
        self._fresh = pacing is not None  # what comes from a recording is no backlog
        self._check(*(int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)))

    def advance(self) -> Arrival | None:
        began = time.monotonic()
        if not self._capture.grab():
            if self._pacing is not None and self._pacing.finite:
                return None
            raise FeedError(self._lost(time.monotonic() - began))
        if not self._fresh:
            self._skip_backlog()
        stamp_us = self._stamp_us()
        if self._pacing is not None:
            self._pacing.wait(stamp_us or 0)
        return Arrival(stamp_us)

    def _skip_backlog(self) -> None:
        """Step over what had been received before the connection was ready: it is seconds old, and dated wrongly."""
        self._fresh = True
        began, before_us = time.monotonic(), self._stamp_us() or 0
        for _ in range(_BACKLOG_FRAMES):
            asked = time.monotonic()
            if asked - began > _BACKLOG_S or not self._capture.grab():
                return
            stamp_us = self._stamp_us() or 0
            step_us, before_us = stamp_us - before_us, stamp_us
            if step_us > 0 and time.monotonic() - asked > _HASTE * step_us / 1e6:
                return

    def _stamp_us(self) -> int | None:
        stamp_ms = float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC))
        return round(stamp_ms * 1000.0) if math.isfinite(stamp_ms) and abs(stamp_ms) < 1e12 else None

    def _lost(self, seconds: float) -> Failure:
        if seconds >= 0.9 * self._limits.read_s:
            return Failure.of("timeout", f"{self._name}: no frame came for {seconds:.0f} s")
        return Failure.of("lost", f"{self._name}: the connection was lost")

    def picture(self) -> NDArray[np.generic]:
        found, picture = self._capture.retrieve()
        if not found or picture is None:
            raise FeedError(Failure.of("lost", f"{self._name}: a picture could not be decoded"))
        self._check(picture.shape[1], picture.shape[0])
        image: NDArray[np.generic] = picture
        if picture.ndim == 3 and picture.shape[2] in (3, 4):
            to_rgb = self._cv2.COLOR_BGR2RGB if picture.shape[2] == 3 else self._cv2.COLOR_BGRA2RGB
            image = self._cv2.cvtColor(picture, to_rgb)
        return image

    def _check(self, width: int, height: int) -> None:
        if max(width, height) > self._limits.most_px:
            self._capture.release()
            most = self._limits.most_px
            raise FeedError(
                Failure.of(
                    "codec",
                    f"{self._name}: its pictures are {width} x {height}; the limit is {most} x {most}",
                    "choose a smaller size in the camera's settings, or its sub-stream",
                )
            )

    def close(self) -> None:
        self._capture.release()
