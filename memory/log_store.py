"""A store on disk: groups as records of a segment log, with a cache of bodies in host memory.

A group is put by one append of three records: its body, its head, and its name, which makes it count.  The last put of
a group is the one that holds, unless a later record drops it.  docs/format.md has the records to the byte.
"""

import logging
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ..errors import RecallError, StorageError
from .log.errors import DamagedError
from .log.export import Export
from .log.log import SegmentLog
from .log.records import HEADER_BYTES, RecordInfo

BODY, HEAD, NAME, DROPPED, NOTE = 1, 2, 3, 4, 5
"""Kinds of records.  NAME: a group's id, behind its body and head.  DROPPED: ids of groups that are gone.  NOTE: a few
words under a key, of which the last count."""

CHECKPOINT = "checkpoint"
"""The note that a session goes on from."""

_ID = struct.Struct("<q")
_HEAD_ID = struct.Struct("<4sHHq")  # how a head begins: see group.Head
_ENTRY_BYTES = 420
"""Bytes of Python objects that a group costs in host memory (CPython 3.11: measured 400)."""
_READERS = 4
_TRIES = 5  # of a reader, while a writer compacts
_SCRUB_EVERY_S, _SCRUB_BYTES = 60.0, 8 << 20


_logger = logging.getLogger(__name__)


