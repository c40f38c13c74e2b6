"""The measuring command of `onlooker bench` about standing questions: watch."""

from pathlib import Path
from typing import Annotated

import typer

from .measure import FPS, check_outputs, end_progress, say
from .model_options import DEVICE, DTYPE, MODEL, OFFLINE, REVISION, ModelChoice, load

WATCH_HELP = """Measure standing questions: which appearances are told, how soon, and what watching costs.

Streams sprite theatre shows, watches for things that come once, that come and go and that never come, and compares the
alerts with what was on the stage. Then one stream is timed with 0, 1, 4 and 16 conditions. Without a cool-down, so that
every repeat shows. The tables go to stdout, progress to stderr.

\b
What docs/standing.md shows:
  onlooker bench watch
"""


def watch(
    seed: Annotated[int, typer.Option(min=0, help="Which streams; other seeds share none.")] = 0,
    streams: Annotated[int, typer.Option(min=1, max=1000, help="How many streams.")] = 4,
    minutes: Annotated[float, typer.Option(min=0.3, max=10_000.0, help="Length of each stream.")] = 4.0,
    fps: FPS = 2.0,
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    revision: REVISION = None,
    offline: OFFLINE = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
) -> None:
    """Run the benchmark of standing questions; the text of --help is WATCH_HELP."""
    import json

    from ..bench.output import write_output
    from ..bench.standing import StandingPlan, report_text, run_standing

    check_outputs(json_file)
    plan = StandingPlan(seed, streams, minutes, fps)
    backbone = load(ModelChoice(model, device, dtype, revision, offline))
    report = run_standing(backbone, plan, told=say)
    end_progress()
    title = f"{model} on {backbone.device}, {streams} streams of {minutes:g} min at {fps:g} frames/s, seed {seed}"
    typer.echo(f"Standing questions on the sprite theatre: {title}.\n\n{report_text(report)}")
    if json_file is not None:
        write_output(json_file, json.dumps(report.to_dict(), indent=2) + "\n")
