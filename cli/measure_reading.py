"""The measuring command of `onlooker bench` about pruning at question time: reading."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from .measure import check_outputs, end_progress, say
from .model_options import DEVICE, DTYPE, MODEL, OFFLINE, REVISION, ModelChoice, load

READING_HELP = """Measure what pruning for the question costs in answers.

Streams sprite theatre shows once; then asks the same questions about the past under every reading, each at every share
of the recalled tokens. fewer-frames recalls whole frames, but fewer of them. Columns: share of right answers, how many
are right that were wrong without pruning (+) and the other way round (-), tokens of context read in a layer.

\b
All of them, at half, a quarter and a tenth:
  onlooker bench reading --streams 1 --minutes 10

\b
Only some:
  onlooker bench reading --readings cdpruner,read-uniform,fewer-frames --rates 0.25
"""


def reading(
    seed: Annotated[int, typer.Option(min=0, help="Which streams; other seeds share none.")] = 0,
    streams: Annotated[int, typer.Option(min=1, max=1000, help="How many streams.")] = 3,
    minutes: Annotated[float, typer.Option(min=0.3, max=1000.0, help="Length of each stream.")] = 20.0,
    fps: Annotated[float, typer.Option(min=0.1, max=60.0, help="Frames a second.")] = 2.0,
    rates: Annotated[str, typer.Option(help="Shares of the recalled tokens, with commas between.")] = "0.5,0.25,0.1",
    readings: Annotated[str | None, typer.Option(help="Only these, with commas between.")] = None,
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    revision: REVISION = None,
    offline: OFFLINE = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
) -> None:
    """Run the reading benchmark; the text of --help is READING_HELP."""
    import json
    from dataclasses import asdict

    from ..bench.output import write_output
    from ..bench.reading_bench import chosen, readings_table, run_readings
    from ..bench.recall_bench import RecallPlan

    check_outputs(json_file)
    try:
        shares = [float(part) for part in rates.split(",")]
    except ValueError as error:
        raise SettingsError(f"--rates is {rates!r}; give shares, such as 0.5,0.25") from error
    names = None if readings is None else [name.strip() for name in readings.split(",") if name.strip()]
    if names == []:
        raise SettingsError(f"--readings is {readings!r}; name some, such as cdpruner, or leave it out for all")
    plan, wanted = RecallPlan(seed, streams, minutes, fps), chosen(names)
    backbone = load(ModelChoice(model, device, dtype, revision, offline))
    rows = run_readings(backbone, plan, shares, wanted, told=say)
    end_progress()
    title = f"{model}, {streams} streams of {minutes:g} min at {fps:g} frames/s, seed {seed}"
    typer.echo(f"Pruning for the question: {title}, {rows[0].questions} questions.\n\n{readings_table(rows)}")
    if json_file is not None:
        write_output(json_file, json.dumps([asdict(row) for row in rows], indent=2) + "\n")
