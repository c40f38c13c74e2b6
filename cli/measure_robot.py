"""The measuring command of `onlooker bench` about control loops: robot."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from .measure import check_outputs, end_progress, say
from .model_options import DEVICE, DTYPE, MODEL, OFFLINE, REVISION, ModelChoice, load

ROBOT_HELP = """Measure what see() costs a control loop while questions are asked.

Pictures are pushed in a loop of 30 Hz, and two threads ask without a pause: through the engine, whose see()
returns at once (and with copy=False, which spares the copy where the array is not used again), and with Session.see(),
which waits for the model. What else runs on the machine shows in the figures: the loop's own lateness tells how much.

\b
What docs/robots.md shows:
  onlooker bench robot
"""


def robot(
    seconds: Annotated[float, typer.Option(min=0.1, max=36_000.0, help="Length of each run.")] = 20.0,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="WxH", help="Size of pictures; may be repeated [default: 640x480 and 1920x1080]."),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=1000.0, help="Ticks of the loop a second.")] = 30.0,
    askers: Annotated[int, typer.Option(min=0, max=8, help="Threads that ask.")] = 2,
    direct: Annotated[bool, typer.Option(help="Measure Session.see() too.")] = True,
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    revision: REVISION = None,
    offline: OFFLINE = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
) -> None:
    """Run the robot benchmark; the text of --help is ROBOT_HELP."""
    import json

    from ..bench.output import write_output
    from ..bench.robot import RobotPlan, report_text, run_robot
    from ..model import Model

    check_outputs(json_file)
    sizes = tuple(read_size(one) for one in size or ["640x480", "1920x1080"])
    plan = RobotPlan(seconds, sizes, rate, askers, direct)
    report = run_robot(Model(load(ModelChoice(model, device, dtype, revision, offline))), plan, say)
    end_progress()
    typer.echo(report_text(report))
    if json_file is not None:
        write_output(json_file, json.dumps(report.to_dict(), indent=2) + "\n")


def read_size(text: str) -> tuple[int, int]:
    """Read "640x480".  Raises SettingsError for anything else."""
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise SettingsError(f"--size is {text!r}; give width and height, such as 640x480") from error
    return width, height
