"""A hand-over of one thing between threads, in which the newest wins."""

from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Hold at most one thing, the newest that was put in; nothing ever queues, and put() waits for nobody.

    Each thing is taken once, by one of those who take.  received: things that were put in.  replaced: those
    among them that a newer one took the place of.  All of it may be used from any thread.
    """

    __slots__ = ("_changed", "_finished", "_item", "_received", "_replaced")

    def __init__(self) -> None:
        self._changed = Condition()
        self._item: T | None = None
        self._received = 0
        self._replaced = 0
        self._finished = False

    @property
    def received(self) -> int:
        """How many things were put in."""
        with self._changed:
            return self._received

    @property
    def replaced(self) -> int:
        """How many of them a newer one took the place of before anyone took them."""
        with self._changed:
            return self._replaced

    @property
    def finished(self) -> bool:
        """Whether nothing comes any more."""
        with self._changed:
            return self._finished

    @property
    def over(self) -> bool:
        """Whether nothing waits and nothing comes any more."""
        with self._changed:
            return self._finished and self._item is None

    def put(self, item: T) -> T | None:
        """Put a thing in; give back the one that it replaced.  After finish() or close() it is let go of."""
        with self._changed:
            if self._finished:
                return None
            before, self._item = self._item, item
            self._received += 1
            if before is not None:
                self._replaced += 1
            self._changed.notify_all()
            return before

    def take(self) -> T | None:
        """Take what waits, or None, at once."""
        with self._changed:
            item, self._item = self._item, None
            return item

    def wait(self, timeout_s: float | None = None) -> T | None:
        """Take the next thing; wait for it at most timeout_s.  None when none came, or none will."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._finished, timeout_s)
            item, self._item = self._item, None
            return item

    def peek(self) -> T | None:
        """Give what waits, or None, and leave it there."""
        with self._changed:
            return self._item

    def remove(self, item: T) -> bool:
        """Take just this thing; say whether it waited."""
        with self._changed:
            waited = self._item is item
            if waited:
                self._item = None
            return waited

    def finish(self) -> None:
        """Say that nothing more comes; what waits may still be taken."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """Let go of what waits, and release all who wait."""
        with self._changed:
            self._finished = True
            self._item = None
            self._changed.notify_all()
