"""The index benchmark: bytes, build time, time of a question and blocks found, over sizes and ways to search."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..memory.moments import Moments
from ..memory.token_index import TokenIndex
from .index_keys import IndexKeys
from .index_rivals import BlockBounds, FastScan, InvertedFile, Searched
from .output import write_output
from .tally import aligned

_ALL = 1 << 62
_ROUNDS = 3  # that each question is asked, the best time counts: a busy machine passes in waves


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """Say what is measured.

    sizes: numbers of keys.  rows: of a question.  questions: how many are asked of every index.  blocks: how many of
    the best ones have to be found.  top_tokens: hits asked of an index for each row.  noise: see IndexKeys.of_size.
    rivals: whether FAISS' own indexes and block bounds are measured too.
    Raises SettingsError for a value outside its limits.
    """

    sizes: tuple[int, ...] = (100_000, 400_000, 1_000_000, 4_300_000)
    rows: int = 10
    questions: int = 50
    blocks: int = 16
    top_tokens: int = 512
    noise: float = 0.1
    rivals: bool = True

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1000 or max(self.sizes) > 20_000_000:
            raise SettingsError(f"give sizes of 1000 to 20000000 keys, not {self.sizes}")
        if min(self.rows, self.questions, self.blocks, self.top_tokens) < 1 or not 0.0 <= self.noise <= 1.0:
            raise SettingsError(f"give counts of at least 1 and noise in 0..1, not {self}")


@dataclass(frozen=True, slots=True)
class IndexRow:
    """Hold one way to search so many keys.

    keys: held.  rounds: see IndexKeys.  bytes_a_key: everything counted.  build_s: adding all of them.  settle_s: what
    `maintain` took besides, or training.  ms, worst_ms: of a question, median and worst, each the best of three times.
    cpu_ms: processor time, median; over ms where more than one core was used.  recall: share of the best blocks by
    exact search that are among as many best ones here.  near: share of the best ones here whose exact score is at most
    1% less than that of the last of exact search.
    """

    keys: int
    rounds: int
    name: str
    bytes_a_key: float
    build_s: float
    settle_s: float
    ms: float
    worst_ms: float
    cpu_ms: float
    recall: float
    near: float


def run_index_bench(
    held: IndexKeys, plan: IndexPlan, told: Callable[[str], None] = lambda _: None
) -> Iterator[IndexRow]:
    """Measure every size and way, one after the other."""
    asked = np.random.default_rng(0).permutation(len(held.queries))[: plan.questions]
    for size in plan.sizes:
        told(f"{size} keys: searching exactly")
        sized = held.of_size(size, plan.noise)
        truth = _Truth(sized, held.queries[asked], plan)
        for name, searched, build_s, settle_s in _ways(sized, plan):
            told(f"{size} keys: {name}")
            yield truth.measure(name, searched, build_s, settle_s, sized, plan)


def report_text(rows: Sequence[IndexRow], held: IndexKeys, plan: IndexPlan) -> str:
    """Write the table."""
    lines = [["index", "keys", "bytes/key", "add", "settle", "question", "worst", "cpu", "recall", "near"]]
    lines += [
        [
            row.name,
            f"{row.keys}",
            f"{row.bytes_a_key:.1f}",
            f"{row.build_s:.1f} s",
            f"{row.settle_s:.1f} s",
            f"{row.ms:.1f} ms",
            f"{row.worst_ms:.1f} ms",
            f"{row.cpu_ms:.1f} ms",
            f"{row.recall:.3f}",
            f"{row.near:.3f}",
        ]
        for row in rows
    ]
    asked = min(plan.questions, len(held.queries))
    return (
        f"{len(held.keys)} keys of {held.keys.shape[1]} channels in {len(held.counts)} blocks from streams; larger "
        f"sizes repeat them with noise of {plan.noise:g} of a channel's spread.\n{asked} questions of "
        f"{held.queries.shape[1]} rows; recall: of the {plan.blocks} best blocks.\n\n{aligned(lines)}"
    )


def write_index_rows(path: Path, rows: Sequence[IndexRow]) -> None:
    """Write rows as a JSON list.  Raises OnlookerError where the disk refuses."""
    write_output(path, json.dumps([asdict(row) for row in rows], indent=1) + "\n")


@dataclass(frozen=True, slots=True, eq=False)
class _Ours:
    """Search a token index as recall does."""

    name: str
    index: TokenIndex

    @property
    def nbytes(self) -> int:
        return self.index.nbytes

    def scores(self, queries: NDArray[np.float32], top: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        hits = self.index.search(queries, top)
        return hits.block_ids, hits.scores


def _ways(held: IndexKeys, plan: IndexPlan) -> Iterator[tuple[str, Searched, float, float]]:
    """Build each way to search in turn: its name, the search, seconds of adding and of settling or training."""
    index = TokenIndex(held.keys.shape[1])
    blocks, usual = len(held.counts), index.scan_rows
    began = time.perf_counter()
    starts = np.arange(blocks)
    index.add_many(starts.tolist(), held.keys, held.counts.tolist(), np.stack([starts, starts + 1], axis=1).tolist())
    build_s = time.perf_counter() - began
    yield "fp16, all read", _Ours("", index), build_s, 0.0
    began = time.perf_counter()
    index.maintain()
    settle_s = time.perf_counter() - began
    for bits in (8, 4):
        if bits == 4:
            while index.coarsen():
                pass
        index.scan_rows = _ALL
        yield f"{bits} bits, all read", _Ours("", index), build_s, settle_s
        for rows in (usual // 2, usual, usual * 2) if bits == 8 else (usual,):
            index.scan_rows = rows
            mark = " (default)" if bits == 8 and rows == usual else ""
            yield f"{bits} bits, {rows} read{mark}", _Ours("", index), build_s, settle_s
    del index
    for rival in (InvertedFile, FastScan, BlockBounds) if plan.rivals else ():
        began = time.perf_counter()
        searched: Searched = rival(held)
        yield searched.name, searched, 0.0, time.perf_counter() - began


class _Truth:
    """What exact search finds: each question's z of every block, the greatest over its rows."""

    def __init__(self, held: IndexKeys, questions: NDArray[np.float32], plan: IndexPlan) -> None:
        self._questions = questions
        self._moments = Moments(held.keys.shape[1])
        for start in range(0, len(held.keys), 65_536):
            self._moments.add(held.keys[start : start + 65_536])
        starts = np.cumsum(held.counts) - held.counts
        self._z = [self._exact(held, starts, question) for question in questions]
        self._best = [_first(z, plan.blocks) for z in self._z]

    def measure(
        self, name: str, searched: Searched, build_s: float, settle_s: float, held: IndexKeys, plan: IndexPlan
    ) -> IndexRow:
        """Ask every question, each some times in a row."""
        seconds, shares, near, cpu = [], [], [], []
        for question, z, best in zip(self._questions, self._z, self._best, strict=True):
            ids, scores = searched.scores(question, plan.top_tokens)  # warms up
            times = []
            for _ in range(_ROUNDS):
                began, began_cpu = time.perf_counter(), time.process_time()
                searched.scores(question, plan.top_tokens)
                times.append((time.perf_counter() - began, time.process_time() - began_cpu))
            seconds.append(min(wall for wall, _ in times))
            cpu.append(min(used for _, used in times))
            here = ids[_first(self._moments.standardise(scores, question).max(axis=0), plan.blocks)]
            shares.append(len(np.intersect1d(here, best)) / len(best))
            near.append(float(np.sum(z[here] >= z[best[-1]] - 0.01 * abs(z[best[-1]]))) / len(best))
        return IndexRow(
            keys=len(held.keys),
            rounds=held.rounds,
            name=name,
            bytes_a_key=searched.nbytes / len(held.keys),
            build_s=build_s,
            settle_s=settle_s,
            ms=statistics.median(seconds) * 1e3,
            worst_ms=max(seconds) * 1e3,
            cpu_ms=statistics.median(cpu) * 1e3,
            recall=statistics.mean(shares),
            near=statistics.mean(near),
        )

    def _exact(self, held: IndexKeys, starts: NDArray[np.int64], question: NDArray[np.float32]) -> NDArray[np.float64]:
        z = np.empty(len(held.counts))
        for first in range(0, len(starts), 8192):
            part = slice(first, first + 8192)
            low, high = int(starts[part][0]), int(starts[part][-1] + held.counts[part][-1])
            scores = np.maximum.reduceat(held.keys[low:high] @ question.T, starts[part] - low, axis=0)
            z[part] = self._moments.standardise(scores.T, question).max(axis=0)
        return z


def _first(z: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Give the places of the greatest, in falling order."""
    return np.argsort(-z, kind="stable")[:count]
