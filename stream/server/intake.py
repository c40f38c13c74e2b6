"""A session's intake: the newest picture waits, one is decoded, and the rest are counted as dropped."""

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from ...frame import Frame
from ..engine.events import DropReason
from ..engine.live_session import LiveSession
from ..protocol.errors import EventError
from .pictures import PictureDecoder


class FlightBudget:
    """Bound the bytes of pictures that wait to be decoded, or are being decoded, of all sessions together."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.nbytes = 0

    def take(self, size: int) -> bool:
        """Say whether so many more fit, and count them if so."""
        if self.nbytes + size > self._most_bytes:
            return False
        self.nbytes += size
        return True

    def give_back(self, size: int) -> None:
        """Count so many as gone."""
        self.nbytes -= size


@dataclass(frozen=True, slots=True, eq=False)
class CodedFrame:
    """Hold a picture as it came.

    sequence: the client's number for it.  captured_unix_us: by the server's clock.  after_gap: the client was away
    before it.
    """

    image: memoryview
    sequence: int
    captured_unix_us: int
    after_gap: bool = False

    def __len__(self) -> int:
        return len(self.image)


class Intake:
    """Bring a client's pictures to a live session, in order, without ever making its socket wait.

    seen: told of each frame that the session accepted.  refused: told of each that cannot be decoded.  For one loop.
    """

    def __init__(
        self,
        live: LiveSession,
        decoder: PictureDecoder,
        budget: FlightBudget,
        seen: Callable[[CodedFrame], None],
        refused: Callable[[EventError], None],
    ) -> None:
        self._live, self._decoder, self._budget = live, decoder, budget
        self._seen, self._refused = seen, refused
        self._pending: CodedFrame | None = None
        self._work: asyncio.Task[None] | None = None
        self._came = self._gone = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def busy(self) -> bool:
        """Whether a picture waits or is being decoded."""
        return self._gone < self._came

    def put(self, frame: CodedFrame) -> None:
        """Take a picture; it replaces the one that waits."""
        self._came += 1
        if self._pending is not None:
            before, self._pending = self._pending, None
            self._drop(before)
            if before.after_gap:
                frame = replace(frame, after_gap=True)
        if not self._budget.take(len(frame)):
            self._live.count_dropped("busy", 1, frame.sequence)
            self._done()
            return
        self._pending = frame
        if self._work is None:
            self._work = asyncio.create_task(self._decode())

    async def settled(self) -> None:
        """Wait until all that came so far was handed over or dropped."""
        if self.busy:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((self._came, waiter))
            await waiter

    async def close(self) -> None:
        """Drop what waits, and wait for what is being decoded."""
        if self._pending is not None:
            before, self._pending = self._pending, None
            self._drop(before)
        if self._work is not None:
            await asyncio.wait([self._work])

    async def _decode(self) -> None:
        try:
            while self._pending is not None:
                frame, self._pending = self._pending, None
                try:
                    if await self._decoder.run(functools.partial(self._hand_over, frame)):
                        self._seen(frame)
                except EventError as error:
                    reason: DropReason = "too_big" if error.code == "frame_too_big" else "bad_image"
                    self._live.count_dropped(reason, 1, frame.sequence)
                    self._refused(error)
                finally:
                    self._budget.give_back(len(frame))
                    self._done()
        finally:
            self._work = None

    def _hand_over(self, frame: CodedFrame) -> bool:
        """Decode a picture and let the session see it; in one of the decoder's threads."""
        pixels = self._decoder.pixels(frame.image)
        seen = Frame(pixels, 0, frame.sequence)
        return self._live.see(seen, captured_unix_us=frame.captured_unix_us, copy=False, after_gap=frame.after_gap)

    def _drop(self, frame: CodedFrame) -> None:
        self._live.count_dropped("busy", 1, frame.sequence)
        self._budget.give_back(len(frame))
        self._done()

    def _done(self) -> None:
        self._gone += 1
        while self._waiters and self._waiters[0][0] <= self._gone:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
