"""`onlooker chat`: a conversation while a source plays."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import SettingsError
from .ask import MOST_TOKENS, choose_model, read_time
from .model_options import DEVICE, DTYPE, OFFLINE, REVISION

HELP = """Talk about what a camera or a video shows, while it plays.

The source plays on in real time, whatever you do; type a question and press Enter. Answers come as they are decoded,
with the times at which they were seen. A source that is lost comes back by itself; what was seen is not forgotten.

\b
Try it without a camera (pocket, the bundled model, knows the sprite theatre and nothing else):
  onlooker chat theatre:7

\b
A camera, a network camera, or a file in real time, with a model for real footage:
  onlooker chat camera:0 --model llava-hf/llava-onevision-qwen2-0.5b-ov-hf
  onlooker chat rtsp://user:password@10.0.0.5/stream1 --model Qwen/Qwen3-VL-4B-Instruct
  onlooker chat examples/theatre.mp4

\b
At the prompt, which shows the time of the stream:
  0:42 > What is on the screen now?        0:42 > /watch a cat comes in
  0:42 > /since 2m What moved?             0:42 > /mark before lunch
  0:42 > /range 0:10 0:30                  0:42 > /help

Ctrl-C stops an answer; twice at the prompt it ends, and so does Ctrl-D. Nothing is lost: with --memory DIR all that was
seen is kept in the folder, and the next conversation goes on with it.

\b
Questions from a pipe, answers as JSON lines:
  printf '/wait 20s\\nWhat is there now?\\n' | onlooker chat theatre:7 --json
"""


def chat(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="theatre:7, camera:0, rtsp://..., http://..., or a video file.")
    ],
    memory: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep what is seen in this folder, and go on there the next time."),
    ] = None,
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
    max_tokens: Annotated[int, typer.Option(min=1, max=MOST_TOKENS, help="Longest answer, in tokens.")] = 128,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest words.")] = 0.0,
    watch: Annotated[
        list[str] | None, typer.Option(metavar="CONDITION", help="Say when this becomes true; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object a line, and no prompt.")] = False,
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
    frame_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most visual tokens of a frame, where the model leaves the choice.")
    ] = None,
    verbose: Annotated[
        int,
        typer.Option("--verbose", "-v", count=True, show_default=False, help="Print timings; -vv tracebacks."),
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no hints.")] = False,
) -> None:
    """Talk about what a source shows; the text of --help is HELP."""
    from ..settings import Settings
    from .chatting import ChatRequest, run
    from .evidence import EvidenceFolder

    if not source.strip():
        raise SettingsError("the source is empty; name one, such as theatre:7 or camera:0: onlooker chat --help")
    settings = Settings(
        memory_tokens=memory_tokens,
        archive_bytes=memory_mib << 20,
        disk_bytes=disk_mib << 20,
        codec=codec,
        keep_s=None if keep is None else keep / 1e6,
    )
    folder = None if evidence is None else EvidenceFolder(evidence)
    choice = choose_model(model, device, dtype, revision, offline, frame_tokens, memory)
    run(
        ChatRequest(
            source=source,
            model=choice,
            memory=memory,
            fps=fps or None,
            max_tokens=max_tokens,
            temperature=temperature,
            watches=tuple(watch or ()),
            as_json=as_json,
            verbose=verbose > 0,
            quiet=quiet,
        ),
        settings,
        folder,
    )
