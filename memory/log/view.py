"""The view: which files of a folder make up a log, and what is in them; looking changes no byte."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .about import ABOUT_NAMES
from .damage import Damage
from .files import Files
from .loading import Loaded, load_last, load_sealed, read_segment_header
from .segments import COMPACTED, SEGMENT_HEADER_BYTES, TEMPORARY, SegmentHeader, parse_name
from .table import Segment

LOCK_NAME = "lock"

_MOST_TRIES = 100


@dataclass(frozen=True, slots=True)
class View:
    """Hold a log's segments in order.

    leftovers: files of the folder that take no part: temporary ones, segments that a compacted one replaces, and a
    last segment whose creation was cut off.  torn_bytes: bytes at the end that were never acknowledged.  open_end:
    whether the last segment can be written on.  durable: the sequence up to which the disk itself says that
    everything was synced, durable_end where its records end in the last segment, in bytes, and vouched the same
    sequence, as far as what is before the torn bytes says so.
    """

    segments: tuple[Segment, ...]
    damage: tuple[Damage, ...]
    leftovers: tuple[str, ...]
    torn_bytes: int
    open_end: bool
    durable: int
    durable_end: int
    vouched: int

    @property
    def last(self) -> int:
        """The newest sequence; 0 when there is none."""
        return self.segments[-1].last if self.segments else 0


def look(files: Files, folder: Path, log_id: int, known: Mapping[str, Segment] | None = None) -> View:
    """Read a folder as it is; known: sealed segments that need not be loaded again.

    Raises StorageError for what cannot be this log's, OSError.
    """
    for _ in range(_MOST_TRIES):
        names = files.list(folder)
        try:
            view = _look_once(files, folder, log_id, names, known or {})
        except FileNotFoundError:
            continue  # a writer compacted meanwhile: look again
        # A listing made during a rename may have missed both the old and the new name.
        if _segment_names(files.list(folder)) == _segment_names(names):
            return view
    raise OSError(f"{folder} changed {_MOST_TRIES} times while it was read")


def _segment_names(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if parse_name(name)]


def _look_once(files: Files, folder: Path, log_id: int, names: tuple[str, ...], known: Mapping[str, Segment]) -> View:
    headers: dict[str, SegmentHeader | None] = {}
    leftovers = [name for name in names if name.endswith(TEMPORARY) and belongs(name)]
    unborn = ""
    ordered = sorted(_segment_names(names), key=_numbers)
    for name in ordered:
        if name in known:
            headers[name] = known[name].header
            continue
        headers[name], size = read_segment_header(files, folder, name, log_id)
        if headers[name] is None and size <= SEGMENT_HEADER_BYTES and name == ordered[-1]:
            unborn = name
    replaced = _replaced(headers)
    leftovers += sorted(replaced | ({unborn} if unborn else set()))
    order = [name for name in ordered if name not in replaced and name != unborn]
    segments: list[Segment] = []
    damage: list[Damage] = []
    torn_bytes = files.size(folder / unborn) if unborn else 0
    open_end, durable, durable_end, vouched = False, 0, 0, 0
    expected = 1
    for place, name in enumerate(order):
        first = _numbers(name)[0]
        if first > expected:
            what = f"records {expected} to {first - 1} are missing"
            damage.append(Damage("", 0, 0, None, what))
        # What follows was begun only after this one had been synced, even if it was not born itself.
        later = [*order[place + 1 :], *([unborn] if unborn else [])]
        header = headers[name]
        if name in known:
            loaded = Loaded(known[name], (), known[name].last, known[name].end, known[name].last)
        elif header is not None and header.role == COMPACTED:
            loaded = load_sealed(files, folder, name, header, header.last, log_id)
        elif later:
            loaded = load_sealed(files, folder, name, header, max(_numbers(later[0])[0], first) - 1, log_id)
        else:
            loaded = load_last(files, folder, name, header, log_id)
            open_end = header is not None
        segments.append(loaded.segment)
        damage += loaded.damage
        torn_bytes += loaded.torn_bytes
        durable, durable_end, vouched = loaded.durable, loaded.durable_end, loaded.vouched
        expected = loaded.segment.last + 1
    return View(tuple(segments), tuple(damage), tuple(leftovers), torn_bytes, open_end, durable, durable_end, vouched)


def _replaced(headers: Mapping[str, SegmentHeader | None]) -> set[str]:
    """Give the segments whose records a compacted one of a later generation has taken over."""
    gone: set[str] = set()
    covers: list[SegmentHeader] = []
    for name in sorted(headers, key=lambda name: (_numbers(name)[0], -_numbers(name)[1])):
        first, generation = _numbers(name)
        covers = [cover for cover in covers if cover.last >= first]
        if any(cover.generation > generation for cover in covers):
            gone.add(name)
        header = headers[name]
        if header is not None and header.role == COMPACTED:
            covers.append(header)
    return gone


def _numbers(name: str) -> tuple[int, int]:
    return parse_name(name) or (0, 0)


def belongs(name: str) -> bool:
    """Tell whether a file of that name in a log's folder is the log's own, finished or not."""
    name = name.removesuffix(TEMPORARY)
    return parse_name(name) is not None or name in (LOCK_NAME, *ABOUT_NAMES)
