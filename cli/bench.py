"""`onlooker bench`: synthetic streams with known answers, and measurements on them."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from . import (
    measure,
    measure_keyframes,
    measure_live,
    measure_memory,
    measure_pruning,
    measure_reading,
    measure_robot,
    measure_standing,
)

app = typer.Typer(
    help="Write synthetic streams with known answers, and measure on them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

THEATRE_HELP = """Write a sprite theatre clip, and its questions beside it.

The clip is H.264; the questions are JSON of the same name, a list of objects with question, answer, kind, start_s and
end_s. Times are seconds of stream time, null where the answer is that something never came. Ask a question of kind
"present" at a time between its start_s and end_s. The same options make the same stream everywhere.

\b
The clip that comes with Onlooker:
  onlooker bench theatre --seed 7 --minutes 10 --out examples/theatre.mp4 --force

\b
Another one, with uneven time stamps:
  onlooker bench theatre --seed 8 --minutes 2 --variable --out two.mp4
"""


@app.command("theatre", help=THEATRE_HELP)
def theatre(
    out: Annotated[Path, typer.Option(help="The video file; its questions go beside it, ending in .json.")],
    seed: Annotated[int, typer.Option(min=0, help="Which stream.")] = 7,
    minutes: Annotated[float, typer.Option(min=0.3, max=100_000.0, help="Length of the stream.")] = 10.0,
    fps: Annotated[float, typer.Option(min=0.1, max=60.0, help="Frames a second.")] = 8.0,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Width and height in pixels.")] = 224,
    variable: Annotated[bool, typer.Option("--variable", help="Write uneven time stamps.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there already.")] = False,
) -> None:
    """Write a sprite theatre clip and its questions; the text of --help is THEATRE_HELP."""
    from ..bench.record import record
    from ..theatre.show import Show

    for path in (out, out.with_suffix(".json")):
        if path.is_file() and not force:  # labels made by hand may be lost with it
            raise SettingsError(f"{path} is there already; give another --out, or --force to write over it")
    done = record(Show(seed, minutes * 60.0, size), out, fps, variable)
    typer.echo(
        f"{done.video.path}: {done.video.frames} frames, {done.video.file_bytes / 1e6:.2f} MB\n"
        f"{done.questions_path}: {done.questions} questions"
    )


app.command("recall", help=measure.RECALL_HELP)(measure.recall)
app.command("speed", help=measure.SPEED_HELP)(measure.speed)
app.command("shapes", help=measure.SHAPES_HELP)(measure.shapes)
app.command("codec", help=measure_memory.CODEC_HELP)(measure_memory.codec)
app.command("index", help=measure_memory.INDEX_HELP)(measure_memory.index)
app.command("soak", help=measure_memory.SOAK_HELP)(measure_memory.soak)
app.command("keyframes", help=measure_keyframes.KEYFRAMES_HELP)(measure_keyframes.keyframes)
app.command("live", help=measure_live.LIVE_HELP)(measure_live.live)
app.command("robot", help=measure_robot.ROBOT_HELP)(measure_robot.robot)
app.command("watch", help=measure_standing.WATCH_HELP)(measure_standing.watch)
app.command("pruning", help=measure_pruning.PRUNING_HELP)(measure_pruning.pruning)
app.command("reading", help=measure_reading.READING_HELP)(measure_reading.reading)
app.command("savings", help=measure_pruning.SAVINGS_HELP)(measure_pruning.savings)
