"""The schedule: which step the device does next.

Steps are small and chosen anew after each: what a caller waits for (looking at a memory, closing), then questions, then
standing questions, then frames.  Answers are decoded in turns, a token each; frames are taken in turns too, one of each
session, that which was served longest ago first.  A frame that waited longer than patience_s gets a turn between two
tokens, so that questions without end do not blind a session.

A question pins what had been seen when it came: the frame that waited then is taken in before it is read, and of its
session none that came later is.  Where more questions are decoded than concurrent_answers, the frames of those that
wait to be read wait with them, and are counted as dropped when newer ones come.
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from ..answering import AnswerStream
from .events import FramesDropped
from .inquiry import Inquiry
from .lane import Lane
from .settings import EngineSettings

StepKind = Literal["command", "overdue", "read", "decode", "check", "frame", "news"]


@dataclass(frozen=True, slots=True, eq=False)
class Answering:
    """Hold an answer that is being decoded."""

    lane: Lane
    inquiry: Inquiry
    stream: AnswerStream


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Name what to do, and for whom.  lane: None for "decode", which takes the answer whose turn it is.

    overdue: drop an inquiry that was cancelled, or whose deadline passed, before it was read.  news: of dropped frames.
    """

    kind: StepKind
    lane: Lane | None = None
    inquiry: Inquiry | None = None
    news: Sequence[FramesDropped] = ()


class Schedule:
    """Choose steps.  Changes nothing in the lanes; for one thread, under the engine's lock."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self._patient = True  # an answer had a step since an impatient frame had one

    def next(self, lanes: Collection[Lane], decoding: deque[Answering], now: float) -> Step | None:
        """Choose the next step; None where there is nothing to do.  now: by time.monotonic()."""
        for lane in lanes:
            if lane.commands:
                return Step("command", lane)
            for inquiry in lane.unread:
                if inquiry.pinned is None and inquiry.is_over(now):
                    return Step("overdue", lane, inquiry)
        ready = [lane for lane in lanes if lane.slot is not None and not lane.unread]
        asking = [lane for lane in lanes if lane.unread]
        if (asking or decoding) and self._patient:
            waited = [lane for lane in ready if now - lane.waits_since > self.settings.patience_s]
            if waited:
                self._patient = False
                return Step("frame", _served_longest_ago(waited))
        self._patient = True
        if asking and len(decoding) < self.settings.concurrent_answers:
            return Step("read", min(asking, key=lambda lane: (lane.answering, lane.unread[0].asked)))
        if decoding:
            return Step("decode")
        for lane in lanes:
            if lane.dirty and lane.watchers:
                return Step("check", lane)
        if ready:
            return Step("frame", _served_longest_ago(ready))
        for lane in lanes:
            if news := lane.news(now):
                return Step("news", lane, news=news)
        return None


def _served_longest_ago(lanes: Sequence[Lane]) -> Lane:
    return min(lanes, key=lambda lane: lane.served)
