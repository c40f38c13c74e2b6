"""What waits to be sent: texts in order, and the newest frame."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..stream.engine.slot import FramePool, write


@dataclass(frozen=True, slots=True, eq=False)
class WaitingFrame:
    """Hold a frame that is not sent yet.

    image: [H, W], [H, W, 1, 3 or 4], or the bytes of a JPEG, PNG or WebP.  lent: its array belongs to the outbox.
    """

    image: NDArray[np.generic] | bytes
    captured_unix_us: int
    sequence: int
    lent: bool = False


class Outbox:
    """Hand texts and frames from any threads to the one that sends; putting waits for nobody.

    Texts go first.  Of frames only the newest waits, and none goes sooner than interval_s after the one before it.
    Nothing is handed out while it is shut; texts that wait are then forgotten, the newest frame is not.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._texts: deque[str] = deque()
        self._frame: WaitingFrame | None = None
        self._next_at = 0.0
        self._interval_s = 0.0
        self._open = False
        self._over = False
        self._replaced = 0
        self._pool = FramePool()

    @property
    def replaced(self) -> int:
        """How many frames a newer one took the place of."""
        with self._changed:
            return self._replaced

    def put_text(self, text: str) -> None:
        """Put a text behind the others; it is let go of while the box is shut."""
        with self._changed:
            if self._open:
                self._texts.append(text)
                self._changed.notify_all()

    def lend(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Give a copy of a picture in an array of the box's own, for a frame that is then put in as lent."""
        with self._changed:
            array = self._pool.lend(image.shape)
        write(image, array)  # outside of the lock: nobody waits for it
        return array

    def give_back(self, frame: WaitingFrame) -> None:
        """Take the array of a lent frame back, once nobody reads it."""
        with self._changed:
            self._take_back(frame)

    def put_frame(self, frame: WaitingFrame) -> bool:
        """Put a frame in the place of the one that waits; False when nothing is sent any more."""
        with self._changed:
            if self._over:
                return False
            if self._frame is not None:
                self._replaced += 1
                self._take_back(self._frame)
            self._frame = frame
            self._changed.notify_all()
            return True

    def take(self) -> str | WaitingFrame | None:
        """Wait for what is to be sent next; None when nothing is sent any more."""
        with self._changed:
            while not self._over:
                wait_s = None
                if self._open and self._texts:
                    return self._texts.popleft()
                if self._open and self._frame is not None:
                    wait_s = self._next_at - self._clock()
                    if wait_s <= 0.0:
                        frame, self._frame = self._frame, None
                        self._next_at = self._clock() + self._interval_s
                        return frame
                self._changed.wait(wait_s)
            return None

    def pace(self, fps: float) -> None:
        """Hand out at most so many frames a second."""
        with self._changed:
            self._interval_s = 1.0 / fps
            self._next_at = min(self._next_at, self._clock() + self._interval_s)
            self._changed.notify_all()

    def open(self) -> None:
        """Hand things out from here on."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def shut(self) -> None:
        """Hand nothing out until it is opened again, and forget the texts."""
        with self._changed:
            self._open = False
            self._texts.clear()

    def close(self) -> None:
        """Hand nothing out any more."""
        with self._changed:
            self._over, self._frame = True, None
            self._texts.clear()
            self._changed.notify_all()

    def _take_back(self, frame: WaitingFrame) -> None:
        if frame.lent and isinstance(frame.image, np.ndarray):
            self._pool.give_back(cast(NDArray[np.uint8], frame.image))
