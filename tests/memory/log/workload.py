"""A writer's life with a log, a model of what it was promised, and the checker that compares the two."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from onlooker.errors import StorageError
from onlooker.memory.log.errors import DamagedError
from onlooker.memory.log.files import Files
from onlooker.memory.log.log import SegmentLog
from onlooker.memory.log.records import RecordInfo

FOLDER = Path("/memory")
SEGMENT_BYTES = 1400
ABOUT = {"model": "test"}

Record = tuple[int, bytes]


def payload(number: int, size: int) -> bytes:
    """Give bytes that no other number has."""
    return random.Random(number).randbytes(size)


@dataclass
class Model:
    """Know what a log must hold.

    synced: what a sync acknowledged.  appended: what came after that, append by append.  attempt: an append that was
    cut off.  dead: sequences that a compaction may have dropped; gone: that one has.
    """

    created: bool = False
    synced: dict[int, Record] = field(default_factory=dict)
    appended: list[dict[int, Record]] = field(default_factory=list)
    attempt: dict[int, Record] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)

    @property
    def last(self) -> int:
        return max([0, *self.synced, *(sequence for batch in self.appended for sequence in batch)])


@dataclass
class Life:
    """Do things with a log and tell the model; whatever a call raises leaves the model right."""

    files: Files
    model: Model = field(default_factory=Model)
    log: SegmentLog | None = None
    counter: int = 0

    def create(self) -> None:
        self.log = SegmentLog.create(FOLDER, ABOUT, files=self.files, segment_bytes=SEGMENT_BYTES, log_id=77)
        self.model.created = True

    def reopen(self) -> None:
        self.close()
        self.log = SegmentLog.open(FOLDER, write=True, files=self.files, segment_bytes=SEGMENT_BYTES)

    def close(self) -> None:
        if self.log is not None:
            log, self.log = self.log, None
            log.close()
            self._acknowledge()

    def append(self, *sizes: int) -> None:
        assert self.log is not None
        batch = []
        for size in sizes:
            self.counter += 1
            batch.append((1 + self.counter % 3, payload(self.counter, size)))
        expected = {self.model.last + 1 + place: record for place, record in enumerate(batch)}
        self.model.attempt = expected
        sequences = self.log.append(batch)
        assert sequences == tuple(expected)
        self.model.attempt = {}
        self.model.appended.append(expected)

    def sync(self) -> None:
        assert self.log is not None
        assert self.log.sync() == self.model.last
        self._acknowledge()

    def compact(self, dead: Iterable[int], budget_bytes: int | None = None) -> None:
        assert self.log is not None
        self.model.dead |= set(dead)

        def is_live(info: RecordInfo) -> bool:
            return info.sequence not in self.model.dead

        # Sealing the last segment syncs it, though that is not promised before the call returns.
        done = self.log.compact(is_live, budget_bytes)
        self._acknowledge()
        if done.finished:
            self.model.gone |= self.model.dead

    def _acknowledge(self) -> None:
        for batch in self.model.appended:
            self.model.synced |= batch
        self.model.appended = []


def script(life: Life) -> None:
    """Live through everything: appends over several segments, syncs, compactions, reopening."""
    life.create()
    life.append(40)
    life.append(200, 0, 90)
    life.sync()
    life.append(700)
    life.append(300, 300)
    life.append(20)
    life.sync()
    life.compact({1, 3, 5})
    life.append(2500)
    life.append(100, 100)
    life.reopen()
    life.append(150)
    life.append(600, 10)
    life.append(30)
    life.compact({7, 9, 10, 11}, budget_bytes=100)
    life.append(500)
    life.sync()
    life.append(50, 50, 50)
    life.compact({13})
    life.append(64)
    life.close()


def check(files: Files, model: Model, *, holes_possible: bool = False) -> Model:
    """Open a log after a crash, hold it against the model, use it; give the model of what is there now.

    holes_possible: whether unsynced appends may have reached the disk out of order, which shows as damage behind
    everything acknowledged.
    """
    if not model.created:
        try:
            before = contents(SegmentLog.open(FOLDER, write=False, files=files))
        except StorageError:
            made = SegmentLog.create(FOLDER, ABOUT, files=files, segment_bytes=SEGMENT_BYTES, log_id=77)
            made.close()
            return Model(created=True)
        assert before == {}
    seen_by_reader = SegmentLog.open(FOLDER, write=False, files=files)
    before = contents(seen_by_reader)
    log = SegmentLog.open(FOLDER, write=True, files=files, segment_bytes=SEGMENT_BYTES)
    found = contents(log)
    assert found == before
    assert log.damage == seen_by_reader.damage
    assert log.about == ABOUT
    _compare(log, found, model, holes_possible)
    # Recovered once more, it is the same.
    again = SegmentLog.open(FOLDER, write=False, files=files)
    assert contents(again) == found
    assert {d.sequence for d in again.damage} == {d.sequence for d in log.damage}
    assert again.torn_bytes == 0
    # It can be used.
    number = 1_000_000 + log.last
    sequence = log.last + 1
    assert log.append([(9, payload(number, 33))]) == (sequence,)
    assert log.sync() == sequence
    found[sequence] = (9, payload(number, 33))
    log.close()
    with SegmentLog.open(FOLDER, write=True, files=files, segment_bytes=SEGMENT_BYTES) as log:
        assert contents(log) == found
        assert all(d.sequence not in found for d in log.damage)
        return Model(True, found, dead=model.dead - model.gone, gone=set())


def contents(log: SegmentLog) -> dict[int, Record]:
    """Read all that a log has."""
    infos = list(log.records())
    sequences = [info.sequence for info in infos]
    assert sequences == sorted(set(sequences))
    found: dict[int, Record] = {}
    for info in infos:
        try:
            found[info.sequence] = (info.kind, log.read(info.sequence))
        except DamagedError:
            assert info.sequence in {damage.sequence for damage in log.damage}
    return found


def _compare(log: SegmentLog, found: dict[int, Record], model: Model, holes_possible: bool) -> None:
    for sequence, record in model.synced.items():
        if sequence in model.gone:
            assert sequence not in found, f"{sequence} was compacted away and is back"
        elif sequence not in model.dead:
            assert found.get(sequence) == record, f"{sequence} was acknowledged and is gone or changed"
    batches = [*model.appended, *([model.attempt] if model.attempt else [])]
    known = dict(model.synced)
    for batch in batches:
        known |= batch
    for sequence, record in found.items():
        assert known.get(sequence) == record, f"{sequence} was never written like that"
    acknowledged = max(model.synced, default=0)
    if not holes_possible or len(batches) < 2:
        assert log.damage == (), "there is no damage"
    assert all(d.sequence is None or d.sequence > acknowledged for d in log.damage)
    if not log.damage:
        ended = False
        for batch in batches:
            there = [sequence in found for sequence in batch if sequence not in model.dead]
            assert all(there) or not any(there), "half an append"
            assert not (ended and any(there)), "an append without the one before it"
            ended = ended or (bool(there) and not any(there))
    assert log.last >= acknowledged
