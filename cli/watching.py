"""What `onlooker watch` does: open the source and the model, look at the conditions, tell what becomes true."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError
from ..memory.time_phrases import format_clock
from ..model import Model
from ..settings import Settings
from ..stream.live.live_source import LiveSource
from ..stream.live.opening import feed_of, is_live, open_live
from ..stream.session import Session
from ..stream.source import Source, open_source
from ..stream.standing.watcher import Cleared, Fired, Watcher
from ..stream.watching import Watching
from .alerts import Alert, AlertWriter, JsonAlerts, PlainAlerts
from .asking import note, own_warnings, warnings_of
from .deliveries import Deliveries
from .evidence import EvidenceFolder
from .interruption import Interruption
from .live_notes import LiveNotes
from .model_options import ModelChoice, load

__all__ = ["WatchRequest", "note", "run"]


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """Hold what the command line asks for, checked.  fps None looks at every frame.

    hint: what is said to who watches real footage with pocket.
    """

    source: str
    conditions: tuple[str, ...]
    model: ModelChoice
    cooldown_us: int = 10_000_000
    look_us: int = 0
    until_first: bool = False
    stop_after_us: int | None = None
    fps: float | None = 2.0
    memory: Path | None = None
    evidence: Path | None = None
    as_json: bool = False
    cleared: bool = False
    verbose: bool = False
    quiet: bool = False
    hint: str = ""


class Teller:
    """Turn what a watcher finds into alerts: on stdout, in pictures, to commands and web hooks.

    folder: for the pictures, None for none.  cleared: whether commands and web hooks hear what is over, too.
    fired: alerts told, by the condition's number.
    """

    def __init__(
        self,
        source: Source,
        writer: AlertWriter,
        deliveries: Sequence[Deliveries],
        folder: Path | None,
        cleared: bool,
    ) -> None:
        self.fired: Counter[int] = Counter()
        self._source, self._writer, self._deliveries = source, writer, deliveries
        self._folder, self._cleared, self._failed = folder, cleared, False

    def tell(self, event: Fired | Cleared) -> None:
        """Tell one event."""
        watch = int(event.watch_id)
        origin_us = self._source.origin_unix_us if isinstance(self._source, LiveSource) else None
        unix_us = None if origin_us is None else origin_us + event.time_us
        if isinstance(event, Fired):
            self.fired[watch] += 1
            latency_ms = event.took_ms if unix_us is None else time.time() * 1e3 - unix_us / 1e3
            alert = Alert(
                "fired",
                watch,
                event.condition,
                event.time_us,
                unix_us,
                event.text,
                event.score,
                latency_ms,
                self._keep(watch, event),
                event.thumbnail,
            )
        else:
            alert = Alert("cleared", watch, event.condition, event.time_us, unix_us)
        self._writer.write(alert)
        if isinstance(event, Fired) or self._cleared:
            for delivery in self._deliveries:
                if not delivery.put(alert) and delivery.dropped == 1:
                    note("alerts come faster than they can be handed over; some are dropped")

    def _keep(self, watch: int, event: Fired) -> str | None:
        """Write an alert's picture; what the disk refuses is said once and costs no alert."""
        folder = self._folder
        if folder is None or not event.thumbnail:
            return None
        path = folder / f"watch-{watch}-at-{max(event.time_us, 0) // 1000:010d}ms.jpg"
        try:
            path.write_bytes(event.thumbnail)
        except OSError as error:
            if not self._failed:
                note(f"cannot write {path}: {error.strerror or error}")
            self._failed = True
            return None
        return str(path)


