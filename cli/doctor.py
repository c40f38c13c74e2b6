"""`onlooker doctor`: what this machine has, what would fit on it, and what is wrong with it."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from .table import columns

if TYPE_CHECKING:
    from .checks import Check

HELP = """Check this installation and this machine; say what would fit, what is wrong, and what mends it.

Nothing is asked of the network. Takes some seconds: a clip is decoded, and pocket answers a question.
Exit code 0 when all is well, 1 when something is wrong.
"""

WIDTH = 100


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """Check the installation and the machine; the text of --help is HELP."""
    checks = all_checks()
    wrong = [check for check in checks if check.remedy is not None]
    if as_json:
        told = {
            "ok": not wrong,
            "checks": [check.to_dict() for check in checks],
            **fit_fields(checks),
        }
        typer.echo(json.dumps(told, indent=2))
    else:
        for line in [*report(checks), "", *fit_table(checks), *verdict(wrong)]:
            typer.echo(line)
    if wrong:
        raise typer.Exit(1)


def all_checks() -> "list[Check]":
    """Run every check, in the order in which they are shown; only the first two when those find a package broken."""
    from . import checks

    first = [checks.check_python(), checks.check_packages()]
    if not complete(first):
        return first
    from . import smoke

    return [
        *first,
        checks.check_faiss(),
        checks.check_processor(),
        checks.check_memory(),
        checks.check_gpu(),
        smoke.check_decoders(),
        checks.check_cache(),
        smoke.check_pocket(),
    ]


def complete(checks: "list[Check]") -> bool:
    """Say whether all packages can be imported: what is beyond needs them."""
    return all(check.remedy is None for check in checks if check.name == "packages")


def report(checks: "list[Check]") -> list[str]:
    """Write what was found, a line for each check, wrapped with a hanging indent."""
    import textwrap

    margin = max(len(check.name) for check in checks) + 2
    lines = []
    for check in checks:
        mark = "" if check.remedy is None else "WRONG: "
        indent = " " * margin
        text = f"{check.name:<{margin}}{mark}{check.found}"
        lines += textwrap.wrap(
            text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        ) or [check.name]
    return lines


def fit_fields(checks: "list[Check]") -> dict[str, object]:
    """Give what --json writes of what would fit."""
    if not complete(checks):
        return {"device": None, "models": []}
    from ..models.fitting import candidates

    models, device = candidates()
    return {"device": device.to_dict(), "models": [model.to_dict() for model in models]}


def fit_table(checks: "list[Check]") -> list[str]:
    """Write what would fit as a table."""
    if not complete(checks):
        return []
    from ..models.fit import bytes_text, hours_text
    from ..models.fitting import candidates

    models, device = candidates()
    cap = bytes_text(models[0].found.cap_bytes)
    rows = [("model", "bf16", "fp32", "memory an hour", f"{cap} hold", "fits")]
    for model in models:
        found = model.found
        rows.append(
            (
                model.name,
                bytes_text(model.bf16_bytes),
                bytes_text(model.fp32_bytes),
                f"{bytes_text(found.still_bytes_h)} .. {bytes_text(found.busy_bytes_h)}",
                f"{hours_text(found.still_h)} .. {hours_text(found.busy_h)}",
                model.verdict,
            )
        )
    return [
        f"What would fit on {device.label}:",
        "",
        *columns(rows, right=(1, 2)),
        "",
        "Memory is host RAM, at the default settings (codec int4): a still scene .. one that always",
        f"changes. Its cap, --memory-mib, is {cap} by default; old memories fade then (docs/memory.md).",
        "",
        "An hour that always changes, by codec:",
        "",
        *columns(
            [
                ("model", *models[0].by_codec),
                *((m.name, *(bytes_text(f.busy_bytes_h) for f in m.by_codec.values())) for m in models),
            ],
            right=(1, 2, 3, 4),
        ),
        "",
    ]


def verdict(wrong: "list[Check]") -> list[str]:
    """Say what is wrong, and the command that mends it."""
    if not wrong:
        return ["All is well."]
    lines = [f"{len(wrong)} thing{'s are' if len(wrong) > 1 else ' is'} wrong:"]
    for check in wrong:
        lines += [f"  {check.name}: {check.found}", f"    mend it with: {check.remedy}"]
    return lines
