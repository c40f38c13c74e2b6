"""`onlooker prune`: a picture of what pruning recipes keep of a video."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import SettingsError
from ..settings import FRAME_TOKENS
from .ask import POCKET_HINT, read_time
from .interruption import Interruption
from .model_options import DEVICE, DTYPE, MODEL, MOST_OF_A_FRAME, OFFLINE, REVISION, ModelChoice

HELP = """Draw what a pruning recipe keeps of a video.

The video is taken in as a session would: the keyframe gate chooses frames, the vision tower encodes them, the recipe
keeps some of their cells. The sheet shows keyframes in order of time, kept cells clear and dropped ones dark, and how
much was kept over time. Ctrl-C draws what was seen so far.

\b
See what the default keeps:
  onlooker prune examples/theatre.mp4 --recipe novelty --out sheet.png

\b
Compare recipes over the same frames, and count in JSON:
  onlooker prune talk.mp4 --recipe novelty,dtd,random --rate 0.1 \\
    --from 1:00 --to 3:00 --out sheet.png --json \\
    --model Qwen/Qwen3-VL-2B-Instruct

\b
Which recipes there are:
  onlooker prune --list

TIME is in seconds (90), a clock time (1:30, 1:02:00) or a length (1h2m).
"""

FRAMES = 24

MOST_TILES = 400
"""Most frames times recipes: what is held of a stream until its end is bounded by this."""

SUFFIXES = (".png", ".jpg", ".jpeg")


def prune(
    video: Annotated[str | None, typer.Argument(metavar="VIDEO", help="The video file.", show_default=False)] = None,
    recipe: Annotated[str, typer.Option(metavar="NAMES", help="Recipes, with commas between.")] = "novelty",
    rate: Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of the tokens to keep.")] = 0.25,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw into this PNG or JPEG file.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    start: Annotated[
        int | None, typer.Option("--from", parser=read_time, metavar="TIME", help="Watch from here on.")
    ] = None,
    to: Annotated[int | None, typer.Option(parser=read_time, metavar="TIME", help="Watch until here.")] = None,
    fps: Annotated[float, typer.Option(min=0.0, max=1000.0, help="Frames a second to look at; 0 for all.")] = 2.0,
    keyframes: Annotated[
        Literal["gate", "all"], typer.Option(help="Prune what the keyframe gate lets through, or every frame.")
    ] = "gate",
    frames: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_TILES, help=f"Keyframes to show, spread evenly [default: {FRAMES}].", show_default=False
        ),
    ] = None,
    every: Annotated[
        int | None, typer.Option(min=1, help="Show each so-many-th keyframe instead.", show_default=False)
    ] = None,
    columns: Annotated[
        int | None, typer.Option(min=1, max=100, help="Frames in a row [default: what fits].", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object a keyframe, and a summary.")] = False,
    list_recipes: Annotated[bool, typer.Option("--list", help="List the recipes and leave.")] = False,
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    revision: REVISION = None,
    offline: OFFLINE = False,
    frame_tokens: MOST_OF_A_FRAME = FRAME_TOKENS,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no hints.")] = False,
) -> None:
    """Draw what recipes keep; the text of --help is HELP."""
    if list_recipes:
        print_recipes(as_json)
        return
    if video is None or not video.strip():
        raise SettingsError("no video is given; name a file: onlooker prune --help")
    if out is None and not as_json:
        raise SettingsError("there is nothing to write; give --out sheet.png, or --json")
    names = read_names(recipe)
    if frames is not None and every is not None:
        raise SettingsError("--frames and --every both say which keyframes to show; give one of them")
    most = MOST_TILES // len(names)
    if frames is not None and frames > most:
        raise SettingsError(
            f"{frames} frames of {len(names)} recipes are {frames * len(names)} pictures, and {MOST_TILES} is the "
            f"limit; give --frames {most} or less"
        )
    if out is not None:
        check_sheet(out, force)
    from ..stream.live.opening import is_live

    if is_live(video):
        raise SettingsError(f"{video} is a live source, and this is for files; record it to a file first")
    if model == "pocket" and not quiet:
        typer.echo(POCKET_HINT, err=True)
    with Interruption() as interruption:
        from .showing import PruneRequest, run

        run(
            PruneRequest(
                video=video,
                recipes=names,
                rate=rate,
                model=ModelChoice(model, device, dtype, revision, offline, frame_tokens),
                out=out,
                start_us=start or 0,
                end_us=to,
                fps=fps or None,
                gated=keyframes == "gate",
                most_shown=most if every is not None else min(frames or FRAMES, most),
                exact=frames is not None,
                every=every or 0,
                columns=columns,
                as_json=as_json,
                quiet=quiet,
            ),
            interruption,
        )


def print_recipes(as_json: bool) -> None:
    """Print the recipes, as a table or as JSON."""
    import json

    from .recipe_list import recipe_entries, recipe_table

    entries = recipe_entries()
    if as_json:
        typer.echo(json.dumps([entry.to_dict() for entry in entries], indent=2))
        return
    for line in recipe_table(entries):
        typer.echo(line)


def read_names(text: str) -> tuple[str, ...]:
    """Read the names of recipes, each once.  Raises SettingsError for none, too many and unknown ones."""
    from ..pruning import build_recipe

    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise SettingsError(f"--recipe is {text!r}; name one or more, such as novelty,random: onlooker prune --list")
    if len(names) > MOST_TILES:
        raise SettingsError(f"--recipe has {len(names)} names; {MOST_TILES} is the limit")
    for name in names:
        build_recipe(name, grid=(1, 1))  # raises for an unknown one, before anything is opened
    return names


def check_sheet(path: Path, force: bool) -> None:
    """Raise SettingsError where a sheet cannot be written, or would replace a file without leave."""
    from ..bench.output import check_output

    if path.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"--out is {path}; a sheet is a picture: give a name that ends in {', '.join(SUFFIXES)}")
    check_output(path)
    if path.exists() and not force:
        raise SettingsError(f"{path} is there already; give another name, or --force to replace it")
