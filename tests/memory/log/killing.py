"""Kill a log's writer at any moment, again and again, and check after each kill; run by test_kill.py.

A program of its own, because a small process forks fast and without other people's threads.
"""

import os
import random
import signal
import struct
import sys
import time
from hashlib import blake2b
from pathlib import Path

from onlooker.memory.log.log import SegmentLog

KILLS = 300
SEGMENT_BYTES = 64 << 10
SAID = struct.Struct("<QQ")  # what was acknowledged, and below which sequence a compaction dropped most records


def payload(sequence: int) -> bytes:
    """Give the bytes of a sequence, the same in the writer and the checker; the size varies."""
    seed = blake2b(sequence.to_bytes(8, "little"), digest_size=32).digest()
    return seed * (1 + seed[0] % 150)


def is_kept(sequence: int) -> bool:
    """Say whether a record outlives the compactions."""
    return sequence % 16 == 0


def write_for_ever(folder: Path, pipe: int, seed: int) -> None:
    """Append, sync, acknowledge and compact until killed."""
    rng = random.Random(seed)
    with SegmentLog.open(folder, write=True, segment_bytes=SEGMENT_BYTES) as log:
        os.write(pipe, SAID.pack(log.durable, 0))
        while True:
            count = rng.randint(1, 6)
            log.append([(1 + i % 3, payload(log.last + 1 + i)) for i in range(count)])
            if rng.random() < 0.5:
                os.write(pipe, SAID.pack(log.sync(), 0))
            if rng.random() < 0.08:
                below = max(log.durable - 40, 0)
                os.write(pipe, SAID.pack(0, below))
                log.compact(lambda info, below=below: info.sequence >= below or is_kept(info.sequence))


def killed_writer(folder: Path, seed: int) -> list[tuple[int, int]]:
    """Fork a writer, kill it after a moment; give what it had said."""
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(source)
        try:
            write_for_ever(folder, sink, seed)
        finally:
            os._exit(1)
    os.close(sink)
    with os.fdopen(source, "rb") as said:
        heard = said.read(SAID.size)  # the log is open
        time.sleep(random.Random(seed).choice([0.0, 0.001, 0.004, 0.01, 0.03]) * random.Random(seed + 1).random() * 2)
        os.kill(child, signal.SIGKILL)
        heard += said.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer failed by itself"
    return list(SAID.iter_unpack(heard[: len(heard) // SAID.size * SAID.size]))


def main(folder: Path) -> None:
    """Kill and check; print what happened."""
    SegmentLog.create(folder, {"kills": KILLS}, segment_bytes=SEGMENT_BYTES).close()
    acknowledged = below = last = torn = leftovers = 0
    for kill in range(KILLS):
        for synced, dropped_below in killed_writer(folder, kill):
            acknowledged, below = max(acknowledged, synced), max(below, dropped_below)
        reader = SegmentLog.open(folder, write=False)
        torn += reader.torn_bytes > 0
        names = {path.name for path in folder.iterdir()}
        if kill % 3 == 0:  # else the next writer recovers
            with SegmentLog.open(folder, write=True, segment_bytes=SEGMENT_BYTES) as log:
                leftovers += len(names - {path.name for path in folder.iterdir()})
                assert [i.sequence for i in log.records()] == [i.sequence for i in reader.records()]
        assert reader.damage == ()
        sequences = [info.sequence for info in reader.records()]
        assert sequences == sorted(set(sequences))
        assert reader.last >= acknowledged >= last
        last = acknowledged
        there = set(sequences)
        assert all(n in there for n in range(1, reader.last + 1) if n >= below or is_kept(n))
        # Each record is read once soon after it was written, and all at the end.
        for sequence in sequences if kill == KILLS - 1 else sequences[-60:]:
            assert reader.read(sequence) == payload(sequence)
    assert acknowledged > KILLS
    assert below > 0
    assert torn + leftovers > 0, "no kill struck in the middle of anything"
    print(f"{KILLS} kills, {acknowledged} records acknowledged, {torn} torn ends, {leftovers} leftovers")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
