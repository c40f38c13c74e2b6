"""`onlooker ask`: watch a video and answer questions about it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import SettingsError
from ..settings import FRAME_TOKENS
from .evidence import EvidenceFolder
from .interruption import Interruption
from .model_options import DEVICE, DTYPE, MODEL, MOST_OF_A_FRAME, OFFLINE, REVISION, ModelChoice

HELP = """Watch a video, remember it, and answer questions about it.

Questions are asked when all of it has been seen, or at each --at. Answers go to stdout, with the times at which they
were seen; progress goes to stderr. Ctrl-C stops watching and answers from what was seen so far; a second one leaves.

\b
Ask about the past, when the whole clip has been seen:
  onlooker ask examples/theatre.mp4 "What was next to the boat?"

\b
Ask while it streams, at two moments of the stream:
  onlooker ask examples/theatre.mp4 "What is there now?" --at 1:30 --at 4m

\b
Ask about your own footage, with pictures of where it was seen:
  onlooker ask talk.mp4 "When did the slides end?" --evidence seen/ \\
    --model Qwen/Qwen3-VL-2B-Instruct --dtype bfloat16

TIME is in seconds (90), a clock time (1:30, 1:02:00) or a length (1h2m).
"""

MOST_TOKENS = 8192
"""models.backbone.MOST_ANSWER_TOKENS, which cannot be imported here without torch."""

POCKET_HINT = (
    "onlooker: pocket knows only the sprite theatre (examples/theatre.mp4). For real footage: "
    "--model llava-hf/llava-onevision-qwen2-0.5b-ov-hf, or Qwen/Qwen3-VL-4B-Instruct on a GPU"
)


def read_time(text: str) -> int:
    """Read an option's time as microseconds."""
    from ..memory.time_phrases import parse_moment

    try:
        return parse_moment(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def ask(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The video file.")],
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION", help="What to ask.")],
    at: Annotated[
        list[int] | None, typer.Option(parser=read_time, metavar="TIME", help="Ask at this time; may be repeated.")
    ] = None,
    start: Annotated[
        int | None, typer.Option("--from", parser=read_time, metavar="TIME", help="Watch from here on.")
    ] = None,
    to: Annotated[int | None, typer.Option(parser=read_time, metavar="TIME", help="Watch until here.")] = None,
    fps: Annotated[float, typer.Option(min=0.0, max=1000.0, help="Frames a second to look at; 0 for all.")] = 2.0,
    model: MODEL = "pocket",
    device: DEVICE = "auto",
    dtype: DTYPE = "auto",
    revision: REVISION = None,
    offline: OFFLINE = False,
    max_tokens: Annotated[int, typer.Option(min=1, max=MOST_TOKENS, help="Longest answer, in tokens.")] = 64,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest words.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object a line.")] = False,
    evidence: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write pictures of what was seen into this folder.")
    ] = None,
    memory_tokens: Annotated[
        int | None, typer.Option(min=0, help="Most remembered tokens that an answer reads [default: 16 frames' worth].")
    ] = None,
    memory_mib: Annotated[int, typer.Option(min=1, help="Most MiB that the past may take.")] = 2048,
    prune: Annotated[
        str, typer.Option(metavar="RECIPE", help="Which tokens to keep: novelty, uniform, random or none.")
    ] = "novelty",
    prune_rate: Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of tokens to keep.")] = 0.5,
    gate: Annotated[
        Literal["auto", "always", "never"], typer.Option(help="Whether the past is read: auto goes by the question.")
    ] = "auto",
    positions: Annotated[
        Literal["contiguous", "capped", "kept"],
        typer.Option(help="What becomes of the positions of what was left out between recalled blocks."),
    ] = "contiguous",
    frame_tokens: MOST_OF_A_FRAME = FRAME_TOKENS,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose", "-v", count=True, show_default=False, help="Print sizes and timings; -vv tracebacks."
        ),
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no hints.")] = False,
) -> None:
    """Watch a video and answer questions about it; the text of --help is HELP."""
    from ..settings import Settings

    moments = check_times(at or [], start or 0, to)
    if not all(question.strip() for question in questions):
        raise SettingsError("a question is empty; ask something, such as 'what is on the screen now?'")
    settings = Settings(
        recipe=prune,
        prune_rate=prune_rate,
        memory_tokens=memory_tokens,
        archive_bytes=memory_mib << 20,
        gate=gate,
        positions=positions,
    )
    folder = None if evidence is None else EvidenceFolder(evidence)
    if model == "pocket" and not quiet:
        typer.echo(POCKET_HINT, err=True)
    with Interruption() as interruption:
        from .asking import Request, run

        run(
            Request(
                source=source,
                questions=tuple(questions),
                moments_us=moments,
                start_us=start or 0,
                end_us=to,
                fps=fps or None,
                model=ModelChoice(model, device, dtype, revision, offline, frame_tokens),
                max_tokens=max_tokens,
                temperature=temperature,
                as_json=as_json,
                verbose=verbose > 0,
                quiet=quiet,
            ),
            settings,
            folder,
            interruption,
        )


def check_times(at: list[int], start_us: int, end_us: int | None) -> tuple[int, ...]:
    """Put the moments in order, each once.  Raises SettingsError for one outside of the range that is watched."""
    from ..memory.time_phrases import format_clock

    for moment in at:
        if moment < start_us:
            limit = f"before watching starts (--from {format_clock(start_us)})"
        elif end_us is not None and moment > end_us:
            limit = f"after watching ends (--to {format_clock(end_us)})"
        else:
            continue
        raise SettingsError(f"--at {format_clock(moment)} is {limit}; choose a time in between")
    return tuple(sorted(set(at)))
