"""The tables of docs/protocol.md, made from the definitions.

To bring it up to date: python -m onlooker.stream.protocol.tables docs/protocol.md
"""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import client_events, server_events
from .errors import CLOSE_CODES, ERRORS
from .event_table import Event
from .schema import Record, Slot, slots_of
from .server_events import Sequenced, ServerEvent

_PART = re.compile(r"(<!-- table: ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_HEAD = ("seq", "event_id")
_RECORD = re.compile(r"object `(\w+)`")
_TAGGED = re.compile(r"object with type (.*)")
_SHORTER = (
    ("a whole number, −(2^53 − 1) to 2^53 − 1", "a whole number"),
    (", 0 to 2^53 − 1", ", 0 or more"),
    (", 0 to 10^15", ", 0 or more"),
)


def fill_in(text: str) -> str:
    """Put the tables between their marks.  Raises KeyError for a mark of no table."""
    tables = {
        "client events": _events(client_events.CLIENT_EVENTS.classes, client_events),
        "server events": _events(server_events.SERVER_EVENTS.classes, server_events),
        "errors": _errors(),
        "close codes": _close_codes(),
    }
    return _PART.sub(lambda match: f"{match[1]}\n{tables[match[2]]}\n{match[3]}", text)


def _events(classes: Mapping[str, type[Event]], module: object) -> str:
    made: list[str] = []
    parts: dict[str, type[Record]] = {}
    for kind, cls in classes.items():
        made.append(f"#### `{kind}`{_mark(cls)}\n\n{_words(cls)}\n")
        fields = [slot for slot in slots_of(cls) if slot.name not in _HEAD]
        made.append(_fields(fields) if fields else "No fields of its own.\n")
        for part in _parts(fields, module):
            parts[part.__name__] = part
    for name, part in parts.items():
        title = f"with type `{tag}`" if (tag := getattr(part, "TYPE", "")) else f"`{name}`"
        made.append(f"#### Object {title}\n\n{_words(part)}\n\n{_fields(slots_of(part))}")
    return "\n".join(made)


def _parts(slots: list[Slot] | tuple[Slot, ...], module: object) -> Iterator[type[Record]]:
    """Give the objects that fields hold, and those that these hold."""
    for slot in slots:
        tags = [tag for words in _TAGGED.findall(slot.kind) for tag in re.findall(r'"([\w.]+)"', words)]
        tagged = [cls for cls in vars(module).values() if getattr(cls, "TYPE", None) in tags]
        for part in (*(getattr(module, name) for name in _RECORD.findall(slot.kind)), *tagged):
            yield part
            yield from _parts(slots_of(part), module)


def _mark(cls: type[Event]) -> str:
    if not issubclass(cls, ServerEvent):
        return ""
    return "" if issubclass(cls, Sequenced) else " ~"


def _words(cls: type[Record]) -> str:
    return " ".join((inspect.getdoc(cls) or "").split())


def _fields(slots: list[Slot] | tuple[Slot, ...]) -> str:
    rows = ["| field | type | |", "| --- | --- | --- |"]
    for slot in slots:
        kind = slot.kind
        for long, short in _SHORTER:
            kind = kind.replace(long, short)
        rows.append(f"| `{slot.name}`{'' if slot.required else '?'} | {kind} | {slot.meaning} |")
    return "\n".join(rows) + "\n"


def _errors() -> str:
    rows = ["| code | when | what to do | |", "| --- | --- | --- | --- |"]
    for code, kind in ERRORS.items():
        marks = ["retryable"] * kind.retryable + [f"fatal, {kind.close}"] * kind.fatal
        rows.append(f"| `{code}` | {kind.meaning} | {kind.remedy} | {'; '.join(marks)} |")
    return "\n".join(rows) + "\n"


def _close_codes() -> str:
    return (
        "\n".join(["| code | |", "| --- | --- |", *(f"| {code} | {why} |" for code, why in CLOSE_CODES.items())]) + "\n"
    )


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(fill_in(path.read_text(encoding="utf-8")), encoding="utf-8")
