"""`onlooker memory`, the part about memories in folders: show, export, import, forget, verify, compact."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SettingsError, StorageError
from .ask import read_time

if TYPE_CHECKING:
    from ..memory.keeping import Kept

DIR = Annotated[Path, typer.Argument(metavar="DIR", help="The memory's folder, as ask --memory made it.")]

SHOW_HELP = """Show what a memory holds: whose it is, what it remembers, what it takes.

\b
  onlooker memory show talk.memory
  onlooker memory show talk.memory --json
"""

FORGET_HELP = """Forget a stretch of stream, for good.

Every keyframe that was on the screen at some time between --from and --to is removed, with its keys, values, picture
and index entries, and the files are rewritten: afterwards the bytes are gone from the folder. Copies made earlier
(exports, backups) are not touched. What was at hand for going on (recent frames) goes too where it touches the stretch.

\b
  onlooker memory forget door.memory --from 2:10:00 --to 2:25:00
"""

VERIFY_HELP = """Read every record of a memory and check it.

Each record's checksum is verified and each group of keyframes decoded. Exits with 5 when something is damaged; what is
damaged is skipped when questions are asked, and nothing else is lost with it.
"""

COMPACT_HELP = """Rewrite a memory's files without what was forgotten or replaced."""

EXPORT_HELP = """Write a memory into one file that can be copied to another machine.

\b
  onlooker memory export talk.memory talk.onlooker
  onlooker memory import talk.onlooker elsewhere.memory
"""

IMPORT_HELP = """Make a memory's folder from a file that export wrote; all of it is verified first."""


def show(folder: DIR, as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False) -> None:
    """Show what a memory holds; the text of --help is SHOW_HELP."""
    import json

    from ..memory.keeping import open_kept

    with open_kept(folder) as kept:
        facts = facts_of(kept)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for line in lines_of(facts):
        typer.echo(line)


def facts_of(kept: "Kept") -> dict[str, object]:
    """Collect what there is to know of a memory, as JSON can hold it; times in seconds of stream time."""
    import json

    from ..memory.consolidation import LEVEL_NAMES

    archive, log = kept.archive, kept.store.log
    stats, span = archive.stats(), archive.span()
    told = kept.store.noted("source")
    layout = kept.owner.layout
    return {
        "model": kept.owner.model,
        "fingerprint": layout.fingerprint,
        "source": json.loads(told)["name"] if told is not None else None,
        "start_s": None if span is None else span[0] / 1e6,
        "end_s": None if span is None else span[1] / 1e6,
        "keyframes": stats.blocks,
        "tokens": stats.tokens,
        "raw_bytes": stats.tokens * layout.token_bytes,
        "coded_bytes": stats.body_bytes,
        "disk_bytes": stats.disk_bytes,
        "reclaimable_bytes": kept.store.dead_bytes,
        "codecs": kept.archive.codec_counts(),
        "groups": dict(zip(LEVEL_NAMES, stats.levels, strict=False)),
        "forgotten_s": [[one.start_us / 1e6, one.end_us / 1e6] for one in stats.forgotten],
        "damaged": [f"{one.segment} at byte {one.offset}: {one.what}" for one in log.damage],
    }


def lines_of(facts: dict[str, object]) -> list[str]:
    """Write what facts_of found for people."""
    from ..memory.time_phrases import format_clock
    from ..models.fit import bytes_text

    def clock(seconds: object) -> str:
        return format_clock(round(float(str(seconds)) * 1e6))

    def size(name: str) -> str:
        return bytes_text(float(str(facts[name])))

    remembered = "nothing yet"
    if facts["start_s"] is not None:
        remembered = f"{clock(facts['start_s'])} to {clock(facts['end_s'])}, {facts['keyframes']:,} keyframes"
        remembered += f", {facts['tokens']:,} tokens"
    lines = [
        f"model      {facts['model']} (fingerprint {facts['fingerprint']})",
        f"source     {facts['source'] or 'frames that a program gave'}",
        f"remembers  {remembered}",
        f"on disk    {size('disk_bytes')}, {size('reclaimable_bytes')} of it around and between records",
    ]
    coded = facts["codecs"]
    if isinstance(coded, dict) and coded:
        names = ", ".join(f"{count} {name}" for name, count in coded.items())
        lines.append(
            f"coded      {size('coded_bytes')} of {size('raw_bytes')} as the model makes them; groups: {names}"
        )
    levels = facts["groups"]
    if isinstance(levels, dict) and any(count for name, count in levels.items() if name != "fresh"):
        lines.append("aged       " + ", ".join(f"{count} {name}" for name, count in levels.items() if count))
    gone, damaged = facts["forgotten_s"], facts["damaged"]
    if isinstance(gone, list) and gone:
        lines.append("forgotten  " + ", ".join(f"{clock(start)}–{clock(end)}" for start, end in gone))
    if isinstance(damaged, list):
        lines += [f"damaged    {line}" for line in damaged]
    return lines


