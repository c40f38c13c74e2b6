"""`onlooker cameras`: which cameras there are, and whether a source works."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SourceError

if TYPE_CHECKING:
    from ..stream.live.devices import Device
    from ..stream.live.trial import Trial

HELP = """List this machine's cameras, or try a source and say what it gives.

\b
Which cameras are there?
  onlooker cameras

\b
Does this address work? If not, why?
  onlooker cameras --probe rtsp://user:password@10.0.0.5/stream1
  onlooker cameras --probe camera:0
  onlooker cameras --probe theatre:7

A source is a camera (camera:0), an address (rtsp://, rtsps://, http://,
https://), the built-in theatre (theatre:7), or a file, played in real time.
Passwords are never shown. Signs such as @ / : # in a password are
percent-encoded: @ is %40.

Exit code 0 when frames came (or the list was made), 3 when none did.
"""

NONE = (
    "no camera was found on this machine; network cameras are not searched for: try one with "
    'onlooker cameras --probe rtsp://..., or do without any: onlooker ask theatre:7 --to 0:20 "What is there now?"'
)


def cameras(
    probe: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Connect to this source for some seconds.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=600.0, metavar="SECONDS", help="How long to wait for its first frame.")
    ] = 15.0,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """List cameras or try one; the text of --help is HELP."""
    if probe is not None:
        trial = try_source(probe, timeout)
        if as_json:
            typer.echo(json.dumps(trial.to_dict()))
        elif trial.works:
            for line in report(trial):
                typer.echo(line)
        if not trial.works:
            if as_json:
                raise typer.Exit(3)
            raise SourceError(trial.reason)
        return
    from ..stream.live.devices import list_devices

    found = list_devices()
    if as_json:
        typer.echo(json.dumps({"cameras": [device.to_dict() for device in found]}))
    elif not found:
        typer.echo(NONE, err=True)
    else:
        for line in table(found):
            typer.echo(line)


def try_source(spec: str, timeout_s: float) -> "Trial":
    """Open a source, watch it for some seconds, close it.  Raises SourceError for a word that names none."""
    from ..stream.live.opening import open_live
    from ..stream.live.trial import try_out

    with open_live(spec) as source:
        return try_out(source, timeout_s)


def report(trial: "Trial") -> list[str]:
    """Write what a source that works gives."""
    lines = [
        f"{trial.source}: works",
        f"  size         {trial.width} x {trial.height}",
        f"  rate         {trial.fps:.1f} frames/s",
        f"  first frame  after {trial.first_frame_s:.1f} s",
        f"  read by      {trial.decoder}",
    ]
    if trial.reason and trial.state != "ended":
        lines.append(f"  but then     {trial.reason}")
    return lines


def table(found: "list[Device]") -> list[str]:
    """Write the cameras as a table; what is wrong with one stands behind it."""
    from .table import columns

    rows = [("source", "name", ""), *((device.source, device.name, device.problem) for device in found)]
    return columns(rows)
