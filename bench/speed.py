"""The speed benchmark: how fast a stream is taken in, and how soon an answer begins after an hour of it."""

import resource
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..frame import Frame
from ..models.backbone import Backbone, HeadId, Sampling
from ..settings import Settings
from ..stream.file_source import FileSource
from ..stream.holding import archive_of
from ..stream.ingest import Ingest
from ..stream.session import Session
from ..theatre.show import Show
from .moment import UNIFORM_FRAMES
from .tally import aligned, size
from .timing import Stopwatch, TimedArchive, TimedBackbone
from .video import VideoSettings, write_video
from .whole_prompt import whole_prompt

ROUNDS = 3  # that a question is asked: a busy machine passes in waves
WARM_UP_FRAMES = 32
SPEED = 0x5EED  # namespace of the streams: no answers are judged here


@dataclass(frozen=True, slots=True)
class IngestSpeed:
    """Hold how fast frames went from a file into memory.

    frames_per_s: over everything.  split_s: seconds spent waiting for the decoder, in the keyframe gate, in the vision
    tower, in pruning and prefill together, in storing and indexing.
    """

    frames: int
    keyframes: int
    seconds: float
    frames_per_s: float
    split_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class AnswerSpeed:
    """Hold how soon answers begin after so much stream, median and worst over the questions, in milliseconds.

    uniform_ms: the same questions when 64 frames are encoded and read at question time.
    """

    minutes: float
    keyframes: int
    archive_bytes: int
    first_token_ms: float
    first_token_worst_ms: float
    uniform_ms: float
    uniform_worst_ms: float


@dataclass(frozen=True, slots=True)
class SpeedReport:
    """Hold a speed run.  resident_bytes: of the process, before the first frame and after the last."""

    model: str
    device: str
    threads: int
    ingest: IngestSpeed
    answers: tuple[AnswerSpeed, ...]
    resident_before_bytes: int
    resident_after_bytes: int

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        return asdict(self)


def write_clip(path: Path, seconds: float, fps: float, seed: int = 0) -> None:
    """Write a theatre clip to be read back; quick to encode."""
    show = Show(seed, seconds, namespace=SPEED)
    write_video(path, show.frames(fps), VideoSettings(preset="veryfast"))


def measure_ingest(backbone: Backbone, path: Path, settings: Settings, heads: tuple[HeadId, ...]) -> IngestSpeed:
    """Stream a file into memory, every frame of it, and time the parts.

    What an earlier run leaves warm (kernels, caches) is warmed by the first frames, which are streamed once before.
    """
    warm = Ingest(backbone, settings, heads)
    with FileSource(path) as source:
        for number, frame in enumerate(source):
            if number == WARM_UP_FRAMES:
                break
            warm.see(frame)
    warm.recent()
    watch = Stopwatch(backbone.device)
    archive = TimedArchive(archive_of(backbone, settings, heads), watch)
    ingest = Ingest(TimedBackbone(backbone, watch), settings, heads, archive)
    watch.seconds.clear()
    frames = chunks = 0
    see_s = gate_s = 0.0
    began = watch.now()
    with FileSource(path) as source:
        waiting = watch.now()
        for frame in source:
            watch.add("decode", waiting)
            encoded = watch.seconds.get("encode", 0.0)
            seeing = watch.now()
            ingest.see(frame)
            passed = watch.add("see", seeing)
            frames += 1
            see_s += passed
            if watch.seconds.get("encode", 0.0) == encoded:
                gate_s += passed
            else:
                chunks += 1
            waiting = watch.now()
    seconds = watch.now() - began
    # Frames that completed a chunk went through the gate too: it cost them what it cost the others on average.
    gate_s *= frames / max(1, frames - chunks)
    encode_s, store_s = watch.seconds.get("encode", 0.0), watch.seconds.get("store", 0.0)
    split = {
        "decode": watch.seconds.get("decode", 0.0),
        "gate": gate_s,
        "encode": encode_s,
        "prune and prefill": max(0.0, see_s - gate_s - encode_s - store_s),
        "store": store_s,
    }
    return IngestSpeed(frames, ingest.report.keyframes, seconds, frames / seconds, split)


