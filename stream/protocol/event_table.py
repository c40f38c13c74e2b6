"""The events of one direction, by their type."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Generic, Protocol, TypeVar

from .errors import EventError, quoted
from .json_text import has_surrogate, read_object, write_object
from .schema import Record, plain, read_record


class Event(Record, Protocol):
    """A dataclass that is a message of its own."""

    TYPE: ClassVar[str]


E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bound a text message: its bytes in UTF-8, how deep it is nested, how many values it has."""

    bytes: int
    depth: int
    values: int


class EventTable(Generic[E]):
    """Read and write the events of one direction.

    nulls: whether fields that are None are written.
    """

    def __init__(self, classes: Iterable[type[E]], *, nulls: bool) -> None:
        self.classes: Mapping[str, type[E]] = MappingProxyType({cls.TYPE: cls for cls in classes})
        self._nulls = nulls

    def read(self, text: str, bounds: Bounds) -> E:
        """Read an event.  Raises EventError for anything that is not exactly one."""
        event = self._read(text, bounds, lenient=False)
        assert event is not None  # only a lenient reader gives None
        return event

    def read_lenient(self, text: str, bounds: Bounds) -> E | None:
        """Read an event of a newer other side: unknown fields are left out, an event of an unknown type is None."""
        return self._read(text, bounds, lenient=True)

    def write(self, event: E) -> str:
        """Write an event: `type` first, the fields in their order, no white space.  Raises ValueError for NaN."""
        made = plain(event, self._nulls)
        assert isinstance(made, dict)
        return write_object(made)

    def _read(self, text: str, bounds: Bounds, lenient: bool) -> E | None:
        value = read_object(text, bounds.bytes, bounds.depth, bounds.values)
        event_id = value.get("event_id")
        if not isinstance(event_id, str) or not 1 <= len(event_id) <= 64 or has_surrogate(event_id):
            event_id = None
        try:
            kind = value.get("type")
            if not isinstance(kind, str):
                raise EventError(
                    "invalid_event", f"type is {quoted(kind)}", param="type", remedy="give the event's type"
                )
            cls = self.classes.get(kind)
            if cls is None:
                if lenient:
                    return None
                raise EventError("unknown_event", f"there is no event {quoted(kind)}", param="type")
            return read_record(cls, value, lenient=lenient, tag="type")
        except EventError as refusal:
            refusal.event_id = event_id
            raise
