"""Schemas: strict readers and writers of JSON that are made from annotated dataclasses.

A dataclass is the only definition of an object on the wire. A field's annotation gives its type, its bounds (shape.py)
and, as a string in Annotated, its meaning for the documentation. A field with a default may be left out.
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol, TypeVar, Union, get_args, get_origin

from .errors import MOST_PARAM, EventError, quoted
from .json_text import has_surrogate
from .shape import Many, Number, Text, Whole


class Record(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[object]]]


T = TypeVar("T", bound=Record)

Reader = Callable[[object, str, bool], object]
"""(value, the field's path, lenient) -> the checked value.  Raises EventError."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Describe a field: kind is its type in words, meaning what it is for, required whether it must be there."""

    name: str
    kind: str
    meaning: str
    required: bool
    read: Reader


@dataclass(frozen=True, slots=True)
class Kind:
    """Describe a type: how it is read, and in words."""

    read: Reader
    words: str
    meaning: str = ""


@functools.cache
def slots_of(cls: type[Record]) -> tuple[Slot, ...]:
    """Give the fields of a dataclass in order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found = []
    for field in dataclasses.fields(cls):
        kind = _kind(hints[field.name], ())
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        found.append(Slot(field.name, kind.words, kind.meaning, required, kind.read))
    return tuple(found)


def read_record(cls: type[T], value: Mapping[str, object], path: str = "", lenient: bool = False, tag: str = "") -> T:
    """Make a dataclass from a JSON object; tag names a key that is no field.

    lenient: unknown fields are left out instead of refused.  Raises EventError with the path of what is wrong.
    """
    slots = slots_of(cls)
    if not lenient:
        known = {slot.name for slot in slots}
        for key in value:
            if key not in known and key != tag:
                where = _join(path, key if key.isidentifier() else "?")
                raise EventError("unknown_field", f"there is no field {quoted(key)} here", param=where[:MOST_PARAM])
    held: dict[str, object] = {}
    for slot in slots:
        if slot.name in value:
            held[slot.name] = slot.read(value[slot.name], _join(path, slot.name), lenient)
        elif slot.required:
            raise _wrong(_join(path, slot.name), f"{slot.name} is missing", f"give {slot.kind}")
    made = cls(**held)
    check = getattr(made, "check", None)
    if check is not None:
        check()
    return made


def plain(value: object, nulls: bool) -> object:
    """Make of dataclasses, tuples and mappings what json writes; fields that are None stay only with nulls."""
    if isinstance(value, str | int | float) or value is None:
        return value
    if isinstance(value, tuple):
        return [plain(item, nulls) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item, nulls) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        tag = getattr(value, "TYPE", None)
        made: dict[str, object] = {} if tag is None else {"type": tag}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if item is not None or (nulls and field.name not in ("seq", "event_id")):
                made[field.name] = plain(item, nulls)
        return made
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _wrong(path: str, message: str, remedy: str, code: str = "invalid_event") -> EventError:
    return EventError(code, message, remedy=remedy, param=path[:MOST_PARAM])


def _name(path: str) -> str:
    return path.rpartition(".")[2] or "the value"


def _kind(hint: object, marks: tuple[object, ...]) -> Kind:
    """Make a type's reader."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        kind = _kind(args[0], (*args[1:], *marks))
        meaning = next((mark for mark in (*marks, *reversed(args[1:])) if isinstance(mark, str)), "")
        return dataclasses.replace(kind, meaning=meaning or kind.meaning)
    if origin in (Union, types.UnionType):
        return _union(args, marks)
    if origin is Literal:
        return _choice(args)
    if origin is tuple:
        return _array(args, marks)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return _table(args[1], marks)
    if hint is str:
        return _text(_mark(marks, Text))
    if hint is bool:
        return _flag()
    if hint is int:
        return _whole(_mark(marks, Whole))
    if hint is float:
        return _number(_mark(marks, Number))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _tagged([hint]) if hasattr(hint, "TYPE") else _record(hint)
    raise TypeError(f"no event may hold {hint!r}")


M = TypeVar("M")


def _mark(marks: tuple[object, ...], wanted: type[M]) -> M:
    for mark in marks:
        if isinstance(mark, wanted):
            return mark
    raise TypeError(f"a field needs a bound: {wanted.__name__}")


def _union(args: tuple[object, ...], marks: tuple[object, ...]) -> Kind:
    some = [arg for arg in args if arg is not types.NoneType]
    inner = _kind(some[0], marks) if len(some) == 1 else _tagged(some)
    if len(some) == len(args):
        return inner

    def read(value: object, path: str, lenient: bool) -> object:
        return None if value is None else inner.read(value, path, lenient)

    return Kind(read, f"{inner.words}, or null", inner.meaning)


def _choice(choices: tuple[object, ...]) -> Kind:
    words = " or ".join(f'"{choice}"' for choice in choices)

    def read(value: object, path: str, lenient: bool) -> object:
        if not isinstance(value, str) or value not in choices:
            raise _wrong(path, f"{_name(path)} is {quoted(value)}", f"give {words}")
        return value

    return Kind(read, words)


def _text(bound: Text) -> Kind:
    words = f"text of {bound.least} to {bound.most} characters"

    def read(value: object, path: str, lenient: bool) -> object:
        if not isinstance(value, str):
            raise _wrong(path, f"{_name(path)} is {quoted(value)}, not text", f"give {words}")
        if not bound.least <= len(value) <= bound.most:
            raise _wrong(path, f"{_name(path)} has {len(value)} characters", f"give {words}", bound.code)
        if has_surrogate(value):
            raise _wrong(path, f"{_name(path)} has half a character (a lone surrogate)", "give valid Unicode")
        return value

    return Kind(read, words)


def _flag() -> Kind:
    def read(value: object, path: str, lenient: bool) -> object:
        if not isinstance(value, bool):
            raise _wrong(path, f"{_name(path)} is {quoted(value)}", "give true or false")
        return value

    return Kind(read, "true or false")


def _whole(bound: Whole) -> Kind:
    words = f"a whole number, {_bound(bound.least)} to {_bound(bound.most)}"

    def read(value: object, path: str, lenient: bool) -> object:
        if isinstance(value, bool) or not isinstance(value, int) or not bound.least <= value <= bound.most:
            raise _wrong(path, f"{_name(path)} is {quoted(value)}", f"give {words}")
        return value

    return Kind(read, words)


def _number(bound: Number) -> Kind:
    words = f"a number, {_bound(bound.least)} to {_bound(bound.most)}"

    def read(value: object, path: str, lenient: bool) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float) or not bound.least <= value <= bound.most:
            raise _wrong(path, f"{_name(path)} is {quoted(value)}", f"give {words}")
        return float(value)

    return Kind(read, words)


