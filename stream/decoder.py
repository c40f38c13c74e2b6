"""The decoding of a file: decord for what it can hold, and OpenCV where decord is unsafe or gives up."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError
from .container import Container
from .decord_decoder import DecordDecoder
from .opencv_decoder import OpenCVDecoder
from .undecodable import Undecodable, first_line, load


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


def _unreadable(path: Path, container: Container) -> SourceError:
    """Say what is wrong with a file that OpenCV does not open: decord tells sound from nonsense."""
    if not container.has_index:
        return SourceError(
            f"{path} is cut before its index (the moov box of an mp4), so nothing in it can be decoded; copy the whole "
            f"file again, let the recorder finish, or rebuild the index with a tool such as untrunc"
        )
    try:
        load("decord", "decord2").VideoReader(str(path), num_threads=1)
        why = "OpenCV cannot open it, and decord opens it unreliably"
    except Exception as error:  # noqa: BLE001 - bare RuntimeError, AssertionError and decord's own kinds alike
        why = first_line(error)
    if "cannot find video stream" in why:
        return SourceError(f"{path} holds no pictures, only sound or other data; give a file with a video track")
    return SourceError(
        f"{path} is not a video that can be decoded ({why}); "
        f"if a player shows it, convert it: ffmpeg -i {path.name} -c:v libx264 -pix_fmt yuv420p converted.mp4"
    )