def forget(
    folder: DIR,
    start: Annotated[int | None, typer.Option("--from", parser=read_time, metavar="TIME", help="From here on.")] = None,
    to: Annotated[int | None, typer.Option(parser=read_time, metavar="TIME", help="Until here.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Forget all of it.")] = False,
) -> None:
    """Forget a stretch; the text of --help is FORGET_HELP."""
    if start is None and to is None and not everything:
        raise SettingsError("say what to forget: --from TIME, --to TIME or both, or --all")
    if everything and (start is not None or to is not None):
        raise SettingsError("--all forgets everything; leave --from and --to out, or --all")
    if start is not None and to is not None and to <= start:
        raise SettingsError("--to is not after --from; give a stretch")
    from ..memory.keeping import forget_for_good, open_kept
    from ..models.fit import bytes_text

    with open_kept(folder, write=True) as kept:
        gone, freed = forget_for_good(kept, start, to)
    typer.echo(f"forgot {gone} keyframes and freed {bytes_text(freed)}" if gone else "nothing was remembered of that")


def verify(folder: DIR) -> None:
    """Verify a memory; the text of --help is VERIFY_HELP."""
    from ..memory.keeping import open_kept
    from ..memory.keeping import verify as check

    with open_kept(folder) as kept:
        found = check(kept)
    for line in found.damage:
        typer.echo(line)
    typer.echo(f"{found.whole} of {found.groups} groups are whole")
    if found.damage or found.whole < found.groups:
        raise StorageError(
            f"{folder} is damaged in {len(found.damage)} places; what is whole can still be asked about; "
            "keep a copy (onlooker memory export) and check the disk"
        )


def compact(folder: DIR) -> None:
    """Compact a memory; the text of --help is COMPACT_HELP."""
    from ..memory.keeping import open_kept
    from ..models.fit import bytes_text

    with open_kept(folder, write=True) as kept:
        before = kept.store.disk_bytes
        kept.store.reclaim()
        after = kept.store.disk_bytes
    typer.echo(f"{bytes_text(before)} before, {bytes_text(after)} after")


def export(
    folder: DIR,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there already.")] = False,
) -> None:
    """Export a memory; the text of --help is EXPORT_HELP."""
    if file.exists() and not force:
        raise SettingsError(f"{file} is there already; give another name, or --force to write over it")
    if not file.resolve().parent.is_dir():
        raise SettingsError(f"there is no folder {file.resolve().parent}; make it, or give another name")
    from ..memory.keeping import open_kept
    from ..models.fit import bytes_text

    with open_kept(folder) as kept:
        done = kept.store.export(file)
    left_out = f"; {done.damaged} damaged records were left out" if done.damaged else ""
    typer.echo(f"{file}: {done.records} records, {bytes_text(done.bytes)}{left_out}")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that export wrote.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make.")],
) -> None:
    """Import a memory; the text of --help is IMPORT_HELP."""
    if not file.is_file():
        raise SettingsError(f"there is no file {file}; give one that onlooker memory export wrote")
    from ..memory.keeping import import_memory

    owner = import_memory(file, folder)
    typer.echo(f"{folder}: a memory of {owner.model}; ask it with: onlooker ask --memory {folder} QUESTION")
