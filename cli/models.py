"""`onlooker models`: what can be run, what is here, and how to get more."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from .table import columns

if TYPE_CHECKING:
    from ..models.inventory import Entry

app = typer.Typer(
    help="List, fetch and find models.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

LIST_HELP = """List the models that can be run: the bundled one, those in the local cache, and known ones.

Nothing is asked of the network. Sizes are those of the weights, as published or on this disk.
"""

PULL_HELP = """Fetch a model from the Hugging Face hub into the local cache.

Says first how large it is, under which licence it stands, and how much room the disk has. After Ctrl-C run it again:
files that are complete are not fetched again. HF_HOME moves the cache.

\b
  onlooker models pull Qwen/Qwen3-VL-2B-Instruct
  onlooker ask talk.mp4 "Who spoke?" --model Qwen/Qwen3-VL-2B-Instruct --offline
"""

PATH_HELP = """Print the folder of a model that is on this machine; exit code 4 when it is not.

\b
  cp -r "$(onlooker models path Qwen/Qwen3-VL-2B-Instruct)" /media/stick/qwen
"""

REVISION = Annotated[str | None, typer.Option(metavar="REV", help="Branch, tag or commit.")]
ID = Annotated[str, typer.Argument(metavar="ID", help="A Hugging Face id, such as Qwen/Qwen3-VL-2B-Instruct.")]


@app.command("list", help=LIST_HELP)
def list_models(as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """List models; the text of --help is LIST_HELP."""
    from ..models.cache import cache_folder
    from ..models.inventory import inventory

    entries = inventory()
    if as_json:
        typer.echo(json.dumps([entry.to_dict() for entry in entries], indent=2))
        return
    rows = [("model", "family", "weights", "licence", "here"), *(row_of(entry) for entry in entries)]
    typer.echo("\n".join(columns(rows, right=(2,))))
    typer.echo(f"\ncache: {cache_folder()}")
    missing = next((entry.name for entry in entries if entry.state == "not fetched"), None)
    if missing is not None:
        typer.echo(f"fetch: onlooker models pull {missing}")


def row_of(entry: "Entry") -> tuple[str, ...]:
    """Write one model as the cells of a table."""
    from ..models.fit import bytes_text

    name = entry.name if entry.revision in (None, "main") else f"{entry.name} @ {short(str(entry.revision))}"
    weights = bytes_text(entry.weights_bytes) if entry.weights_bytes else "?"
    return name, entry.family, weights, entry.licence or "see its page", entry.state


def short(revision: str) -> str:
    """Cut a commit to what is enough to know it by; leave branches and tags whole."""
    return revision[:10] if len(revision) == 40 else revision


@app.command("pull", help=PULL_HELP)
def pull(name: ID, revision: REVISION = None) -> None:
    """Fetch a model; the text of --help is PULL_HELP."""
    from ..models.hub import Access
    from ..models.loading import fetch
    from .abandoning import abandonable

    def told(line: str) -> None:
        typer.echo(f"onlooker: {line}", err=True)

    typer.echo(str(fetch(name, Access(revision, told=told, guard=abandonable))))


@app.command("path", help=PATH_HELP)
def path(
    name: Annotated[str, typer.Argument(metavar="ID", help="A Hugging Face id, or pocket.")], revision: REVISION = None
) -> None:
    """Print the folder of a model; the text of --help is PATH_HELP."""
    from ..models.cache import locate

    typer.echo(str(locate(name, revision).absolute()))