def measure_answers(
    backbone: Backbone,
    minutes: Sequence[float],
    settings: Settings,
    heads: tuple[HeadId, ...],
    fps: float = 2.0,
    questions: int = 9,
    seed: int = 0,
    told: Callable[[str], None] = lambda _: None,
) -> tuple[AnswerSpeed, ...]:
    """Watch a show for each of these many minutes, then ask the same questions of all, in turns.

    In turns, because a busy machine's speed drifts: asked one after the other, the ages would not be compared alike.
    """
    show = Show(seed, max(minutes) * 60.0, namespace=SPEED)
    asked = show.questions()
    texts = [question.text for question in asked[:: max(1, len(asked) // questions)]][:questions]
    watched = [_Watched(age, Session(backbone, settings, heads)) for age in sorted(minutes)]
    for frame in show.frames(fps):
        for item in watched:
            if frame.time_us < item.minutes * 60e6:
                item.session.see(frame)
        if frame.seq % 600 == 599:
            told(f"{frame.time_us / 60e6:.1f} of {watched[-1].minutes:g} min seen")
    told(f"asking {len(texts)} questions {ROUNDS} times")
    pictures = [_uniform_frames(show, item.minutes, fps) for item in watched]
    for item in watched:
        item.session.ask(texts[0])  # encodes the waiting keyframes and warms up
    for number in range(ROUNDS):
        for text in texts:
            for item, frames in zip(watched, pictures, strict=True):
                item.ours_ms.append(item.session.ask(text).timings["first_token_ms"])
                if number == 0:
                    item.uniform_ms.append(reencode_first_token(backbone, frames, text))
    return tuple(item.speed() for item in watched)


@dataclass(slots=True)
class _Watched:
    """Hold a session that watched for some minutes, and how long its answers took."""

    minutes: float
    session: Session
    ours_ms: list[float] = field(default_factory=list)
    uniform_ms: list[float] = field(default_factory=list)

    def speed(self) -> AnswerSpeed:
        return AnswerSpeed(
            minutes=self.minutes,
            keyframes=self.session.report.keyframes,
            archive_bytes=self.session.memory.used_bytes,
            first_token_ms=statistics.median(self.ours_ms),
            first_token_worst_ms=max(self.ours_ms),
            uniform_ms=statistics.median(self.uniform_ms),
            uniform_worst_ms=max(self.uniform_ms),
        )


def _uniform_frames(show: Show, minutes: float, fps: float) -> list[Frame]:
    """Draw UNIFORM_FRAMES frames, evenly over the first minutes."""
    numbers = sorted({int(minutes * 60 * fps * (n + 0.5) / UNIFORM_FRAMES) for n in range(UNIFORM_FRAMES)})
    return list(show.frames_at(round(number * 1e6 / fps) for number in numbers))


def reencode_first_token(backbone: Backbone, frames: Sequence[Frame], question: str) -> float:
    """Answer offline, from pictures in memory: encode all frames, run them with the question; ms to the first token."""
    watch = Stopwatch(backbone.device)
    began = watch.now()
    rows = whole_prompt(backbone, frames, question)
    sampling = Sampling(max_tokens=1)
    next(iter(backbone.generate(rows.features, rows.positions, None, sampling, planes=rows.planes)), None)
    return watch.add("answer", began) * 1e3


def resident_bytes() -> int:
    """Read how much memory the process has in RAM; where the system does not say, the most it ever had."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return int(pages) * resource.getpagesize()


def report_text(report: SpeedReport) -> str:
    """Write a report for a terminal."""
    ingest = report.ingest
    split: list[list[str]] = [["part", "seconds", "share", "ms a frame"]]
    for name, seconds in ingest.split_s.items():
        share = f"{seconds / ingest.seconds:.0%}"
        split.append([name, f"{seconds:.2f}", share, f"{seconds / ingest.frames * 1e3:.2f}"])
    answers: list[list[str]] = [["after", "keyframes", "memory", "ours", "worst", "uniform-64", "worst"]]
    answers += [_answer_line(item) for item in report.answers]
    text = (
        f"{report.model} on {report.device}, {report.threads} threads.\n\n"
        f"From file to memory: {ingest.frames_per_s:.1f} frames/s ({ingest.frames} frames, {ingest.keyframes} "
        f"keyframes, {ingest.seconds:.1f} s; the file is decoded ahead, `decode` is the wait for it).\n\n"
        f"{aligned(split)}"
    )
    if report.answers:
        text += f"\n\nTime to the first token, ms, median over the same questions:\n\n{aligned(answers)}"
        first, last = report.answers[0], report.answers[-1]
        if len(report.answers) > 1:
            text += f"\n\nours after {last.minutes:g} min / {first.minutes:g} min: "
            text += f"{last.first_token_ms / first.first_token_ms:.2f}x"
    before, after = report.resident_before_bytes, report.resident_after_bytes
    return f"{text}\n\nResident memory: {size(before)} before, {size(after)} after."


def _answer_line(item: AnswerSpeed) -> list[str]:
    times: Iterable[float] = (
        item.first_token_ms,
        item.first_token_worst_ms,
        item.uniform_ms,
        item.uniform_worst_ms,
    )
    return [f"{item.minutes:g} min", str(item.keyframes), size(item.archive_bytes), *(f"{ms:.1f}" for ms in times)]
