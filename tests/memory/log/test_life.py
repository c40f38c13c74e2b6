"""Whatever is done with a log, in whatever order, it equals a dict."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from simulated_disk import SimulatedDisk
from workload import FOLDER, SEGMENT_BYTES, Record, contents, payload

from onlooker.memory.log.log import SegmentLog
from onlooker.memory.log.records import RecordInfo


class LogLife(RuleBasedStateMachine):
    """Compare a log, and a reader beside it, with dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = SimulatedDisk()
        self.records: dict[int, Record] = {}
        self.batches: list[list[int]] = []  # appended since the last sync
        self.dropped: set[int] = set()
        self.last = self.durable = self.counter = 0

    @initialize()
    def create(self) -> None:
        self.log = SegmentLog.create(FOLDER, {}, files=self.disk, segment_bytes=SEGMENT_BYTES)
        self.reader = SegmentLog.open(FOLDER, write=False, files=self.disk)
        self.seen: dict[int, Record] = {}

    @rule(sizes=st.lists(st.integers(0, 700), min_size=1, max_size=4))
    def append(self, sizes: list[int]) -> None:
        batch = []
        for size in sizes:
            self.counter += 1
            batch.append((1 + self.counter % 5, payload(self.counter, size)))
        sequences = self.log.append(batch)
        assert sequences == tuple(range(self.last + 1, self.last + 1 + len(batch)))
        self.records |= dict(zip(sequences, batch, strict=True))
        self.batches.append(list(sequences))
        self.last = sequences[-1]
        self.note_durable()

    @rule()
    def sync(self) -> None:
        assert self.log.sync() == self.last
        self.note_durable()

    @rule(seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.3, 1.0]), budget=st.sampled_from([None, 0, 500]))
    def compact(self, seed: int, share: float, budget: int | None) -> None:
        rng = random.Random(seed)
        dead = {sequence for sequence in self.records if rng.random() < share}

        def is_live(info: RecordInfo) -> bool:
            return info.sequence not in dead

        done = self.log.compact(is_live, budget)
        assert done.after_bytes == self.log.disk_bytes
        left = {info.sequence for info in self.log.records()}
        gone = self.records.keys() - left
        assert gone <= dead
        assert len(gone) == done.dropped_records
        assert not done.finished or gone == dead
        self.records = {sequence: record for sequence, record in self.records.items() if sequence in left}
        self.dropped |= gone
        self.note_durable()

    @rule(budget=st.sampled_from([None, 0, 800]))
    def scrub(self, budget: int | None) -> None:
        assert self.log.scrub(budget).damage == ()

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.log = SegmentLog.open(FOLDER, write=True, files=self.disk, segment_bytes=SEGMENT_BYTES)
        self.note_durable()
        assert self.log.durable == self.last
        assert self.log.torn_bytes == 0

    @rule(outcome=st.sampled_from(["killed", "lost", "kept", "torn"]), seed=st.integers(0, 1000))
    def crash(self, outcome: str, seed: int) -> None:
        self.disk = self.disk.after_power_cut(outcome, random.Random(seed))
        self.log = SegmentLog.open(FOLDER, write=True, files=self.disk, segment_bytes=SEGMENT_BYTES)
        self.reader = SegmentLog.open(FOLDER, write=False, files=self.disk)
        found = contents(self.log)
        kept = 0
        while kept < len(self.batches) and self.log.last >= self.batches[kept][-1]:
            kept += 1
        lost = {sequence for batch in self.batches[kept:] for sequence in batch}
        self.batches = self.batches[:kept]
        self.records = {sequence: record for sequence, record in self.records.items() if sequence not in lost}
        assert self.log.last == max([self.durable, *(batch[-1] for batch in self.batches[:kept])])
        self.last = self.log.last
        self.seen = dict(self.records)
        assert found == self.records
        self.note_durable()

    @rule()
    def refresh(self) -> None:
        self.reader.refresh()
        self.seen = dict(self.records)

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def read_beside_the_writer(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.seen)))
        if sequence in self.records:
            assert self.reader.read(sequence) == self.records[sequence][1]

    @invariant()
    def equal(self) -> None:
        if not hasattr(self, "log"):
            return
        assert contents(self.log) == self.records
        assert {info.sequence for info in self.reader.records()} >= self.seen.keys() - self.dropped
        assert (self.log.last, self.log.durable) == (self.last, self.durable)
        assert self.log.damage == self.reader.damage == ()

    def note_durable(self) -> None:
        self.durable = self.log.durable
        assert self.durable <= self.last
        self.batches = [batch for batch in self.batches if batch[-1] > self.durable]


TestLogLife = LogLife.TestCase
TestLogLife.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
