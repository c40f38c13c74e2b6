"""The measuring commands of `onlooker bench` about pruning: pruning, savings."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from .measure import FPS, check_outputs, end_progress, say
from .model_options import DEVICE, DTYPE, MODEL, OFFLINE, REVISION, ModelChoice, load

PRUNING_HELP = """Measure which pruning recipe keeps answers right at which share of the visual tokens.

Streams that are hard to prune (slow drift, a hand-held camera, bursts, small text, a background that is asked about
later, several things at once) are encoded once. Every recipe then takes in the same tokens of every frame, and the
same questions are asked of what it left, beside the honest baselines: random, uniform, pool, last-n. Fixed memories
(causalmem, span, infinipot-v, livevlm-buckets, last-n) may hold the same share of the whole stream. Tables go to
stdout, progress to stderr.

\b
What the README and docs/pruning.md show, all recipes at five rates on three streams (about an hour on 2 cores):
  onlooker bench pruning --plot pruning.png

\b
A quick look at three recipes:
  onlooker bench pruning --recipes novelty,dtd,random --rates 0.1,0.25 --seeds 1
"""

SAVINGS_HELP = """Measure what each saving brings: the keyframe gate, pruning, and both.

One stream is taken in under four settings, and the time of each frame is split into parts. Pruning comes after the
vision tower and spares the language model alone; a frame that the gate drops spares both.

\b
What docs/pruning.md shows:
  onlooker bench savings
"""


def pruning(
    recipes: Annotated[
        str | None, typer.Option(help="Only these, with commas between (onlooker prune --list).")
    ] = None,
    rates: Annotated[str, typer.Option(help="Shares of the tokens that may be kept.")] = "0.05,0.1,0.15,0.25,0.5",
    seed: Annotated[int, typer.Option(min=0, help="Which streams; other seeds share none.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How many runs, for the spread.")] = 3,
    streams: Annotated[int, typer.Option(min=1, max=100, help="Streams of six minutes in each run.")] = 1,
    fps: FPS = 2.0,
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    revision: REVISION = None,
    offline: OFFLINE = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write a line per recipe and rate.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw accuracy against tokens.")] = None,
) -> None:
    """Run the pruning benchmark; the text of --help is PRUNING_HELP."""
    from ..bench.plot import check_plot
    from ..bench.pruning_bench import PruningPlan, run_pruning
    from ..bench.pruning_plot import plot_lines
    from ..bench.pruning_table import lines_of, report_text, write_lines
    from ..pruning.recipes import DEFAULT

    check_outputs(json_file, plot)
    check_plot(plot)
    plan = PruningPlan(_names(recipes), _rates(rates), seed, seeds, streams, fps)
    backbone = load(ModelChoice(model, device, dtype, revision, offline))
    outcomes, costs = run_pruning(backbone, plan, backbone.card.retrieval_heads, say)
    end_progress()
    lines = lines_of(outcomes)
    title = f"{model}, {seeds} runs of {streams} x 6 min at {fps:g} frames/s, seed {seed}"
    typer.echo(f"Pruning on streams that strain it: {title}.\n\n{report_text(lines, costs)}")
    if json_file is not None:
        write_lines(json_file, lines, costs)
    if plot is not None:
        plot_lines(lines, plot, title, DEFAULT)


def savings(
    rate: Annotated[float, typer.Option(min=0.01, max=0.99, help="Share of the tokens that pruning keeps.")] = 0.25,
    fps: FPS = 4.0,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="How often; the quickest round counts.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Which stream.")] = 0,
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    revision: REVISION = None,
    offline: OFFLINE = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
) -> None:
    """Measure what each saving brings; the text of --help is SAVINGS_HELP."""
    import json
    from dataclasses import asdict

    import torch

    from ..bench.output import write_output
    from ..bench.savings import measure_savings, savings_text

    check_outputs(json_file)
    backbone = load(ModelChoice(model, device, dtype, revision, offline))
    found = measure_savings(backbone, backbone.card.retrieval_heads, rate, fps, rounds, seed, say)
    end_progress()
    where = f"{model} on {backbone.device}, {torch.get_num_threads()} threads"
    typer.echo(f"Taking in six minutes at {fps:g} frames/s, {where}.\n\n{savings_text(found)}")
    if json_file is not None:
        write_output(json_file, json.dumps([asdict(one) for one in found], indent=2) + "\n")


def _names(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise SettingsError(f"--recipes is {text!r}; name some, such as novelty,random, or leave it out for all")
    return names


def _rates(text: str) -> tuple[float, ...]:
    try:
        return tuple(sorted({round(float(part), 2) for part in text.split(",") if part.strip()}))
    except ValueError as error:
        raise SettingsError(f"--rates is {text!r}; give shares with commas between, such as 0.1,0.25") from error
