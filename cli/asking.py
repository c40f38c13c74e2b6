"""What `onlooker ask` does: open the source, load the model, watch, put the questions, write the answers."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ..answer import Answer
from ..errors import SettingsError, SourceError
from ..memory.time_phrases import format_clock
from ..model import Model
from ..models.backbone import Sampling
from ..models.cache import locate
from ..models.fit import CacheShape, bytes_text, describe, fit, weights_numbers
from ..models.machine import device_room
from ..models.tokens import VisualTokens
from ..pruning import build_reading, build_recipe
from ..settings import Settings
from ..stream.live.live_source import LiveSource
from ..stream.live.opening import feed_of, is_live, open_live
from ..stream.session import Session
from ..stream.source import Source, SourceInfo, SourceReport, open_source
from ..stream.watching import Moment, Watching
from .answers import AnswerWriter, JsonAnswers, PlainAnswers
from .evidence import EvidenceFolder
from .interruption import Interruption
from .live_notes import LiveNotes
from .model_options import ModelChoice, load
from .progress import Progress

SLACK_US = 1_000_000
"""A moment so short a time behind the last frame counts as reached: players round the length of a clip up."""

REPORTED_FPS = 30.0
"""What the fit report reckons with when every frame is looked at: a source does not say how many come a second."""

LATE_US = 36_000_000_000
"""Ten hours: the fit report reckons with time stamps as long as they are then."""


UNCALIBRATED = (
    "{model} has no calibrated retrieval heads, so memory is searched by its visual features alone; choose heads once "
    "with: onlooker memory calibrate --model {model}"
)


@dataclass(frozen=True, slots=True)
class Request:
    """Hold what the command line asks for, checked.  fps None looks at every frame.

    source: None to ask a memory alone.  memory: the folder that keeps it.
    """

    source: str | None
    questions: tuple[str, ...]
    model: ModelChoice
    moments_us: tuple[int, ...] = ()
    start_us: int = 0
    end_us: int | None = None
    fps: float | None = 2.0
    max_tokens: int = 64
    temperature: float = 0.0
    as_json: bool = False
    verbose: bool = False
    quiet: bool = False
    memory: Path | None = None


def run(request: Request, settings: Settings, folder: EvidenceFolder | None, interruption: Interruption) -> None:
    """Answer a request on stdout.  The source is opened first, then the model: what is wrong with them shows at once.

    Raises the errors of open_source, load and Session; KeyboardInterrupt when it is interrupted for good.
    """
    if request.source is None:
        recall_only(request, settings, folder)
        return
    with own_warnings(), ExitStack() as opened:
        live = is_live(request.source)
        source: Source | None = None
        if live:
            feed = feed_of(request.source, request.fps)  # its time begins when the model is there
            identity, name = feed.identity, feed.name
        else:
            source = opened.enter_context(open_source(request.source, request.fps, request.start_us, request.end_us))
            identity, name = source.identity, request.source
        check_names(settings)
        model = Model(load(request.model, request.quiet))
        if not (model.backbone.card.retrieval_heads or request.quiet):
            note(UNCALIBRATED.format(model=request.model.name))
        if request.verbose and source is not None:
            for line in fit_of(model, request, settings, source.info):
                note(line)
        sampling = Sampling(request.max_tokens, request.temperature)
        with model.session(settings, memory=request.memory) as session:
            session.belongs_to(identity, name)
            warn_of_damage(request, session)
            for question in request.questions:
                session.check(question)
            if source is None:
                interruption.watching = True  # before its first note, at which somebody may press Ctrl-C
                source = opened.enter_context(tune_in(request, session.last_us, interruption))
            elif session.last_us is not None:
                source.close()
                source = opened.enter_context(go_on(request, session.last_us, session.exact))
            last = max(request.moments_us, default=None)
            ends = [time for time in (last, request.end_us, source.info.duration_us) if time is not None]
            progress = None if request.quiet else Progress(sys.stderr, min(ends, default=None))
            writer = writer_of(request)
            watching = Watching(
                session,
                source,
                request.moments_us,
                slack_us=max(SLACK_US, round(2e6 / request.fps) if request.fps else 0),
                stop=interruption.stop,
                on_frame=None if progress is None else progress.update,
            )
            try:
                interruption.watching = True
                for moment in watching:
                    interruption.watching = moment.reason == "reached"  # else there is nothing more to watch
                    if progress is not None:
                        progress.clear()
                    if isinstance(source, LiveSource) and not source.report.delivered:
                        raise SourceError(f"no frame came: {source.status.reason or f'{name} had no time to give one'}")
                    for remark in remarks_on(moment):
                        note(remark)
                    if moment.fresh or moment.reason == "reached":
                        put(request, session, sampling, writer, folder, moment.now_us)
            finally:
                interruption.watching = False
                if isinstance(writer, PlainAnswers):
                    writer.abandon()
                if progress is not None:
                    progress.close(watching.report)
                for warning in warnings_of(source.name, source.report):
                    note(warning)


def tune_in(request: Request, last_us: int | None, interruption: Interruption) -> LiveSource:
    """Open a live source: time begins now, behind what its memory has.

    It ends by the clock at --to, or behind the last --at, even when no frame comes.  Raises SettingsError for a moment
    that is over already.
    """
    assert request.source is not None
    if last_us is not None:
        check_ahead(request, last_us)
        if request.end_us is not None and request.end_us <= last_us:
            raise SettingsError(
                f"--to {format_clock(request.end_us)} is over: {request.memory} remembers up to "
                f"{format_clock(last_us)}, and a live source goes on from there; give a later --to, or none and stop "
                "with Ctrl-C"
            )
    end_us = request.end_us
    if end_us is None and request.moments_us:
        end_us = max(request.moments_us) + 1
    return open_live(
        request.source,
        request.fps,
        start_us=0 if last_us is None else last_us + 1,
        end_us=end_us,
        on_status=LiveNotes(note, interruption.stop, request.quiet),
        stop=interruption.stop,
    )


def go_on(request: Request, last_us: int, taken: bool) -> Source:
    """Open the source behind what was watched into the memory before.

    Raises SettingsError for a moment that was watched already: what came later is remembered too.
    """
    assert request.source is not None
    check_ahead(request, last_us)
    return open_source(request.source, request.fps, request.start_us, request.end_us, after_us=last_us, taken=taken)


def check_ahead(request: Request, last_us: int) -> None:
    """Say that it goes on from a moment; raise SettingsError for questions put before it."""
    early = [moment for moment in request.moments_us if moment < last_us]
    if early:
        raise SettingsError(
            f"--at {format_clock(early[0])} was watched before: {request.memory} remembers all up to "
            f"{format_clock(last_us)}; ask without --at, such as 'what was there at {format_clock(early[0])}?'"
        )
    if not request.quiet:
        note(f"{request.memory} remembers up to {format_clock(last_us)}: going on from there")


def recall_only(request: Request, settings: Settings, folder: EvidenceFolder | None) -> None:
    """Answer from a memory in a folder, without a video."""
    check_names(settings)
    model = Model(load(request.model, request.quiet))
    sampling = Sampling(request.max_tokens, request.temperature)
    with model.session(settings, memory=request.memory, read_only=True) as session:
        warn_of_damage(request, session)
        for question in request.questions:
            session.check(question)
        writer = writer_of(request)
        try:
            put(request, session, sampling, writer, folder, session.last_us or 0)
        finally:
            if isinstance(writer, PlainAnswers):
                writer.abandon()


def warn_of_damage(request: Request, session: Session) -> None:
    """Say that a memory is damaged, where that is known."""
    if session.damage:
        note(
            f"{request.memory} is damaged in {session.damage} places, which are skipped; see: onlooker memory verify "
            f"{request.memory}"
        )


def fit_of(model: Model, request: Request, settings: Settings, info: SourceInfo) -> list[str]:
    """Say what the weights take, and how long the memory's cap will hold."""
    backbone, heads = model.backbone, model.backbone.card.retrieval_heads
    layout, room = backbone.layout, device_room(backbone.device)
    height, width = backbone.grid_of(info.height, info.width)
    nothing, no_cells = torch.empty((0, backbone.hidden_size)), torch.empty((0, 3), dtype=torch.int32)
    text = backbone.frame(VisualTokens(nothing, no_cells, (height, width), (LATE_US,)))  # a stamp and its markers
    group = layout.query_heads // layout.kv_heads
    found = fit(
        CacheShape.of_layout(layout, backbone.hidden_size),
        settings,
        number_bytes=layout.dtype.itemsize,
        frame_tokens=height * width,
        stamp_tokens=len(text),
        key_heads=len({(head.layer, head.head // group) for head in heads}),
        fps=request.fps or REPORTED_FPS,
    )
    weights = weights_numbers(locate(request.model.name, request.model.revision)) * layout.dtype.itemsize
    kind = str(layout.dtype).removeprefix("torch.")
    free = f"{bytes_text(room.free_bytes)} of {bytes_text(room.total_bytes)} are free there"
    used = ", ".join(f"{head.layer}:{head.head}" for head in heads) or "none"
    return [
        f"model: {bytes_text(weights)} of weights on {backbone.device} ({kind}); {free}; retrieval heads {used}",
        describe(found),
    ]


def writer_of(request: Request) -> AnswerWriter:
    """Choose how answers are written: headings only where there is more than one."""
    if request.as_json:
        return JsonAnswers(sys.stdout)
    many = len(request.questions) > 1 or len(request.moments_us) > 1
    return PlainAnswers(sys.stdout, headings=many, moments=bool(request.moments_us))


def put(
    request: Request,
    session: Session,
    sampling: Sampling,
    writer: AnswerWriter,
    folder: EvidenceFolder | None,
    now_us: int,
) -> None:
    """Ask every question now, and write each answer before the next one is asked."""
    for number, question in enumerate(request.questions, 1):
        writer.begin(question, now_us)
        stream = session.ask_stream(question, sampling=sampling)
        for piece in stream:
            writer.piece(piece)
        answer = stream.answer
        paths: Sequence[str | None] = ()
        if folder is not None:
            paths = folder.write(answer, number, bool(request.moments_us))
        writer.end(answer, paths)
        if request.verbose:
            note(timings_of(answer))
        if folder is not None and folder.failure is not None:
            note(folder.failure)
            folder.failure = None


def remarks_on(moment: Moment) -> list[str]:
    """Say why questions are put at another time than was asked for."""
    now = format_clock(moment.now_us)
    missed = " and ".join(format_clock(time) for time in moment.missed_us)
    action = "asking now" if moment.fresh else "nothing new was seen since the last answers"
    if moment.reason == "stopped":
        return [f"stopped at {now}: {action if not moment.fresh else 'answering from what was seen so far'}"]
    if moment.reason == "failed":
        return [f"watching broke off at {now}: {action if not moment.fresh else 'answering from what was seen so far'}"]
    if moment.reason == "ended" and missed:
        return [f"the stream ended at {now}, before {missed}: {action}"]
    return []


def warnings_of(name: str, report: SourceReport) -> list[str]:
    """Say what was wrong with a source that could be read all the same."""
    warnings = []
    if report.truncated_at_us is not None:
        warnings.append(
            f"{name} is cut or damaged: it was read up to {format_clock(report.truncated_at_us)}; "
            "copy it again if it should be longer"
        )
    if report.repaired:
        warnings.append(
            f"{name}: {report.repaired} of {report.decoded} time stamps were missing or not increasing; "
            "they were repaired, so times may be a little off"
        )
    return warnings


def check_names(settings: Settings) -> None:
    """Refuse a recipe or reading that there is not, before a model is loaded.  Raises SettingsError."""
    build_recipe(settings.recipe, grid=(1, 1), rate=settings.prune_rate)
    build_reading(settings.reading, settings.reading_rate)


def timings_of(answer: Answer) -> str:
    """Write an answer's timings and token counts in one line."""
    timings = ", ".join(
        f"{name.removesuffix('_ms').replace('_', ' ')} {ms:.0f} ms" for name, ms in answer.timings.items()
    )
    usage = ", ".join(f"{name.removesuffix('_tokens')} {count}" for name, count in answer.usage.items())
    return f"{timings}; tokens: {usage}"


def note(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(f"onlooker: {text}\n")
    sys.stderr.flush()


@contextmanager
def own_warnings() -> Iterator[None]:
    """Keep the library's log off stderr: what it warns of is read from reports and said once, in our words."""
    logger, handler = logging.getLogger("onlooker"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