def _bound(value: float) -> str:
    if isinstance(value, int) and abs(value) == (1 << 53) - 1:
        return "2^53 − 1" if value > 0 else "−(2^53 − 1)"
    if abs(value) >= 1e6 and math.log10(abs(value)).is_integer():
        return f"{'−' if value < 0 else ''}10^{round(math.log10(abs(value)))}"
    return f"{value:g}".replace("-", "−") if abs(value) < 1e6 else str(value).replace("-", "−")


def _array(args: tuple[object, ...], marks: tuple[object, ...]) -> Kind:
    if len(args) == 2 and args[1] is Ellipsis:
        most = _mark(marks, Many).most
        item = _kind(args[0], ())

        def read(value: object, path: str, lenient: bool) -> object:
            if not isinstance(value, list):
                raise _wrong(path, f"{_name(path)} is {quoted(value)}, not an array", "give an array")
            if len(value) > most:
                raise _wrong(path, f"{_name(path)} has {len(value)} items", f"give at most {most}")
            return tuple(item.read(one, f"{path}[{at}]", lenient) for at, one in enumerate(value))

        return Kind(read, f"array of at most {most}: {item.words}", item.meaning)
    items = tuple(_kind(arg, ()) for arg in args)

    def read_fixed(value: object, path: str, lenient: bool) -> object:
        if not isinstance(value, list) or len(value) != len(items):
            raise _wrong(path, f"{_name(path)} is {quoted(value)}", f"give an array of {len(items)}")
        return tuple(
            kind.read(one, f"{path}[{at}]", lenient) for at, (kind, one) in enumerate(zip(items, value, strict=True))
        )

    return Kind(read_fixed, f"array of {len(items)}: {items[0].words}")


def _table(hint: object, marks: tuple[object, ...]) -> Kind:
    most, item = _mark(marks, Many).most, _kind(hint, ())

    def read(value: object, path: str, lenient: bool) -> object:
        if not isinstance(value, dict):
            raise _wrong(path, f"{_name(path)} is {quoted(value)}, not an object", "give an object")
        if len(value) > most:
            raise _wrong(path, f"{_name(path)} has {len(value)} members", f"give at most {most}")
        made = {}
        for key, one in value.items():
            if not 1 <= len(key) <= 64 or not key.isascii():
                raise _wrong(path, f"{quoted(key)} is no name", "give names of 1 to 64 ASCII characters")
            made[key] = item.read(one, _join(path, key), lenient)
        return made

    return Kind(read, f"object of at most {most} members: {item.words}")


def _record(cls: type[Record]) -> Kind:
    def read(value: object, path: str, lenient: bool) -> object:
        if not isinstance(value, dict):
            raise _wrong(path, f"{_name(path)} is {quoted(value)}, not an object", "give an object")
        return read_record(cls, value, path, lenient)

    return Kind(read, f"object `{cls.__name__}`")


def _tagged(classes: typing.Sequence[object]) -> Kind:
    """Read one of several dataclasses, told apart by their TYPE."""
    by_type = {str(getattr(cls, "TYPE", "")): cls for cls in classes}
    words = " or ".join(f'"{name}"' for name in by_type)

    def read(value: object, path: str, lenient: bool) -> object:
        if not isinstance(value, dict):
            raise _wrong(path, f"{_name(path)} is {quoted(value)}, not an object", "give an object")
        tag = value.get("type")
        cls = by_type.get(tag) if isinstance(tag, str) else None
        if cls is None:
            raise _wrong(_join(path, "type"), f"type is {quoted(tag)}", f"give {words}")
        return read_record(typing.cast(type[Record], cls), value, path, lenient, tag="type")

    return Kind(read, f"object with type {words}")
