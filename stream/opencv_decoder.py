"""OpenCV's FFmpeg reader, for the files that decord does not read."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .clock import StampClock
from .undecodable import LONGEST_S, Undecodable, load

_FAILED_GRABS = 64  # how many damaged pictures in a row OpenCV is asked to step over
_SEEK_MARGIN_US = 2_000_000


class OpenCVDecoder:
    """Decode with OpenCV's FFmpeg reader, which stamps each frame as it comes; the stamps are put right by a clock.

    One decoding thread: with more, what is made of damaged pictures differs from run to run.
    index_us: the times that decord lists, if decord gave up on the file; a stamp is moved to the nearest of them,
    so that where the change happened leaves no mark on the stamps.
    """

    label = "opencv"

    def __init__(self, path: Path, index_us: NDArray[np.int64] | None = None) -> None:
        self._cv2 = load("cv2", "opencv-python-headless")
        self._path = path
        self._open()
        self._fps = float(self._capture.get(self._cv2.CAP_PROP_FPS))
        count = float(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        known = math.isfinite(self._fps) and 0.0 < self._fps <= 1000.0 and 0.0 < count / self._fps <= LONGEST_S
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
