"""The watcher: looks at a session's standing questions whenever something has changed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...errors import BusyError, SettingsError
from ...memory.block import Context
from ...memory.context import assemble
from ...memory.traces import unit
from ..ingest import Ingest
from ..reading import check_question
from ..seen import Seen, within
from ..session import Session
from .condition import Manner, tidy
from .trigger import Trigger, TriggerSettings
from .verdict import Judge, Verdict

MOST_WATCHES = 16
MOST_LOOK_US = 3_600_000_000
UNSURE = Verdict(None)


@dataclass(frozen=True, slots=True)
class Condition:
    """Hold a standing question.  asked: what the model is asked for it.  look_us: as in Watcher.add."""

    watch_id: str
    text: str
    asked: str
    cooldown_us: int
    look_us: int


@dataclass(frozen=True, slots=True)
class Fired:
    """Say that a condition became true.

    time_us: stream time of the keyframe that shows it.  text: what the model said.  score: how sure it was, from 0 to
    1, None where its words were read.  thumbnail: JPEG, or empty.  took_ms: from the check's begin to this.
    """

    watch_id: str
    condition: str
    time_us: int
    text: str
    score: float | None
    thumbnail: bytes
    took_ms: float


@dataclass(frozen=True, slots=True)
class Cleared:
    """Say that a condition that had fired is not true any more.  time_us: of the keyframe that shows it no more."""

    watch_id: str
    condition: str
    time_us: int


@dataclass(frozen=True, slots=True)
class WatcherReport:
    """Count a watcher's work.

    checks: how often something had changed.  asked: questions put to the model.  glanced: those that a glance answered
    without it.  unsure: answers that were neither yes nor no.
    """

    checks: int = 0
    asked: int = 0
    glanced: int = 0
    unsure: int = 0


@dataclass(slots=True, eq=False)
class _Watch:
    """Hold a standing question's rows [n, D], its words' directions [m, D], its state, and what was last read.

    current: whether it was looked at since it was added.
    """

    condition: Condition
    rows: Tensor
    words: NDArray[np.float32]
    trigger: Trigger
    current: bool = False
    last: "_View | None" = None
    verdict: Verdict = UNSURE


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Hold what a look reads: a context, the directions [n, D] of its visual tokens, and the newest keyframe."""

    context: Context
    features: NDArray[np.float32]
    newest: Seen


