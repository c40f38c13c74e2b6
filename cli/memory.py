"""`onlooker memory`: looking after memories, and the heads that they are searched with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ..errors import SettingsError
from ..settings import FRAME_TOKENS
from . import memory_files
from .model_options import DEVICE, DTYPE, MODEL, MOST_OF_A_FRAME, OFFLINE, REVISION, ModelChoice, load

if TYPE_CHECKING:
    from ..bench.calibration import Calibration
    from ..bench.calibration_streams import Material
    from ..models.backbone import Backbone

app = typer.Typer(
    help="Look after memories: what they hold, forgetting, copies; and the heads that they are searched with.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

CALIBRATE_HELP = """Choose a model's retrieval heads, and from which score on something counts as remembered.

A few attention heads of a model know where things are; memory is searched with their keys. Which ones they are is
measured once for a model: streams with known spans are watched, the keys of all heads are indexed, and up to 8 heads
are picked that find the needed spans together. Half of the streams pick them, the other half judge them and decide how
many are kept. Without a calibration a model is searched by its visual features alone.

Then codec auto is fitted: which directions of the model's keys and values matter to answers, and how few bits they
can be kept in (docs/codecs.md). ask --codec auto uses it.

The choice is kept in your data folder under the fingerprint of the model's weights, in place of an older one, and
every later command uses it. It is kept only where luck does not explain what the heads find (less than 1 time in 40).

\b
On sprite theatre streams (nothing is needed but the model):
  onlooker memory calibrate --model Qwen/Qwen3-VL-4B-Instruct

\b
On your own clips, each with its questions beside it (walk.mp4, walk.json):
  onlooker memory calibrate --model Qwen/Qwen3-VL-4B-Instruct walk.mp4 kitchen.mp4
where the JSON is a list of entries such as
  {"question": "where was the red car?", "start_s": 12.5, "end_s": 20}
with null for both times where the thing never was there: these fit the threshold of relevance.

\b
What `pocket` ships with:
  onlooker memory calibrate --report docs/retrieval_heads.md --write models/pocket
"""

LIST_HELP = """List the models that were calibrated here, and the files that say so.

Remove a file to forget a calibration.
"""


app.command("show", help=memory_files.SHOW_HELP)(memory_files.show)
app.command("forget", help=memory_files.FORGET_HELP)(memory_files.forget)
app.command("export", help=memory_files.EXPORT_HELP)(memory_files.export)
app.command("import", help=memory_files.IMPORT_HELP)(memory_files.import_)
app.command("verify", help=memory_files.VERIFY_HELP)(memory_files.verify)
app.command("compact", help=memory_files.COMPACT_HELP)(memory_files.compact)


@app.command("calibrate", help=CALIBRATE_HELP)
def calibrate(
    clips: Annotated[
        list[Path] | None, typer.Argument(metavar="[CLIP]...", help="Labelled video files, two or more.")
    ] = None,
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    revision: REVISION = None,
    offline: OFFLINE = False,
    frame_tokens: MOST_OF_A_FRAME = FRAME_TOKENS,
    seed: Annotated[int, typer.Option(min=0, help="Which theatre streams.")] = 0,
    streams: Annotated[int, typer.Option(min=2, max=100, help="How many theatre streams.")] = 4,
    minutes: Annotated[float, typer.Option(min=1.0, max=1000.0, help="Length of each theatre stream.")] = 14.0,
    fps: Annotated[float, typer.Option(min=0.1, max=60.0, help="Frames a second.")] = 2.0,
    codec_bits: Annotated[
        float, typer.Option(min=0.0, max=8.0, help="Bits a number of codec auto, on average; 0 leaves it out.")
    ] = 2.0,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Put the choice into this model folder's onlooker.json instead."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the tables as Markdown.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every head's figures.")] = None,
) -> None:
    """Choose a model's retrieval heads and threshold of relevance; the text of --help is CALIBRATE_HELP."""
    import json

    from ..bench import calibration
    from ..bench.calibration_report import markdown_report, text_report, to_dict
    from ..bench.calibration_streams import clip_material, theatre_material
    from ..bench.output import write_output
    from ..bench.recall_bench import RecallPlan
    from ..models.calibrations import Calibrations
    from .measure import check_outputs, end_progress, say

    check_outputs(report, json_file)
    if write is not None:
        calibration.card_fields(write)
    else:
        check_folder(users_folder())
    if clips:
        material = clip_material(clips, fps)
        if material.count < 2:
            raise SettingsError("calibration needs 2 clips or more (to pick heads, to judge them), not 1; give another")
    else:
        material = theatre_material(RecallPlan(seed, streams, minutes, fps))
    backbone = load(ModelChoice(model, device, dtype, revision, offline, frame_tokens))
    result = calibration.calibrate(backbone, material, told=say)
    end_progress()
    typer.echo(text_report(result))
    if report is not None:
        words = " ".join(map(str, clips)) if clips else f"--seed {seed} --streams {streams} --minutes {minutes:g}"
        command = f"onlooker memory calibrate --model {model} {words} --fps {fps:g}"
        write_output(report, markdown_report(result, command))
    if json_file is not None:
        write_output(json_file, json.dumps(to_dict(result), indent=2) + "\n")
    if codec_bits:
        fit_codec(backbone, material, codec_bits, write)
    if not result.sure:
        raise_unsure(result)
    if write is not None:
        threshold = None if result.relevance is None else result.relevance.threshold
        calibration.write_card(write, result.chosen, threshold)
        say(f"onlooker: wrote the choice into {write}")
    else:
        kept = Calibrations(users_folder())
        older = "in place of an older one " if kept.path_of(backbone.weights).exists() else ""
        say(f"onlooker: kept the choice {older}in {kept.save(calibration.stored(result, backbone))}")