class LogStore:
    """Keep heads and bodies in a segment log.

    segment_bytes: the log's.  sync_s: a thread makes what was put durable so long after it at the latest; 0 does it in
    every put.  writing: without it nothing is written: notes are not kept, and what is dropped is gone here alone.
    The cache's cap is strict.  Reading may be done by any thread; putting, dropping and reclaiming by one at a time.
    """

    def __init__(self, log: SegmentLog, segment_bytes: int, *, sync_s: float = 1.0, writing: bool = True) -> None:
        self.log = log
        self._segment_bytes = segment_bytes
        self._sync_s = sync_s
        self._writing = writing
        self._groups: dict[int, tuple[int, int, int]] = {}  # by id: sequence of the body, bytes of body and head
        self._bodies: set[int] = set()  # sequences of living bodies
        self._notes: dict[str, tuple[int, int]] = {}  # sequence and bytes of the last note under each key
        self._last_change = 0  # sequence of the last record that changed a group
        self._drops: dict[int, bool] = {}  # sequences of DROPPED, and whether a whole compaction came after
        self._live_bytes = 0
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._cache_bytes = self._cap = 0
        self._lock = threading.Lock()  # of the cache
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="onlooker-read")
        if writing:
            self._index()
        else:
            self._follow()
        self._ended, self._dirty = threading.Event(), threading.Event()
        self._syncer: threading.Thread | None = None
        if writing:
            self._syncer = threading.Thread(target=self._keep_synced, name="onlooker-sync", daemon=True)
            self._syncer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def writable(self) -> bool:
        """Whether this is the one that writes."""
        return self._writing

    @property
    def host_bytes(self) -> int:
        """True bytes of host memory held."""
        return self._cache_bytes + _ENTRY_BYTES * len(self._groups)

    @property
    def disk_bytes(self) -> int:
        """True bytes of the log's files."""
        return self.log.disk_bytes

    @property
    def dead_bytes(self) -> int:
        """Bytes of records that nothing refers to any more, and of what stands around records."""
        return max(0, self.log.disk_bytes - self._live_bytes)

    @property
    def reserve_bytes(self) -> int:
        """Bytes of disk that a compaction may need, and what consolidation writes before it."""
        return 3 * self._segment_bytes

    @property
    def noted_bytes(self) -> int:
        """Bytes of disk that the notes that count take."""
        return sum(_size_of(size) for _, size in self._notes.values())

    def put(self, group_id: int, head: bytes, body: bytes) -> None:
        """Append a group; durable after the next sync()."""
        first, _, self._last_change = self.log.append([(BODY, body), (HEAD, head), (NAME, _ID.pack(group_id))])
        self._bury(group_id)
        self._raise(group_id, first, len(body), len(head))
        self._remember(group_id, body)
        self._changed()

    def drop(self, group_ids: Sequence[int]) -> None:
        """Let groups go; one that is not here is no error."""
        gone = [group_id for group_id in group_ids if group_id in self._groups]
        if not gone:
            return
        if self._writing:
            [sequence] = self.log.append([(DROPPED, np.array(gone, dtype="<i8").tobytes())])
            self._drops[sequence] = False
            self._last_change = sequence
            self._changed()
        for group_id in gone:
            self._bury(group_id)

    def note(self, key: str, words: bytes) -> None:
        """Keep a few words, in place of earlier ones under the same key."""
        if not self._writing:
            return
        name = key.encode("ascii")
        payload = bytes([len(name)]) + name + words
        [sequence] = self.log.append([(NOTE, payload)])
        self._keep_note(key, sequence, len(payload))
        self._changed()

    def unnote(self, key: str) -> None:
        """Let the words under a key go."""
        if key in self._notes:
            self.note(key, b"")

    def noted(self, key: str, newest: bool = False) -> bytes | None:
        """Read the words under a key; None where there are none, or they are damaged.

        newest: also None where a group was changed since.
        """
        sequence, _ = self._notes.get(key, (0, 0))
        if not sequence or (newest and sequence < self._last_change):
            return None
        try:
            words = self.log.read(sequence)
        except DamagedError:
            return None
        return words[1 + words[0] :] or None

    def head(self, group_id: int) -> bytes | None:
        """Read a group's head.  Raises RecallError for a group that is not here, StorageError for a damaged one."""
        return self.log.read(self._sequence(group_id) + 1)

    def body(self, group_id: int) -> bytes:
        """Read a group's body.  Raises RecallError for a group that is not here, StorageError for a damaged one."""
        sequence = self._sequence(group_id)
        with self._lock:
            held = self._cache.get(sequence)
            if held is not None:
                self._cache.move_to_end(sequence)
                return held
        try:
            body = self.log.read(sequence)
        except DamagedError:
            raise
        except StorageError:
            if self._writing:
                raise
            self._follow()  # the writer has put another in its place since, and compacted
            body = self.log.read(self._sequence(group_id))
        self._remember(group_id, body)
        return body

    def body_bytes(self, group_id: int) -> int:
        """Give the size of a body.  Raises RecallError for a group that is not here."""
        self._sequence(group_id)
        return self._groups[group_id][1]

    def fetch(self, group_ids: Sequence[int]) -> None:
        """Read several bodies into the cache at the same time; what cannot be read says so when it is asked for."""
        missing = [one for one in group_ids if one in self._groups and self._groups[one][0] not in self._cache]
        if len(missing) > 1:
            list(self._readers.map(self._try, missing))

    def heads(self) -> Iterator[bytes]:
        """Read the head of every group, in rising order of id; a damaged one is left out, and let go."""
        for group_id in sorted(self._groups):
            head = self._read_head(group_id)
            if head is not None:
                yield head

    def reclaim(self) -> int:
        """Rewrite segments without dead records; give the bytes of disk freed."""
        before = self.log.disk_bytes
        self.log.compact(self._is_live)
        self._drops = {sequence: True for sequence, past in self._drops.items() if not past}
        return before - self.log.disk_bytes

    def limit(self, host_bytes: int) -> None:
        """Set how much host memory the cache may take, beside what groups cost anyway."""
        with self._lock:
            self._cap = max(0, host_bytes - _ENTRY_BYTES * len(self._groups))
            self._trim(0)

    def export(self, path: Path) -> Export:
        """Write all that counts into one file.  Raises StorageError where the disk fails."""
        return self.log.export(path, self._is_live)

    def sync(self) -> None:
        """Make everything durable.  Raises StorageError where the disk fails."""
        self._dirty.clear()
        self.log.sync()

    def close(self) -> None:
        """Make everything durable and let the log go.  Raises StorageError where the disk fails."""
        self._ended.set()
        self._dirty.set()
        if self._syncer is not None:
            self._syncer.join()
        self._readers.shutdown()
        self.log.close()

    def _read_head(self, group_id: int) -> bytes | None:
        """Read a head; None where it is damaged, or a writer has let the group go meanwhile."""
        for _ in range(_TRIES):
            if group_id not in self._groups:
                return None
            try:
                return self.log.read(self._groups[group_id][0] + 1)
            except DamagedError:
                self._bury(group_id)
                return None
            except StorageError:
                if self._writing:
                    raise
                self._follow()
        return None

    def _follow(self) -> None:
        """Look again at what a writer has made of the log.  Raises StorageError where it never stands still."""
        for last in reversed(range(_TRIES)):
            self.log.refresh()
            self._groups, self._notes, self._live_bytes = {}, {}, 0
            self._bodies.clear()
            try:
                self._index()
            except StorageError:
                if not last:
                    raise
            else:
                return

    def _index(self) -> None:
        """Find the groups, notes and drops that the log holds."""
        unnamed: dict[int, RecordInfo] = {}  # heads whose name was not met, by sequence
        sizes: dict[int, int] = {}  # bytes of bodies and heads, by sequence
        for info in self.log.records():
            if info.kind in (BODY, HEAD):
                sizes[info.sequence] = info.payload_bytes
                if info.kind == HEAD:
                    unnamed[info.sequence] = info
                continue
            try:
                payload = self.log.read(info.sequence)
            except DamagedError:
                continue
            if info.kind == NAME:
                unnamed.pop(info.sequence - 1, None)
                self._found(_ID.unpack(payload)[0], info.sequence - 2, sizes)
            elif info.kind == DROPPED:
                self._name(unnamed, sizes)
                self._drops[info.sequence] = False
                self._last_change = info.sequence
                for group_id in np.frombuffer(payload, "<i8").tolist():
                    self._bury(group_id)
            elif info.kind == NOTE:
                key = payload[1 : 1 + payload[0]].decode("ascii", "replace")
                self._keep_note(key, info.sequence, info.payload_bytes)
        self._name(unnamed, sizes)

    def _name(self, unnamed: dict[int, RecordInfo], sizes: dict[int, int]) -> None:
        """Take in groups whose name is damaged: their head says it too."""
        for sequence in unnamed:
            try:
                group_id = _HEAD_ID.unpack_from(self.log.read(sequence))[3]
            except (StorageError, struct.error):
                continue
            held = self._groups.get(group_id)
            if held is None or held[0] < sequence - 1:
                self._found(group_id, sequence - 1, sizes)
        unnamed.clear()

    def _found(self, group_id: int, body: int, sizes: dict[int, int]) -> None:
        """Note a group by the sequence of its body; without its head or body it is none."""
        self._last_change = max(self._last_change, body + 2)
        if body in sizes and body + 1 in sizes:
            self._bury(group_id)
            self._raise(group_id, body, sizes[body], sizes[body + 1])

    def _raise(self, group_id: int, sequence: int, body_bytes: int, head_bytes: int) -> None:
        """Count a group's records as alive."""
        self._groups[group_id] = (sequence, body_bytes, head_bytes)
        self._bodies.add(sequence)
        self._live_bytes += _size_of(body_bytes, head_bytes, _ID.size)

    def _bury(self, group_id: int) -> None:
        """Count a group's records as dead, if it has any."""
        held = self._groups.pop(group_id, None)
        if held is None:
            return
        sequence, *sizes = held
        self._bodies.discard(sequence)
        self._live_bytes -= _size_of(*sizes, _ID.size)
        with self._lock:
            self._cache_bytes -= len(self._cache.pop(sequence, b""))

    def _keep_note(self, key: str, sequence: int, payload_bytes: int) -> None:
        """Count a note as alive, in place of the one before it."""
        if key in self._notes:
            self._live_bytes -= _size_of(self._notes[key][1])
        self._notes[key] = (sequence, payload_bytes)
        self._live_bytes += _size_of(payload_bytes)

    def _is_live(self, info: RecordInfo) -> bool:
        if info.kind == DROPPED:  # it may go when no segment is left that it speaks of
            return not self._drops.get(info.sequence, True)
        if info.kind == NOTE:
            return any(info.sequence == sequence for sequence, _ in self._notes.values())
        return info.sequence - (info.kind - BODY) in self._bodies

    def _sequence(self, group_id: int) -> int:
        held = self._groups.get(group_id)
        if held is None:
            raise RecallError(f"group {group_id} is not remembered")
        return held[0]

    def _try(self, group_id: int) -> None:
        try:
            self.body(group_id)
        except (StorageError, RecallError):
            return

    def _remember(self, group_id: int, body: bytes) -> None:
        sequence = self._groups[group_id][0]
        with self._lock:
            if len(body) <= self._cap and sequence not in self._cache:
                self._trim(len(body))
                self._cache[sequence] = body
                self._cache_bytes += len(body)

    def _trim(self, need: int) -> None:
        while self._cache and self._cache_bytes + need > self._cap:
            _, oldest = self._cache.popitem(last=False)
            self._cache_bytes -= len(oldest)

    def _changed(self) -> None:
        if self._sync_s == 0.0:
            self.log.sync()
        else:
            self._dirty.set()

    def _keep_synced(self) -> None:
        """Sync while there is something to; verify a few old records now and then."""
        scrub_s = time.monotonic() + _SCRUB_EVERY_S
        while not self._ended.is_set():
            if self._dirty.wait(max(0.0, scrub_s - time.monotonic())):
                if self._ended.wait(self._sync_s):
                    return
                try:
                    self.sync()
                except StorageError:
                    return  # the log refuses every later append and says why
            if time.monotonic() >= scrub_s:
                scrub_s = time.monotonic() + _SCRUB_EVERY_S
                self._scrub()

    def _scrub(self) -> None:
        try:
            found = self.log.scrub(_SCRUB_BYTES).damage
        except StorageError as error:
            _logger.warning("old records cannot be verified: %s", error)
            return
        for one in found:
            _logger.warning("damaged: %s at byte %d: %s; it is skipped", one.segment, one.offset, one.what)


def _size_of(*payload_bytes: int) -> int:
    return sum(HEADER_BYTES + size for size in payload_bytes)