class Watcher:
    """Watch a session for conditions.  For one thread; other threads may feed and ask the session meanwhile.

    A look is taken when a keyframe was kept because something changed; a still scene, and the keyframes that are kept
    for the time that passes, cost nothing.  A look reads the newest keyframe alone (or those of the last look_us), run
    over the prompt's beginning without any memory, once for all conditions; then each condition is one pass of the
    model's, or none where a glance at the visual features says that nothing like it is there.  Nothing that is stored
    depends on it.

    Changes are seen at check(): what comes and goes between two of them is not looked at.

    most: how many conditions there may be.  manner: how the model is asked, by default as its card says.
    Raises ModelError for a card that cannot be used.
    """

    def __init__(
        self,
        session: Session,
        *,
        most: int = MOST_WATCHES,
        manner: Manner | None = None,
        judge: Judge | None = None,
    ) -> None:
        self._session, self._most = session, most
        self._manner = Manner.of(session.backbone.card) if manner is None else manner
        self._judge = Judge(session.backbone) if judge is None else judge
        self._watches: dict[str, _Watch] = {}
        self._changes = -1  # of the session's, when the last look was taken
        self._report = WatcherReport()

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What is watched for, in the order in which it was added."""
        return tuple(watch.condition for watch in self._watches.values())

    @property
    def report(self) -> WatcherReport:
        """What was done so far."""
        return self._report

    def add(self, watch_id: str, condition: str, cooldown_us: int = 10_000_000, look_us: int = 0) -> Condition:
        """Watch for a condition: a question ("is there a snowman?"), a thing ("a snowman") or a sentence.

        cooldown_us: least stream time from one alert to the next.  look_us: read the keyframes of so much stream time
        before now, as far as they are at hand (those that wait for their chunk, and Settings.recent_frames); 0 for the
        newest one alone.  It is looked at at the next check(), whether anything changed or not.
        Raises SettingsError for a name that is taken and for values outside their limits, BusyError when there are
        too many.
        """
        if watch_id in self._watches:
            raise SettingsError(f"there is a watch {watch_id!r} already; remove it first, or choose another name")
        if len(self._watches) >= self._most:
            raise BusyError(f"there are {self._most} watches, the most there may be; remove one first")
        if not 0 <= look_us <= MOST_LOOK_US:
            raise SettingsError(f"a look of {look_us / 1e6:g} s; give 0 to {MOST_LOOK_US // 1_000_000} s")
        text = tidy(condition)
        asked = self._manner.put(text)
        rules = TriggerSettings(cooldown_us, self._manner.rise, self._manner.fall)
        rows, words = self._session.backbone.question(asked)
        check_question(rows, words)
        added = Condition(watch_id, text, asked, cooldown_us, look_us)
        self._watches[watch_id] = _Watch(added, rows, _directions(rows[words]), Trigger(rules))
        return added

    def remove(self, watch_id: str) -> None:
        """Watch for it no more.  Raises SettingsError for one that is not there."""
        if self._watches.pop(watch_id, None) is None:
            raise SettingsError(
                f"there is no watch {watch_id!r}; these are there: {', '.join(self._watches) or 'none'}"
            )

    def check(self) -> list[Fired | Cleared]:
        """Look, if something changed since the last look, and tell what became true and what became false.

        Cheap when nothing changed.  When it raises (ModelError, SettingsError for a closed session) nothing was told
        and the same look is taken again by the next call.
        """
        if not self._watches:
            return []
        began = time.perf_counter()
        now_us, changes, views = self._look()
        verdicts = {watch_id: self._ask(self._watches[watch_id], view) for watch_id, view in views.items()}
        events: list[Fired | Cleared] = []
        moves: list[tuple[_Watch, Trigger]] = []
        for watch_id, watch in self._watches.items():
            verdict, view = verdicts.get(watch_id), views.get(watch_id, watch.last)
            if view is None:
                continue  # nothing was seen yet
            trigger, edge = watch.trigger.step(now_us, None if verdict is None else verdict.score)
            moves.append((watch, trigger))
            condition, shown_us = watch.condition, view.newest.time_us
            if edge == "fired":
                said = watch.verdict if verdict is None else verdict
                text = said.text if said.text is not None else self._judge.words(watch.rows, view.context)
                took_ms = (time.perf_counter() - began) * 1e3
                score = said.score if said.text is None else None
                picture = view.newest.thumbnail
                events.append(Fired(watch_id, condition.text, shown_us, text, score, picture, took_ms))
            elif edge == "cleared":
                events.append(Cleared(watch_id, condition.text, shown_us))
        self._commit(moves, verdicts, views, changes)
        return events

    def _look(self) -> tuple[int, int, Mapping[str, _View]]:
        """Encode what changed; give the time, the count of changes, and what each condition that is due reads."""
        with self._session.at_hand() as ingest:
            now_us, changes = ingest.now_us, ingest.changes
            due = {
                watch_id: watch.condition.look_us
                for watch_id, watch in self._watches.items()
                if changes != self._changes or not watch.current
            }
            seen = ingest.recent() if due else []
            if not seen:
                return now_us, changes, {}
            chosen = {
                watch_id: 1 if not look_us else max(1, sum(_meets(item, now_us, now_us - look_us) for item in seen))
                for watch_id, look_us in due.items()
            }
            views = {count: _view(ingest, seen[-count:]) for count in set(chosen.values())}
            return now_us, changes, {watch_id: views[count] for watch_id, count in chosen.items()}

    def _ask(self, watch: _Watch, view: _View) -> Verdict:
        """Find out whether a condition holds, by a glance where that is enough."""
        glance = self._manner.glance
        if glance is not None and float((watch.words @ view.features.T).max()) <= glance:
            self._report = replace(self._report, glanced=self._report.glanced + 1)
            return Verdict(0.0)
        verdict = self._judge.judge(watch.rows, view.context)
        unsure = self._report.unsure + (verdict.score is None)
        self._report = replace(self._report, asked=self._report.asked + 1, unsure=unsure)
        return verdict

    def _commit(
        self,
        moves: Sequence[tuple[_Watch, Trigger]],
        verdicts: Mapping[str, Verdict],
        views: Mapping[str, _View],
        changes: int,
    ) -> None:
        """Take over what a check found, now that all of it went well."""
        for watch, trigger in moves:
            watch.trigger = trigger
            waits = trigger.holds and not trigger.told  # what it will tell when the cool-down has passed
            watch_id = watch.condition.watch_id
            if watch_id in verdicts:
                watch.current, watch.verdict = True, verdicts[watch_id]
                watch.last = views[watch_id]
            if not waits:
                watch.last = None  # its context is of no more use
        if views:
            self._changes = changes
            self._report = replace(self._report, checks=self._report.checks + 1)


def _view(ingest: Ingest, seen: Sequence[Seen]) -> _View:
    """Run keyframes over the sink, without memory."""
    block = ingest.prefill_frames(seen)
    assert block is not None
    layout, device = ingest.backbone.layout, ingest.backbone.device
    context = assemble(layout, [ingest.sink, block], device=device)
    return _View(context, np.concatenate([_directions(item.features) for item in seen]), seen[-1])


def _meets(item: Seen, now_us: int, since_us: int) -> bool:
    return within(item.time_us, now_us + 1 if item.end_us is None else item.end_us, since_us, None)


def _directions(vectors: Tensor) -> NDArray[np.float32]:
    return unit(vectors.detach().float().cpu().numpy())
