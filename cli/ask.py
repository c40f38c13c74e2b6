"""`onlooker ask`: watch a video and answer questions about it."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import SettingsError
from ..settings import FRAME_TOKENS
from .evidence import EvidenceFolder
from .interruption import Interruption
from .model_options import DEVICE, DTYPE, OFFLINE, REVISION, ModelChoice

HELP = """Watch a video or a camera, remember it, and answer questions about it.

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

\b
Watch a camera for a while, or the built-in theatre where there is none:
  onlooker ask camera:0 --to 0:30 "What is there now?"
  onlooker ask theatre:7 --to 0:20 "What is there now?"
  onlooker ask rtsp://user:password@10.0.0.5/stream1 "Who came in?"

\b
Keep the memory, go on later, ask without the video (onlooker memory --help):
  onlooker ask talk.mp4 --memory talk.memory
  onlooker ask --memory talk.memory "What was on the first slide?"

TIME is in seconds (90), a clock time (1:30, 1:02:00) or a length (1h2m).
"""

MOST_TOKENS = 8192
"""models.backbone.MOST_ANSWER_TOKENS, which cannot be imported here without torch."""

READINGS = (
    "none, resprune, cdpruner, anchorprune, dart, hero, ptp (before the model), fastv, pyramiddrop, feather, "
    "adaptinfer (inside it), read-random, read-uniform or read-relevant"
)
"""The names of pruning.readings.READINGS, which cannot be imported here without torch."""

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
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="The video file, or a live source.", show_default=False)
    ] = None,
    questions: Annotated[
        list[str] | None, typer.Argument(metavar="QUESTION", help="What to ask.", show_default=False)
    ] = None,
    memory: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep what is seen in this folder, and go on there the next time."),
    ] = None,
    at: Annotated[
        list[int] | None, typer.Option(parser=read_time, metavar="TIME", help="Ask at this time; may be repeated.")
    ] = None,
    start: Annotated[
        int | None, typer.Option("--from", parser=read_time, metavar="TIME", help="Watch from here on.")
    ] = None,
    to: Annotated[int | None, typer.Option(parser=read_time, metavar="TIME", help="Watch until here.")] = None,
    fps: Annotated[float, typer.Option(min=0.0, max=1000.0, help="Frames a second to look at; 0 for all.")] = 2.0,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model: pocket, a folder, or a hub id (onlooker models list) [default: pocket, or the memory's]",
            show_default=False,
        ),
    ] = None,
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
    memory_mib: Annotated[int, typer.Option(min=1, help="Most MiB of RAM that the past may take.")] = 2048,
    disk_mib: Annotated[int, typer.Option(min=64, help="Most MiB that --memory may take on disk.")] = 65_536,
    codec: Annotated[
        Literal["raw", "raw16", "int8", "int4", "int2", "auto"],
        typer.Option(help="How keys and values are kept; auto takes the fewest bits, once calibrated."),
    ] = "int4",
    keep: Annotated[
        int | None, typer.Option(parser=read_time, metavar="TIME", help="Forget what is older [default: what fits].")
    ] = None,
    prune: Annotated[
        str, typer.Option(metavar="RECIPE", help="Which tokens of a frame to keep; onlooker prune --list has them all.")
    ] = "novelty",
    prune_rate: Annotated[float, typer.Option(min=0.01, max=1.0, help="Share of tokens to keep.")] = 0.25,
    gate: Annotated[
        Literal["auto", "always", "never"], typer.Option(help="Whether the past is read: auto goes by the question.")
    ] = "auto",
    positions: Annotated[
        Literal["contiguous", "capped", "kept"],
        typer.Option(help="What becomes of the positions of what was left out between recalled blocks."),
    ] = "contiguous",
    reading: Annotated[
        str, typer.Option(metavar="NAME", help=f"How remembered tokens are pruned for a question: {READINGS}.")
    ] = "none",
    reading_rate: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the remembered tokens that --reading keeps.")
    ] = 0.5,
    frame_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Most visual tokens of a frame, where the model leaves the choice [default: {FRAME_TOKENS}].",
            show_default=False,
        ),
    ] = None,
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
    asked = questions or []
    if memory is not None and source is not None and not is_source(source):
        asked, source = [source, *asked], None
    check_words(source, asked, memory)
    if source is None and (at or start or to):
        raise SettingsError("--at, --from and --to are about watching, and no video is given; name one")
    if source is not None and start:
        from ..stream.live.opening import is_live

        if is_live(source):
            raise SettingsError("--from is for files: a live source is watched from now on; leave --from out")
    settings = Settings(
        recipe=prune,
        prune_rate=prune_rate,
        memory_tokens=memory_tokens,
        archive_bytes=memory_mib << 20,
        disk_bytes=disk_mib << 20,
        codec=codec,
        keep_s=None if keep is None else keep / 1e6,
        gate=gate,
        positions=positions,
        reading=reading,
        reading_rate=reading_rate,
    )
    folder = None if evidence is None else EvidenceFolder(evidence)
    choice = choose_model(model, device, dtype, revision, offline, frame_tokens, memory)
    if choice.name == "pocket" and not quiet:
        typer.echo(POCKET_HINT, err=True)
    with Interruption() as interruption:
        from .asking import Request, run

        run(
            Request(
                source=source,
                questions=tuple(asked),
                moments_us=moments,
                start_us=start or 0,
                end_us=to,
                fps=fps or None,
                model=choice,
                memory=memory,
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


def is_source(word: str) -> bool:
    """Say whether a word names a video rather than asks something: a file that is there, an address, or a file name."""
    if not word.strip():
        return False
    try:
        there = Path(word).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long for a name, an unknown user's home, a null byte
        there = False
    if word.endswith("?") and not there:
        return False
    return there or re.search(r"^\w[\w+.-]+:/|\.\w{2,5}$", word) is not None or len(word.split()) == 1


def check_words(source: str | None, questions: list[str], memory: Path | None) -> None:
    """Raise SettingsError unless there is something to watch or to ask, and no question is empty."""
    if source is None and memory is None:
        raise SettingsError("no video is given; name a file and a question, or a --memory to ask: onlooker ask --help")
    if not questions and (memory is None or source is None):
        raise SettingsError("no question is given; ask something, such as 'what is on the screen now?'")
    if not all(question.strip() for question in questions):
        raise SettingsError("a question is empty; ask something, such as 'what is on the screen now?'")


def choose_model(
    name: str | None,
    device: str,
    dtype: str,
    revision: str | None,
    offline: bool,
    frame_tokens: int | None,
    memory: Path | None,
) -> ModelChoice:
    """Choose the model as it was asked for, and where nothing was, as it was when the memory was made."""
    if memory is not None and name is None:
        from ..memory.folder import is_memory, open_owner

        if is_memory(memory):
            owner = open_owner(memory)
            kept = str(owner.layout.dtype).removeprefix("torch.")
            return ModelChoice(
                owner.model,
                device,
                kept if dtype == "auto" else dtype,
                revision or owner.revision,
                offline,
                owner.frame_tokens or FRAME_TOKENS if frame_tokens is None else frame_tokens,
            )
    tokens = FRAME_TOKENS if frame_tokens is None else frame_tokens
    return ModelChoice(name or "pocket", device, dtype, revision, offline, tokens)


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
