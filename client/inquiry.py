"""A question on its way to a server and back."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from ..answer import Answer, Evidence, Status
from ..errors import BusyError, OnlookerError, ProtocolError
from ..stream.protocol.server_events import EvidencePiece, ResponseDone
from .failures import failure_of

GRACE_S = 10.0
"""How much longer than its deadline an answer may take before the server is given up."""


class RemoteInquiry(Iterator[str]):
    """Follow one question: iterate over the answer's text as it comes, or read `answer`, which waits for it.

    All of it may be used from any thread.  id: of the request.
    """

    def __init__(
        self,
        event_id: str,
        question: str,
        deadline_s: float | None,
        cancel: Callable[["RemoteInquiry"], None],
        fetch: Callable[[str], bytes],
    ) -> None:
        self.id, self.question = event_id, question
        self.response_id: str | None = None
        self.cancelled = False
        self._cancel, self._fetch = cancel, fetch
        self._give_up_at = None if deadline_s is None else time.monotonic() + deadline_s + GRACE_S
        self._changed = threading.Condition()
        self._pieces: deque[str] = deque()
        self._handed = False
        self._broken = False
        self._evidence: tuple[EvidencePiece, ...] = ()
        self._done: ResponseDone | None = None
        self._failure: OnlookerError | None = None
        self._answer: Answer | None = None

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._done is not None or self._failure is not None

    @property
    def answer(self) -> Answer:
        """The whole answer; waits for it.

        Raises as the same question of an engine's session does, ProtocolError where the session is over, and BusyError
        where no answer came some seconds behind the deadline that was given.
        """
        self._wait(lambda: self.done)
        if self._failure is not None:
            raise self._failure
        assert self._done is not None
        if self._answer is None:
            self._answer = self._whole(self._done)
        return self._answer

    def cancel(self) -> None:
        """Stop it; what came so far is the answer, with the status "cancelled".  Does nothing when it has ended."""
        if not self.done:
            self.cancelled = True
            self._cancel(self)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        self._wait(lambda: bool(self._pieces) or self.done or self._broken)
        with self._changed:
            if self._broken:
                raise ProtocolError(
                    "the server was restarted within this answer and begins it anew; read .answer, or ask again"
                )
            if self._pieces:
                self._handed = True
                return self._pieces.popleft()
        if self._failure is not None:
            raise self._failure
        raise StopIteration

    def begin(self, response_id: str) -> None:
        """Note that the server took the question, or took it again after a restart (for the session)."""
        with self._changed:
            again, self.response_id = self.response_id is not None, response_id
            if again:
                self._pieces.clear()
                self._evidence, self._broken = (), self._handed
            self._changed.notify_all()
        if self.cancelled:
            self._cancel(self)

    def piece(self, text: str) -> None:
        """Take a piece (for the session)."""
        with self._changed:
            self._pieces.append(text)
            self._changed.notify_all()

    def evidence(self, pieces: Sequence[EvidencePiece]) -> None:
        """Take the evidence (for the session)."""
        self._evidence = tuple(pieces)

    def end(self, done: ResponseDone) -> None:
        """Take the end (for the session)."""
        with self._changed:
            if done.status == "failed" and done.error is not None:
                self._failure = self._failure or failure_of(done.error)
            else:
                self._done = done
            self._changed.notify_all()

    def fail(self, failure: OnlookerError) -> None:
        """End it with an error, once (for the session)."""
        with self._changed:
            if not self.done:
                self._failure = failure
            self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool]) -> None:
        with self._changed:
            while not ready():
                left_s = None if self._give_up_at is None else self._give_up_at - time.monotonic()
                if left_s is not None and left_s <= 0.0:
                    break
                self._changed.wait(left_s)
            else:
                return
        self.cancel()
        self.fail(BusyError(f"no answer to {self.question!r:.80} came in time; ask again, with a later deadline_s"))

    def _whole(self, done: ResponseDone) -> Answer:
        status: Status = "answered"
        if done.reason == "not_remembered":
            status = "not_remembered"
        elif done.status in ("cancelled", "failed") or done.reason == "deadline":
            status = "cancelled"
        elif done.status == "incomplete":
            status = "truncated"
        return Answer(
            question=self.question,
            text=done.text,
            status=status,
            asked_at_us=done.asked_at_us,
            refers_to_us=done.refers_to_us,
            evidence=tuple(
                Evidence(
                    one.start_us,
                    one.end_us,
                    one.score,
                    one.source,
                    b"" if one.image is None else self._fetch(one.image),
                )
                for one in self._evidence
            ),
            forgotten_us=done.forgotten_us,
            timings=done.timings,
            usage=done.usage,
        )
