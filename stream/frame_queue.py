"""A bounded hand-over of frames from a decoding thread to its consumer."""

from collections import deque
from threading import Condition

from ..frame import Frame


class FrameQueue:
    """Hand frames from one thread to another, bounded in frames and in bytes.

    One frame is always let in, however large, so that a frame above the bound in bytes cannot block for ever.
    An error given to finish() is raised in the consumer after the frames before it.
    """

    __slots__ = ("_bytes", "_changed", "_closed", "_error", "_finished", "_frames", "_most_bytes", "_most_frames")

    def __init__(self, most_frames: int, most_bytes: int) -> None:
        self._most_frames = most_frames
        self._most_bytes = most_bytes
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._error: Exception | None = None
        self._finished = False
        self._closed = False
        self._changed = Condition()

    @property
    def held_bytes(self) -> int:
        """Bytes of the pictures that wait now."""
        with self._changed:
            return self._bytes

    @property
    def closed(self) -> bool:
        """Whether the consumer has gone."""
        return self._closed

    def put(self, frame: Frame) -> bool:
        """Add a frame, waiting for room; return False if the consumer has gone."""
        with self._changed:
            while not self._closed and self._frames and self._is_full(frame):
                self._changed.wait()
            if self._closed:
                return False
            self._frames.append(frame)
            self._bytes += frame.image.nbytes
            self._changed.notify_all()
            return True

    def _is_full(self, frame: Frame) -> bool:
        return len(self._frames) >= self._most_frames or self._bytes + frame.image.nbytes > self._most_bytes

    def finish(self, error: Exception | None = None) -> None:
        """Say that no more frames come, and why if it was an error."""
        with self._changed:
            self._finished = True
            self._error = error
            self._changed.notify_all()

    def peek(self) -> Frame | None:
        """Return the next frame and leave it there; None after the last one. Waits; raises the producer's error."""
        with self._changed:
            self._wait_for_frame()
            return self._frames[0] if self._frames else None

    def get(self) -> Frame | None:
        """Take the next frame; None after the last one or after close(). Waits; raises the producer's error."""
        with self._changed:
            self._wait_for_frame()
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._bytes -= frame.image.nbytes
            self._changed.notify_all()
            return frame

    def _wait_for_frame(self) -> None:
        while not self._frames and not self._finished and not self._closed:
            self._changed.wait()
        if not self._frames and self._error is not None and not self._closed:
            raise self._error

    def close(self) -> None:
        """Drop what waits and release both sides."""
        with self._changed:
            self._closed = True
            self._frames.clear()
            self._bytes = 0
            self._changed.notify_all()
