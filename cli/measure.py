"""The measuring commands of `onlooker bench`: recall, speed, shapes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SettingsError
from ..settings import FRAME_TOKENS
from .model_options import DEVICE, DTYPE, MODEL, MOST_OF_A_FRAME, OFFLINE, REVISION, ModelChoice, load

if TYPE_CHECKING:
    from ..models.backbone import HeadId

RECALL_HELP = """Measure what is still known: questions about planted events, long after them.

Streams sprite theatre shows once, and asks every policy the same questions over the same memory: controls (blind,
recent-4, uniform-64, full, oracle), rivals (rekv, livevlm) and ours. The table goes to stdout, progress to stderr.

\b
What the README shows:
  onlooker bench recall

\b
What docs/positions.md shows (ours-capped and ours-kept run only when they are named):
  onlooker bench recall --policies ours,ours-capped,ours-kept
"""

SPEED_HELP = """Measure how fast a stream is taken in, and how soon an answer begins.

Streams a file into memory and splits the time; then streams a sprite theatre show, asks the same questions after one
minute and after --minutes, and puts beside it what encoding 64 frames at question time takes.
"""

SHAPES_HELP = """Time a published model's shape with random weights, without fetching it.

Answers are nonsense; times and sizes are what the real one would have here. First it is checked that preprocessing on
the device equals the CPU's, and that chunks over raw keys equal one pass. Then noise of 1280 x 720 is watched, every
frame a keyframe, and questions are asked.

\b
What docs/measurements/ has:
  onlooker bench shapes --model Qwen/Qwen3-VL-8B-Instruct --device cuda
