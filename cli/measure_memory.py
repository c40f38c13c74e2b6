"""The measuring commands of `onlooker bench` about memory itself: codec, index, soak."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import SettingsError
from .measure import check_outputs, end_progress, say
from .model_options import DEVICE, DTYPE, MODEL, OFFLINE, REVISION, ModelChoice, load

CODEC_HELP = """Measure what codecs cost in bits and in answers.

Streams sprite theatre shows once; then, long after the events, every block is read back from each codec and the same
questions are asked. Own codecs and rivals (KIVI-2, VidKV, transformers' quantised cache), each at its true bits, all
metadata counted.

\b
What the README shows:
  onlooker bench codec
"""

INDEX_HELP = """Measure the index: bytes, and the time and the blocks found of a question, over sizes.

Keys and questions are the model's own, over sprite theatre shows; sizes beyond that repeat them with a little noise.
"""

SOAK_HELP = """Let a day of stream through a memory on disk, and see what it costs and still knows.

Every hour the first token of the same questions is timed and bytes are counted; at the end the memory is opened anew
and asked about its first and its last hour. Ctrl-C leaves; the memory stays where --memory put it.

\b
What the README shows:
  onlooker bench soak
"""


def codec(
    seed: Annotated[int, typer.Option(min=0, help="Which streams; other seeds share none.")] = 0,
    streams: Annotated[int, typer.Option(min=1, max=1000, help="How many streams.")] = 3,
    minutes: Annotated[float, typer.Option(min=1.0, max=1000.0, help="Length of each stream.")] = 20.0,
    fps: Annotated[float, typer.Option(min=0.1, max=60.0, help="Frames a second.")] = 2.0,
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    revision: REVISION = None,
    offline: OFFLINE = False,
    codecs: Annotated[str | None, typer.Option(help="Only these, with commas between.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
) -> None:
    """Run the codec benchmark; the text of --help is CODEC_HELP."""
    import json
    from dataclasses import asdict

    from ..bench.codec_answers import answers_table, run_codecs
    from ..bench.codec_distortion import codec_table, coded_by_name
    from ..bench.output import write_output
    from ..bench.recall_bench import RecallPlan
    from ..memory.codecs.choice import codec_of

    check_outputs(json_file)
    names = None if codecs is None else [name.strip() for name in codecs.split(",") if name.strip()]
    if names == []:
        raise SettingsError(f"--codecs is {codecs!r}; name some, such as raw,int4, or leave it out for all")
    backbone = load(ModelChoice(model, device, dtype, revision, offline))
    layout, tables = backbone.layout, backbone.codec_tables
    wanted = coded_by_name(layout, tables, names)
    plan = RecallPlan(seed, streams, minutes, fps)
    raw = codec_of("raw", layout)
    report = run_codecs(backbone, wanted, raw, plan, backbone.card.retrieval_heads, told=say)
    end_progress()
    asked = report.answers[0].ours[1]
    typer.echo(f"{model}, {report.title}.\n\nAnswers to {asked} questions about the past:\n\n{answers_table(report)}")
    typer.echo(f"\nDistortion:\n\n{codec_table(report.distortion)}")
    if tables is not None:
        typer.echo(f"\nauto's tables come on top, once for a memory: {tables.nbytes / 1e6:.2f} MB.")
    if json_file is not None:
        write_output(json_file, json.dumps(asdict(report), indent=2) + "\n")


def index(
    sizes: Annotated[str, typer.Option(help="How many keys, with commas between.")] = "100000,400000,1000000,4300000",
    rows: Annotated[int, typer.Option(min=1, max=256, help="Tokens of a question.")] = 10,
    questions: Annotated[int, typer.Option(min=1, max=1000, help="How many questions.")] = 50,
    streams: Annotated[int, typer.Option(min=1, max=100, help="How many theatre streams the keys are of.")] = 4,
    minutes: Annotated[float, typer.Option(min=1.0, max=1000.0, help="Length of each stream.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Which streams.")] = 0,
    rivals: Annotated[bool, typer.Option(help="Measure FAISS' own indexes and block bounds too.")] = True,
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows.")] = None,
) -> None:
    """Run the index benchmark; the text of --help is INDEX_HELP."""
    from ..bench.index_bench import IndexPlan, report_text, run_index_bench, write_index_rows
    from ..bench.index_keys import watch_keys
    from ..bench.recall_bench import RecallPlan

    check_outputs(json_file)
    try:
        counts = tuple(int(part) for part in sizes.split(","))
    except ValueError as error:
        raise SettingsError(f"--sizes is {sizes!r}; give numbers, such as 100000,1000000") from error
    plan = IndexPlan(sizes=counts, rows=rows, questions=questions, rivals=rivals)
    backbone = load(ModelChoice(model, device, dtype))
    held = watch_keys(backbone, RecallPlan(seed, streams, minutes), rows, told=say)
    found = list(run_index_bench(held, plan, told=say))
    end_progress()
    typer.echo(report_text(found, held, plan))
    if json_file is not None:
        write_index_rows(json_file, found)


def soak(
    hours: Annotated[float, typer.Option(min=0.05, max=1000.0, help="Length of the stream.")] = 24.0,
    fps: Annotated[float, typer.Option(min=0.1, max=60.0, help="Frames a second.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Which stream.")] = 0,
    marks: Annotated[int, typer.Option(min=2, max=1000, help="How often figures are taken.")] = 24,
    memory: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the memory in this new folder [default: a temporary one].")
    ] = None,
    memory_mib: Annotated[int, typer.Option(min=1, help="Most MiB of RAM that the past may take.")] = 256,
    disk_mib: Annotated[int, typer.Option(min=64, help="Most MiB that the memory may take on disk.")] = 512,
    codec: Annotated[
        Literal["raw", "raw16", "int8", "int4", "int2", "auto"], typer.Option(help="How keys and values are kept.")
    ] = "int4",
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
) -> None:
    """Run the soak; the text of --help is SOAK_HELP."""
    import json
    from tempfile import TemporaryDirectory

    from ..bench.output import write_output
    from ..bench.soak import SoakPlan, report_text, run_soak
    from ..memory.folder import is_memory
    from ..settings import Settings

    check_outputs(json_file)
    if memory is not None and is_memory(memory):
        raise SettingsError(f"{memory} is a memory already; give a new folder")
    plan = SoakPlan(hours, fps, marks, seed)
    settings = Settings(archive_bytes=memory_mib << 20, disk_bytes=disk_mib << 20, codec=codec)
    backbone = load(ModelChoice(model, device, dtype))
    with TemporaryDirectory(prefix="onlooker-soak-") as temporary:
        report = run_soak(backbone, plan, settings, memory or Path(temporary) / "memory", told=say)
    end_progress()
    typer.echo(f"{model} on {backbone.device}, {report_text(report)}")
    if json_file is not None:
        write_output(json_file, json.dumps(report.to_dict(), indent=2) + "\n")
