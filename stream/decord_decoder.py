"""decord, for the files that it reads rightly and can hold."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .container import Container
from .undecodable import LONGEST_S, Undecodable, first_line, load

_FAULT_TOLERANCE = 1e-9  # decord hands out copies of an old frame for those it lost; the first copy is an error instead


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
        decord = load("decord", "decord2")
        self._failures = (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, AssertionError)
        try:
            self._reader: Any = decord.VideoReader(str(path), num_threads=1, fault_tol=_FAULT_TOLERANCE)
            count = len(self._reader)
            spans = np.asarray(self._reader.get_frame_timestamp(range(count)), dtype=np.float64)
        except self._failures as error:
            raise Undecodable(first_line(error)) from error
        if count * frame_bytes > most_bytes:
            raise Undecodable("all of it, decoded, is too large to be held")
        starts = spans[:, 0]
        if not np.isfinite(spans).all() or starts[0] != 0.0 or starts[-1] > LONGEST_S or (np.diff(starts) <= 0.0).any():
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
            raise Undecodable(f"decord cannot seek: {first_line(error)}") from error
        self.position = index

    def advance(self) -> int | None:
        """Decode the next frame; return its time in microseconds, or None after the last. Raises Undecodable."""
        try:
            self._picture = self._reader.next()
        except StopIteration:
            return None
        except self._failures as error:
            raise Undecodable(first_line(error)) from error
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


def use_plain_arrays() -> None:
    """Get decord's own arrays in this thread, whatever bridge (torch, ...) the program has set for its main one."""
    load("decord", "decord2").bridge.set_bridge("native")