def fit_codec(backbone: "Backbone", material: "Material", bits: float, write: Path | None) -> None:
    """Fit codec auto and keep its tables, in a model's folder or with the user's calibrations.

    Material that is too little for it is no reason to lose the heads: that is said, and nothing is kept.
    """
    from ..bench.codec_samples import calibrate_on
    from ..models.calibrations import OWN_TABLES, Calibrations
    from .measure import end_progress, say

    try:
        tables = calibrate_on(backbone, material, bits=bits, told=say)
    except SettingsError as error:
        end_progress()
        say(f"onlooker: codec auto was not fitted: {error}")
        return
    end_progress()
    typer.echo(f"codec auto: {tables.bits:.2f} bits a number, and tables of {tables.nbytes / 1e6:.2f} MB")
    path = Calibrations(users_folder()).tables_path(backbone.weights) if write is None else write / OWN_TABLES
    path.parent.mkdir(parents=True, exist_ok=True)
    tables.save(path)
    say(f"onlooker: wrote the codec's tables into {path}")


@app.command("calibrations", help=LIST_HELP)
def calibrations() -> None:
    """List what was calibrated here; the text of --help is LIST_HELP."""
    from ..bench.tally import aligned
    from ..models.calibrations import Calibrations

    kept = Calibrations(users_folder())
    lines = [["model", "heads (layer:head)", "span recall", "calibrated on", "file"]]
    for stored in kept.all():
        low, middle, high = stored.recall
        heads = ", ".join(f"{head.layer}:{head.head}" for head in stored.heads)
        recall = f"{middle:.2f} ({low:.2f}-{high:.2f})"
        lines.append([stored.model, heads, recall, stored.streams, str(kept.path_of(stored.weights))])
    if len(lines) == 1:
        typer.echo(f"Nothing was calibrated here yet ({kept.folder}); see: onlooker memory calibrate --help")
    else:
        typer.echo(aligned(lines))


def check_folder(folder: Path) -> None:
    """Make the folder, before minutes are spent.  Raises SettingsError where that fails."""
    import os

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"cannot make {folder}: {error.strerror}; set XDG_DATA_HOME, or give --write") from error
    if not os.access(folder, os.W_OK):
        raise SettingsError(f"cannot write into {folder}: this user may not; set XDG_DATA_HOME, or give --write")


def users_folder() -> Path:
    """Name the folder of the user's calibrations.  Raises SettingsError for a user without a home."""
    from ..models.calibrations import default_folder

    folder = default_folder()
    if folder is None:
        raise SettingsError("this user has no home folder; set XDG_DATA_HOME, or give --write FOLDER")
    return folder


def raise_unsure(result: "Calibration") -> NoReturn:
    """Raise OnlookerError: the heads are no choice."""
    from ..errors import OnlookerError

    found = result.steps[len(result.chosen) - 1].judging.recall
    raise OnlookerError(
        f"nothing is kept: what the best heads of {result.model} find ({found:.2f}) is not surely better than luck "
        f"(chance finds {result.chance:.2f}, and {result.tries}), so its memory is searched by its visual features "
        "alone; give longer or more streams, or more questions about your own clips"
    )
