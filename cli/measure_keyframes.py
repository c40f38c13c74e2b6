"""The measuring command of `onlooker bench` about keyframes."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from .measure import check_outputs, end_progress, say

KEYFRAMES_HELP = """Measure which frames are kept: planted changes found, cuts told, keyframes too many.

Draws clips with changes at known moments (cuts, fades, small things, noise, flicker, cameras held by hand) and shows
them to our gate, to the same without compensation (bare), to a clock, and to PySceneDetect's detectors with their
defaults. The table goes to stdout, progress to stderr. No model is needed.

\b
Ours alone, on two kinds of clips:
  onlooker bench keyframes --detectors ours,bare --clips hand,pan
"""


def keyframes(
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Clips of each kind.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Which clips; other seeds share none.")] = 0,
    seconds: Annotated[float, typer.Option(min=8.0, max=600.0, help="Length of each clip.")] = 24.0,
    clips: Annotated[str | None, typer.Option(help="Only these kinds, with commas between.")] = None,
    detectors: Annotated[str | None, typer.Option(help="Only these, with commas between.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write a row per clip and detector.")] = None,
) -> None:
    """Run the keyframe benchmark; the text of --help is KEYFRAMES_HELP."""
    from ..bench.keyframe_bench import KeyframePlan, report_text, run_keyframes, write_keyframe_rows

    check_outputs(json_file)
    plan = KeyframePlan(_names("--clips", clips), _names("--detectors", detectors), seconds, seeds, seed)
    rows = run_keyframes(plan, told=say)
    end_progress()
    typer.echo(report_text(rows, plan))
    if json_file is not None:
        write_keyframe_rows(json_file, rows)


def _names(option: str, text: str | None) -> tuple[str, ...] | None:
    """Read names with commas between; None when nothing was given.  Raises SettingsError where none is named."""
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise SettingsError(f"{option} is {text!r}; name some, or leave it out for all")
    return names