"""

FPS = Annotated[float, typer.Option(min=0.1, max=60.0, help="Frames a second.")]


def say(line: str) -> None:
    """Write a line of progress to stderr, over the last one on a terminal."""
    if sys.stderr.isatty():
        typer.echo(f"\r\033[K{line}", err=True, nl=False)
    else:
        typer.echo(line, err=True)


def end_progress() -> None:
    """End the line of progress."""
    if sys.stderr.isatty():
        typer.echo("", err=True)


def check_outputs(*paths: Path | None) -> None:
    """Refuse, before minutes are spent, files that cannot be written at the end.  Raises SettingsError."""
    from ..bench.output import check_output

    for path in paths:
        if path is not None:
            check_output(path)


def heads_of(text: str | None) -> "tuple[HeadId, ...] | None":
    """Read "0:3,4:1" as layer 0 head 3 and layer 4 head 1; None when nothing was given."""
    if text is None:
        return None
    from ..models.backbone import HeadId

    try:
        pairs = [part.split(":") for part in text.split(",") if part.strip()]
        return tuple(HeadId(int(layer), int(head)) for layer, head in pairs)
    except ValueError as error:
        raise SettingsError(f"--heads is {text!r}; give LAYER:HEAD pairs, such as 0:3,4:1") from error


def recall(
    seed: Annotated[int, typer.Option(min=0, help="Which streams; other seeds share none.")] = 0,
    streams: Annotated[int, typer.Option(min=1, max=1000, help="How many streams.")] = 3,
    minutes: Annotated[float, typer.Option(min=0.3, max=100_000.0, help="Length of each stream.")] = 20.0,
    fps: FPS = 2.0,
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    revision: REVISION = None,
    offline: OFFLINE = False,
    policies: Annotated[str | None, typer.Option(help="Only these, with commas between.")] = None,
    heads: Annotated[str | None, typer.Option(help="Retrieval heads LAYER:HEAD,... in place of the model's.")] = None,
    full_tokens: Annotated[int, typer.Option(min=1, help="The most tokens that `full` is run with.")] = 32_768,
    held_out_wording: Annotated[bool, typer.Option("--held-out-wording", help="Ask in wordings not trained.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write a row per policy, kind and delay.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw accuracy by delay.")] = None,
) -> None:
    """Run the recall benchmark; the text of --help is RECALL_HELP."""
    from ..bench.plot import plot_delays
    from ..bench.recall_bench import RecallPlan, choose, policies_of, run_recall
    from ..bench.tally import rows_of, table, write_rows

    check_outputs(json_file, plot)
    plan = RecallPlan(seed, streams, minutes, fps, held_out=held_out_wording)
    given = heads_of(heads)
    names = None if policies is None else [name.strip() for name in policies.split(",") if name.strip()]
    if names == []:
        raise SettingsError(f"--policies is {policies!r}; name some, such as oracle,ours, or leave it out for all")
    backbone = load(ModelChoice(model, device, dtype, revision, offline))
    used = backbone.card.retrieval_heads if given is None else given
    listed = policies_of(used, full_tokens)
    if not used:
        say(f"{model} has no retrieval heads (onlooker memory calibrate chooses them): embeddings alone are measured\n")
    replies = run_recall(backbone, choose(listed, names), plan, used, told=say)
    end_progress()
    wording = ", wordings held out of training" if held_out_wording else ""
    title = f"{model}, {streams} streams of {minutes:g} min at {fps:g} frames/s, seed {seed}{wording}"
    typer.echo(f"Recall on the sprite theatre: {title}.\n\n{table(replies)}")
    if json_file is not None:
        write_rows(json_file, rows_of(replies))
    if plot is not None:
        plot_delays(replies, plot, title)


def speed(
    file: Annotated[Path | None, typer.Argument(help="A video file; a theatre clip is written when left out.")] = None,
    minutes: Annotated[float, typer.Option(min=1.0, max=100_000.0, help="Stream before the last questions.")] = 60.0,
    clip_s: Annotated[float, typer.Option(min=16.0, max=36_000.0, help="Seconds of the written clip.")] = 120.0,
    clip_fps: Annotated[float, typer.Option(min=0.1, max=60.0, help="Frames a second of the written clip.")] = 8.0,
    fps: FPS = 2.0,
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    revision: REVISION = None,
    offline: OFFLINE = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
) -> None:
    """Run the speed benchmark; the text of --help is SPEED_HELP."""
    import json
    from tempfile import TemporaryDirectory

    import torch

    from ..bench.output import write_output
    from ..bench.speed import (
        SpeedReport,
        measure_answers,
        measure_ingest,
        report_text,
        resident_bytes,
        write_clip,
    )
    from ..settings import Settings

    check_outputs(json_file)
    backbone = load(ModelChoice(model, device, dtype, revision, offline))
    heads, settings = backbone.card.retrieval_heads, Settings()
    before = resident_bytes()
    with TemporaryDirectory(prefix="onlooker-speed-") as folder:
        path = file
        if path is None:
            path = Path(folder) / "clip.mp4"
            say(f"writing a clip of {clip_s:g} s at {clip_fps:g} frames/s")
            write_clip(path, clip_s, clip_fps)
        say("streaming it")
        ingest = measure_ingest(backbone, path, settings, heads)
    answers = measure_answers(backbone, sorted({1.0, minutes}), settings, heads, fps, told=say)
    end_progress()
    report = SpeedReport(
        model, str(backbone.device), torch.get_num_threads(), ingest, answers, before, resident_bytes()
    )
    typer.echo(report_text(report))
    if json_file is not None:
        write_output(json_file, json.dumps(report.to_dict(), indent=2) + "\n")


def shapes(
    model: Annotated[str, typer.Option(help="A hub id of: onlooker models list.")] = "Qwen/Qwen3-VL-2B-Instruct",
    device: DEVICE = "auto",
    dtype: DTYPE = "bfloat16",
    frames: Annotated[int, typer.Option(min=8, max=100_000, help="Frames to time.")] = 32,
    frame_tokens: MOST_OF_A_FRAME = FRAME_TOKENS,
    kept: Annotated[str, typer.Option(help="How many of them pruning leaves, with commas between.")] = "196,50",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
) -> None:
    """Time a model's shape; the text of --help is SHAPES_HELP."""
    import json
    from tempfile import TemporaryDirectory

    from ..bench.output import write_output
    from ..bench.shape_speed import measure_shape, report_text
    from ..bench.shapes import random_backbone, shape_of
    from ..models.loading import device_of, dtype_of

    check_outputs(json_file)
    try:
        counts = [int(part) for part in kept.split(",")]
    except ValueError as error:
        raise SettingsError(f"--kept is {kept!r}; give numbers of tokens, such as 196,50") from error
    if min(counts) < 1:
        raise SettingsError(f"--kept is {kept!r}; give numbers over 0, such as 196,50")
    shape, where = shape_of(model), device_of(device)
    with TemporaryDirectory(prefix="onlooker-shape-") as folder:
        say(f"making {model} of random weights")
        backbone = random_backbone(model, shape, Path(folder), where, dtype_of(dtype, where), frame_tokens)
        report = measure_shape(backbone, counts, frames, say)
    end_progress()
    typer.echo(report_text(report))
    if json_file is not None:
        write_output(json_file, json.dumps(report.to_dict(), indent=2) + "\n")
