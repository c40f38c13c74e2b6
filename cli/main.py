"""The `onlooker` command: what it says about itself, its sub-commands, how errors reach the terminal.

A command's module is imported when the command line starts, so it may import nothing heavy at its top: torch,
numpy and the rest of Onlooker are imported inside the functions.  To add one, add a line at "Commands" below.
"""

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from ..errors import ModelError, OnlookerError, SettingsError, SourceError, StorageError
from . import ask, bench, cameras, chat, doctor, memory, models, prune, serve, watch

HELP = """Watch a video stream for hours and ask about any moment of it.

Onlooker streams a video through a vision language model, keeps what the model saw in a memory of bounded size, and
reads the right part of it when a question comes. It works offline with the small bundled model, `pocket`, which knows
only the sprite theatre (examples/theatre.mp4); for real footage name another model with --model.

\b
Ask about a file, when all of it has been seen:
  onlooker ask examples/theatre.mp4 "What was next to the boat?"

\b
Ask while it streams, at a moment of the stream:
  onlooker ask examples/theatre.mp4 --at 2:30 "What is on the screen now?"

\b
Ask from Python:
  session = onlooker.load("pocket").session()
  session.see(frame)
  print(session.ask("When did you see the snowman?").text)

Each command has its own --help. Set ONLOOKER_DEBUG=1, or give -vv, to see the traceback of an error.
"""

# Rich would colour the help and cost more time than all the rest of the start.
app = typer.Typer(
    name="onlooker",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Commands, one line each: app.command(name, help=...)(function), or app.add_typer(group, name=...).
app.command("ask", help=ask.HELP)(ask.ask)
app.command("chat", help=chat.HELP)(chat.chat)
app.command("watch", help=watch.HELP)(watch.watch)
app.command("cameras", help=cameras.HELP)(cameras.cameras)
app.command("prune", help=prune.HELP)(prune.prune)
app.add_typer(models.app, name="models")
app.command("serve", help=serve.HELP)(serve.serve)
app.command("doctor", help=doctor.HELP)(doctor.doctor)
app.add_typer(memory.app, name="memory")
app.add_typer(bench.app, name="bench")


def print_version(wanted: bool) -> None:
    """Print the version and leave, when asked to."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"onlooker {version('onlooker')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command; the text of --help is HELP."""


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; arguments are those of the process when None.

    An OnlookerError becomes one line on stderr.  Exit codes: 0 done, 2 wrong usage or settings, 3 the source cannot be
    read, 4 the model cannot be used, 5 a memory on disk cannot be read or written, 130 interrupted, 1 anything else.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A dash, or a stray byte of a question, must cost no answer; stderr does without by itself.
        sys.stdout.reconfigure(errors="replace")
    try:
        app(words, prog_name="onlooker")
    except OnlookerError as error:
        if wants_traceback(words):
            traceback.print_exception(error)
        else:
            typer.echo(f"onlooker: {' '.join(str(error).split())}", err=True)
        sys.exit(exit_code(error))


def exit_code(error: OnlookerError) -> int:
    """Choose the exit code that tells a script what kind of thing went wrong."""
    match error:
        case SettingsError():
            return 2
        case SourceError():
            return 3
        case ModelError():
            return 4
        case StorageError():
            return 5
        case _:
            return 1


def wants_traceback(words: Sequence[str]) -> bool:
    """Say whether ONLOOKER_DEBUG or -vv (or -v twice) asks for tracebacks."""
    if os.environ.get("ONLOOKER_DEBUG", "0") not in ("", "0"):
        return True
    options = words[: words.index("--")] if "--" in words else words
    return "-vv" in options or options.count("-v") + options.count("--verbose") > 1
