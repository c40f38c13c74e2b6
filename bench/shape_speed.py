"""Times and sizes of a model's shape: frames a second, time to the first token, bytes on the device."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from ..frame import Frame
from ..memory.block import KVBlock
from ..memory.context import assemble
from ..models.adapter import Adapter
from ..models.backbone import HeadId, Sampling
from ..settings import Settings
from ..stream.session import Session
from .tally import aligned
from .timing import Stopwatch, TimedBackbone
from .whole_prompt import whole_prompt

GIB = 1 << 30
QUESTION = "where was it?"
ASKED = 5  # times, after one that warms up
CHECKED_FRAMES = 4
PICTURE = (720, 1280)
STEP_US = 500_000


@dataclass(frozen=True, slots=True)
class ShapeSpeed:
    """Hold what was measured with so many tokens kept of a frame.

    cells: tokens of a whole frame, which the tower makes and the newest frames are read with.  rate: frames a second,
    all of them keyframes.  encode_s, prefill_s: the time in the tower with its preprocessing, and in all else.
    context_tokens: read by a question, whose first token took first_token_ms (median) and worst_ms.  archive_bytes:
    host memory that the frames took.  peak_bytes: most that was in use on the device, 0 where that is the CPU.
    """

    cells: int
    kept: int
    frames: int
    rate: float
    encode_s: float
    prefill_s: float
    context_tokens: int
    first_token_ms: float
    worst_ms: float
    archive_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class ShapeCheck:
    """Hold what was checked first.

    pixels: the largest difference of a pixel from preprocessing on the CPU, in steps of 1/255.  chunks: the largest
    difference of a logit between one pass and chunks over raw keys, as a share of the logits' spread.
    """

    pixels: float
    chunks: float


@dataclass(frozen=True, slots=True)
class ShapeReport:
    """Hold a run over one shape.  weights_bytes: of the model on its device."""

    model: str
    device: str
    dtype: str
    weights_bytes: int
    token_bytes: int
    check: ShapeCheck
    speeds: tuple[ShapeSpeed, ...]

    def to_dict(self) -> dict[str, object]:
        """Give plain values for JSON."""
        return asdict(self)


def measure_shape(
    backbone: Adapter, kept: Sequence[int], frames: int, told: Callable[[str], None] = lambda _: None
) -> ShapeReport:
    """Check a backbone of random weights, then time it with each of these numbers of tokens kept of a frame."""
    layout, device = backbone.layout, backbone.device
    told("checking")
    check = ShapeCheck(check_pixels(backbone), check_chunks(backbone))
    speeds = []
    for count in kept:
        told(f"{count} tokens a frame")
        speeds.append(measure_speed(backbone, count, frames))
    kind = str(layout.dtype).removeprefix("torch.")
    return ShapeReport(
        backbone.name, device_name(device), kind, backbone.weights_bytes, layout.token_bytes, check, tuple(speeds)
    )


def measure_speed(backbone: Adapter, kept: int, frames: int) -> ShapeSpeed:
    """Watch frames, every one a keyframe of which so many tokens are kept, then ask."""
    device = backbone.device
    cells = int(np.prod(backbone.grid_of(*PICTURE)))
    kept = min(kept, cells)
    settings = Settings(
        keyframes="all",
        recipe="uniform",
        prune_rate=kept / cells,
        archive_bytes=16 * GIB,
        gate="always",
        thumbnail_px=0,
    )
    heads = (HeadId(backbone.layout.layers // 2, 0),)
    watch = Stopwatch(device)
    chunk = settings.chunk_frames
    with Session(TimedBackbone(backbone, watch), settings, heads) as session:
        pictures = draw(2 * chunk + 1 + frames)
        for frame in pictures[: 2 * chunk + 1]:  # two chunks warm everything up, the window too
            session.see(frame)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        watch.seconds.clear()
        before = session.memory
        began = watch.now()
        for frame in pictures[2 * chunk + 1 :]:
            session.see(frame)
        seconds = watch.now() - began
        stored = session.memory.blocks - before.blocks
        taken = session.memory.used_bytes - before.used_bytes
        encode_s = watch.seconds.get("encode", 0.0)
        answers = [session.ask(QUESTION, sampling=Sampling(max_tokens=1)) for _ in range(ASKED + 1)][1:]
        first = [answer.timings["first_token_ms"] for answer in answers]
        return ShapeSpeed(
            cells=cells,
            kept=kept,
            frames=stored,
            rate=stored / seconds,
            encode_s=encode_s,
            prefill_s=seconds - encode_s,
            context_tokens=answers[-1].usage["context_tokens"],
            first_token_ms=statistics.median(first),
            worst_ms=max(first),
            archive_bytes=taken,
            peak_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
        )


def draw(count: int) -> list[Frame]:
    """Draw frames of noise, two a second; drawn here so that drawing is not timed."""
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (*PICTURE, 3), dtype=np.uint8)
    return [Frame.from_array(np.roll(picture, 7 * number, axis=1), number * STEP_US, number) for number in range(count)]


def check_pixels(backbone: Adapter) -> float:
    """Compare preprocessing on the device with preprocessing on the CPU; see ShapeCheck."""
    images, scale = [frame.image for frame in draw(2)], backbone.preprocessing
    size = (392, 448)
    here = scale.scaled(images, size, backbone.device).cpu()
    there = scale.scaled(images, size, torch.device("cpu"))
    std = torch.tensor(scale.std)[:, None, None]
    return float(((here - there) * std / scale.rescale).abs().max())


def check_chunks(backbone: Adapter) -> float:
    """Compare one pass over a whole prompt with passes over chunks of it; see ShapeCheck."""
    rows = whole_prompt(backbone, draw(CHECKED_FRAMES), QUESTION)
    whole = backbone.prefill(rows.features, rows.positions, logits=True, planes=rows.planes).logits
    parts: list[KVBlock] = []  # each at its own absolute positions, so none is moved
    last, step = None, -(-len(rows) // 3)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        planes, positions = None if rows.planes is None else rows.planes[part], rows.positions[part]
        context = assemble(backbone.layout, parts, device=backbone.device)
        done = backbone.prefill(rows.features[part], positions, context, logits=True, planes=planes)
        last = done.logits
        parts.append(KVBlock(-1, done.keys, done.values, positions, 0, rows.coords[part], (0, 0)))
    if whole is None or last is None:
        return float("nan")
    return float((whole - last).abs().max() / (whole.max() - whole.min()))


def device_name(device: torch.device) -> str:
    """Name the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def report_text(report: ShapeReport) -> str:
    """Write a report for a terminal."""
    lines = [
        ["kept of a frame", "frames/s", "tower", "rest", "context", "first token", "worst", "archive", "device peak"]
    ]
    for speed in report.speeds:
        lines.append(
            [
                f"{speed.kept} of {speed.cells}",
                f"{speed.rate:.2f}",
                f"{speed.encode_s / speed.frames * 1e3:.0f} ms",
                f"{speed.prefill_s / speed.frames * 1e3:.0f} ms",
                str(speed.context_tokens),
                f"{speed.first_token_ms:.0f} ms",
                f"{speed.worst_ms:.0f} ms",
                f"{speed.archive_bytes / 1e9:.2f} GB",
                f"{speed.peak_bytes / 1e9:.1f} GB" if speed.peak_bytes else "-",
            ]
        )
    return (
        f"{report.model}, random weights, {report.dtype} on {report.device}: {report.weights_bytes / 1e9:.1f} GB of "
        f"weights, {report.token_bytes / 1e3:.1f} kB of keys and values a token.\n"
        f"Checked: preprocessing here and on the CPU differ by {report.check.pixels:.1f} of 255 at most; chunks and "
        f"one pass by {report.check.chunks:.1%} of the logits' spread.\n\n{aligned(lines)}"
    )
