"""`onlooker watch`: standing questions about a source, and what is done when one becomes true."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import SettingsError
from .ask import POCKET_HINT, choose_model, read_time
from .interruption import Interruption
from .model_options import DEVICE, DTYPE, OFFLINE, REVISION

HELP = """Watch a source, and tell when something becomes true.

A CONDITION is a yes-or-no question, a thing, or a short sentence about what is there now. It is looked at when the
picture changed, not on every frame, and told when it becomes true; then it must be seen false before it is told again,
and no sooner than after --cooldown. Alerts go to stdout, everything else to stderr. Ctrl-C ends it with a summary.

\b
Try it without a camera (pocket, the bundled model, knows the sprite theatre and nothing else):
  onlooker watch theatre:7 "is there an owl?" pear "a panda appears"
  onlooker watch examples/theatre.mp4 snowman boat

\b
A camera, with a model for real footage, until it happens; then with a picture of it:
  onlooker watch camera:0 "Is there a person at the door?" --until-first --evidence seen/ \\
    --model Qwen/Qwen3-VL-4B-Instruct

\b
Let a command or a web hook know. A command gets the alert as JSON on its standard input (with the picture), and
ONLOOKER_EVENT, _WATCH, _CONDITION, _TIME_S, _AT, _TEXT and _PICTURE in its environment; it is run without a shell:
  onlooker watch theatre:7 owl --exec "notify-send Onlooker owl"
  onlooker watch rtsp://10.0.0.5/stream1 "Is the gate open?" --webhook https://example.org/hook

\b
Keep what is seen, and ask about it afterwards:
  onlooker watch theatre:7 owl --memory door.memory --stop-after 10m
  onlooker ask --memory door.memory "what was next to the owl?"

\b
What works: say what IS there, plainly, one thing a condition ("is there a dog?", "a dog"). What does not: "no dog any
more" (take the "over" line instead), counts, how long something lasts, and order. The newest keyframe alone is read;
--look 5s lets the model read the keyframes of the last five seconds, for what takes time to see. For pocket "a dog",
"dog", "is there a dog?" and "a dog appears" do equally well (docs/standing.md has the figures).

A file runs as fast as it can, and times are its own; a live source runs in real time. TIME is in seconds (90), a clock
time (1:30) or a length (1h2m).
"""

MOST_CONDITIONS = 16


def watch(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="theatre:7, camera:0, rtsp://..., http://..., or a video file.")
    ],
    conditions: Annotated[
        list[str],
        typer.Argument(metavar="CONDITION", help=f"What to tell, up to {MOST_CONDITIONS}.", show_default=False),
    ],
    cooldown: Annotated[
        int, typer.Option(parser=read_time, metavar="TIME", help="Tell a condition no sooner again.")
    ] = "10",  # type: ignore[assignment]  # the parser makes microseconds of it
    look: Annotated[
        int, typer.Option(parser=read_time, metavar="TIME", help="Read the keyframes of so long; 0 for the newest.")
    ] = "0",  # type: ignore[assignment]
    until_first: Annotated[
        bool, typer.Option("--until-first", help="End at the first alert; exit code 1 if there is none.")
    ] = False,
    stop_after: Annotated[
        int | None, typer.Option(parser=read_time, metavar="TIME", help="End after so much of the stream.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object a line.")] = False,
    command: Annotated[
        str | None, typer.Option("--exec", metavar="COMMAND", help="Run this for each alert, without a shell.")
    ] = None,
    exec_timeout: Annotated[
        float, typer.Option(min=0.1, max=86_400.0, metavar="SECONDS", help="End the command after so long.")
    ] = 30.0,
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="POST each alert's JSON to this address.")] = None,
    cleared: Annotated[
        bool, typer.Option("--cleared", help="Run --exec and --webhook when a condition is over, too.")
    ] = False,
    evidence: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a picture of each alert into this folder.")
    ] = None,
    memory: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep what is seen in this folder, and go on there the next time."),
    ] = None,
    disk_mib: Annotated[int, typer.Option(min=64, help="Most MiB that --memory may take on disk.")] = 65_536,
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
    frame_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most visual tokens of a frame, where the model leaves the choice.")
    ] = None,
    verbose: Annotated[
        int,
        typer.Option("--verbose", "-v", count=True, show_default=False, help="Print what is asked; -vv tracebacks."),
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no hints and no summary.")] = False,
) -> None:
    """Watch for conditions; the text of --help is HELP."""
    from ..settings import MIB, Settings

    if not source.strip():
        raise SettingsError("the source is empty; name one, such as theatre:7 or camera:0: onlooker watch --help")
    if len(conditions) > MOST_CONDITIONS:
        raise SettingsError(f"there are {len(conditions)} conditions; the limit is {MOST_CONDITIONS}")
    if cleared and command is None and webhook is None:
        raise SettingsError("--cleared is about --exec and --webhook; give one of them (stdout has both anyway)")
    # Without a folder nobody can ask about the past, so little is kept of it.
    settings = Settings(disk_bytes=disk_mib * MIB) if memory is not None else Settings(archive_bytes=256 * MIB)
    choice = choose_model(model, device, dtype, revision, offline, frame_tokens, memory)
    with Interruption() as interruption:
        from .deliveries import COMMANDS_AT_ONCE, RETRY_S, Command, Deliveries, Webhook
        from .watching import WatchRequest, note, run

        carriers = []
        if command is not None:
            carriers.append(Deliveries(Command(command, exec_timeout), note, threads=COMMANDS_AT_ONCE))
        if webhook is not None:
            carriers.append(Deliveries(Webhook(webhook), note, retries=RETRY_S))
        told = run(
            WatchRequest(
                source=source,
                conditions=tuple(conditions),
                model=choice,
                cooldown_us=cooldown,
                look_us=look,
                until_first=until_first,
                stop_after_us=stop_after,
                fps=fps or None,
                memory=memory,
                evidence=evidence,
                as_json=as_json,
                cleared=cleared,
                verbose=verbose > 0,
                quiet=quiet,
                hint=POCKET_HINT.removeprefix("onlooker: "),
            ),
            settings,
            carriers,
            interruption,
        )
    if until_first and not told:
        raise typer.Exit(1)
