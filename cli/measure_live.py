"""`onlooker bench live`: a server under many cameras and many questions."""

from pathlib import Path
from typing import Annotated

import typer

from .measure import check_outputs, end_progress, say

LIVE_HELP = """Run a server under many cameras and many questions, and see what that costs it.

A server of its own process watches ten cameras that the operator declared (sprite theatre shows, in real time) and
takes the frames of the others over websockets, a frame a second each; clients ask about what was shown, one question
after the other. Frames may be dropped when the model is behind, and are counted; no question may be lost.

\b
What docs/server.md shows:
  onlooker bench live
"""


def live(
    minutes: Annotated[float, typer.Option(min=0.1, max=10.0, help="How long.")] = 10.0,
    cameras: Annotated[int, typer.Option(min=1, max=1000, help="How many cameras.")] = 50,
    clients: Annotated[int, typer.Option(min=0, max=1000, help="How many clients that ask.")] = 10,
    model: Annotated[str, typer.Option(help="Model: pocket, a folder, or a hub id.")] = "pocket",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
) -> None:
    """Run the live benchmark; the text of --help is LIVE_HELP."""
    import json

    from ..bench.live import LiveMark, LivePlan, live_table, run_live
    from ..bench.output import write_output

    check_outputs(json_file)

    def told(mark: LiveMark) -> None:
        say(f"after {mark.after_s:.0f} s: {mark.frames} frames, {mark.dropped} dropped, {mark.answered} more answers")

    report = run_live(LivePlan(minutes, cameras, clients, model), told)
    end_progress()
    typer.echo(live_table(report))
    if json_file is not None:
        write_output(json_file, json.dumps(report.as_json(), indent=2) + "\n")