def run(request: WatchRequest, settings: Settings, deliveries: Sequence[Deliveries], interruption: Interruption) -> int:
    """Watch until the source ends, or it is told to stop; give the number of alerts.

    Raises the errors of open_source, load, Session and Watcher; KeyboardInterrupt when it is interrupted for good.
    """
    folder = None if request.evidence is None else EvidenceFolder(request.evidence).folder
    with own_warnings(), ExitStack() as opened:
        live = is_live(request.source)
        if live:
            feed = feed_of(request.source, request.fps)  # its time begins when the model is there
            identity, name = feed.identity, feed.name
            theatre = feed.kind == "theatre"
        else:
            source = opened.enter_context(open_source(request.source, request.fps, 0, request.stop_after_us))
            identity, name, theatre = source.identity, request.source, False
        if request.model.name == "pocket" and not (theatre or request.quiet):
            note(request.hint)
        model = Model(load(request.model, request.quiet))
        session = opened.enter_context(model.session(settings, memory=request.memory))
        session.belongs_to(identity, name)
        watcher = watcher_of(request, session)
        source = go_on(request, session, opened, interruption) if live or session.last_us is not None else source
        writer: AlertWriter = JsonAlerts(sys.stdout) if request.as_json else PlainAlerts(sys.stdout)
        teller = Teller(source, writer, deliveries, folder, request.cleared)

        def look(_watching: Watching) -> None:
            for event in watcher.check():
                teller.tell(event)
            if request.until_first and teller.fired:
                interruption.stop.set()

        watching = Watching(session, source, stop=interruption.stop, on_frame=look)
        try:
            interruption.watching = True
            for _ in watching:
                interruption.watching = False
                if isinstance(source, LiveSource) and not source.report.delivered:
                    raise SourceError(f"no frame came: {source.status.reason or f'{name} had no time to give one'}")
        finally:
            interruption.watching = False
            left = sum(delivery.close() for delivery in deliveries)
            for warning in warnings_of(source.name, source.report):
                note(warning)
            if not request.quiet:
                for line in summary_of(request, watching, watcher, teller.fired, left):
                    note(line)
        return teller.fired.total()


def watcher_of(request: WatchRequest, session: Session) -> Watcher:
    """Make the watcher with all conditions.  Raises SettingsError for one that cannot be asked."""
    watcher = Watcher(session)
    for number, condition in enumerate(request.conditions, 1):
        added = watcher.add(str(number), condition, request.cooldown_us, request.look_us)
        if request.verbose:
            note(f"{added.text}: the model is asked {added.asked!r}")
    return watcher


def go_on(request: WatchRequest, session: Session, opened: ExitStack, interruption: Interruption) -> Source:
    """Open a live source, or a file behind what its memory has."""
    last_us = session.last_us
    if last_us is not None and not request.quiet:
        note(f"{request.memory} remembers up to {format_clock(last_us)}: going on from there")
    start_us = 0 if last_us is None else last_us + 1
    end_us = None if request.stop_after_us is None else start_us + request.stop_after_us
    if not is_live(request.source):
        return opened.enter_context(
            open_source(request.source, request.fps, 0, end_us, after_us=last_us, taken=session.exact)
        )
    return opened.enter_context(
        open_live(
            request.source,
            request.fps,
            start_us=start_us,
            end_us=end_us,
            on_status=LiveNotes(note, interruption.stop, request.quiet),
            stop=interruption.stop,
        )
    )


def summary_of(
    request: WatchRequest, watching: Watching, watcher: Watcher, fired: Counter[int], left: int
) -> list[str]:
    """Say what was watched and what was told."""
    report, work = watching.report, watcher.report
    seen = f"{report.frames} frames, {work.checks} looks ({work.asked} questions to the model)"
    lines = [f"watched up to {format_clock(report.now_us)}: {seen}"]
    for number, condition in enumerate(request.conditions, 1):
        count = fired[number]
        lines.append(f"{condition}: {'never' if not count else 'once' if count == 1 else f'{count} times'}")
    if work.unsure:
        lines.append(
            f"the model said neither yes nor no {work.unsure} of {work.asked} times; ask plainer, such as "
            "'is there a dog?'"
        )
    if left:
        lines.append(f"{left} alerts could not be handed over")
    return lines
