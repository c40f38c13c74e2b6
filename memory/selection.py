"""Selection: which blocks are read when only so many tokens may be.

A question may ask for several things ("the dog or the apple").  Taking the blocks of highest score would fill the
budget with one of them, so besides the overall order every strongly-firing voice (one question token as one source of
scores sees it) has a say: first each gets its best block, then picks go round in proportion to how strongly each
fires.  A voice is served by every chosen block in which it fires, whoever chose it.  Blocks of one event (a run of
neighbours in which the same voice fires) lose worth with each of them chosen, so a long static scene cannot take all.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError


@dataclass(frozen=True, slots=True)
class SelectionSettings:
    """Say how blocks are chosen.

    mass: stop when the chosen blocks hold this share of the softmax of the evidence, but not before least_blocks.
    neighbours: blocks before and after a chosen one that are read with it.  voices: how many voices are heard besides
    the overall order.  strong: a voice is heard when its peak is at least this share of the strongest of its source.
    fires: a voice fires in a block whose score is at least this share of its peak (both above the voice's median).
    overall: share of the picks that the overall order has.  decay: worth of an event's next block after each of its
    blocks chosen.  gap_blocks: blocks missing inside an event that do not end it.
    """

    mass: float = 0.9
    least_blocks: int = 8
    neighbours: int = 1
    voices: int = 6
    strong: float = 0.6
    fires: float = 0.6
    overall: float = 0.5
    decay: float = 0.7
    gap_blocks: int = 2

    def __post_init__(self) -> None:
        shares = (self.mass, self.strong, self.fires, self.overall, self.decay)
        counts = (self.least_blocks, self.neighbours, self.voices, self.gap_blocks)
        if not all(0.0 < share <= 1.0 for share in shares) or min(counts) < 0:
            raise SettingsError(f"selection needs shares in (0, 1] and counts of 0 or more: {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Hold the scores of n blocks.

    block_ids: int64 [n], rising.  overall: [n], higher is better, above 0.  evidence: [n], z units, whose softmax is
    the mass.  voices: [v, n], z units.  source: int64 [v], voices are compared in strength within one source.
    """

    block_ids: NDArray[np.int64]
    overall: NDArray[np.float64]
    evidence: NDArray[np.float64]
    voices: NDArray[np.float64]
    source: NDArray[np.int64]


class Readable:
    """Say which blocks may be read, and how many tokens each has.

    block_ids: int64 [n], rising.  tokens: [n].  exclude: blocks among them that may not be read.
    """

    def __init__(
        self, block_ids: NDArray[np.int64], tokens: NDArray[np.integer[Any]], exclude: Collection[int] = ()
    ) -> None:
        may = ~np.isin(block_ids, np.fromiter(exclude, np.int64, len(exclude)))
        self._ids, self._tokens = block_ids[may], tokens[may]

    def __len__(self) -> int:
        return len(self._ids)

    def size(self, block_id: int) -> int | None:
        """Give a block's number of tokens, None where it may not be read."""
        place = int(self._ids.searchsorted(block_id))
        there = place < len(self._ids) and self._ids[place] == block_id
        return int(self._tokens[place]) if there else None

    def sizes(self, block_ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give the blocks' numbers of tokens [m], infinity where one may not be read."""
        sizes = np.full(len(block_ids), np.inf)
        if len(self._ids):
            places = np.minimum(self._ids.searchsorted(block_ids), len(self._ids) - 1)
            there = self._ids[places] == block_ids
            sizes[there] = self._tokens[places[there]]
        return sizes


def select(
    candidates: Candidates,
    budget_tokens: int,
    readable: Readable,
    settings: SelectionSettings | None = None,
) -> list[int]:
    """Choose block ids, in order of choice, of at most budget_tokens tokens together.

    readable: neighbours need not be candidates.
    """
    ballot = _Ballot(candidates, budget_tokens, readable, settings or SelectionSettings())
    return ballot.run() if len(candidates.block_ids) else []


class _Ballot:
    def __init__(self, candidates: Candidates, budget: int, readable: Readable, settings: SelectionSettings) -> None:
        self.settings = settings
        self.ids = candidates.block_ids
        self.left = budget
        self.readable = readable
        self.chosen: dict[int, None] = {}  # in order of choice
        if not len(self.ids):
            return
        # What a voice says of every block is no news: its strength is how far its peak stands above its median block.
        contrast = candidates.voices - np.median(candidates.voices, axis=1, keepdims=True)
        voices = np.maximum(contrast[_strong_voices(contrast, candidates.source, settings.strong)], 0.0)
        peaks = voices.max(axis=1, initial=0.0)
        self.firing = voices >= settings.fires * peaks[:, None]  # [v, n]
        self.rows = np.vstack((candidates.overall[None], voices))
        self.weights = np.concatenate(([settings.overall], (1.0 - settings.overall) * peaks / max(peaks.sum(), 1e-9)))
        self.served = np.zeros(len(self.rows))
        # An event may last for most of the stream, so here the voices count as they are.
        loud = candidates.voices[_strong_voices(candidates.voices, candidates.source, settings.strong)]
        inside = loud >= settings.fires * loud.max(axis=1, initial=0.0, keepdims=True)
        self.events = _events(self.ids, inside, settings.gap_blocks)
        self.taken = np.zeros(int(self.events.max()) + 1)  # per event
        self.sizes = readable.sizes(self.ids)
        self.open = np.isfinite(self.sizes)
        shifted = np.exp(candidates.evidence - candidates.evidence.max())
        self.mass = shifted / shifted.sum()
        self.held = 0.0

    def run(self) -> list[int]:
        self._first_say()
        for block_id in list(self.chosen):
            self._take_neighbours(block_id)
        active = self.weights > 0
        while active.any() and self.open.any() and not self._enough():
            turns = np.where(active, (self.served + 1.0) / np.where(active, self.weights, 1.0), np.inf)
            row = int(turns.argmin())
            place = self._best(row)
            if place is None:
                active[row] = False
            elif self._take(place, row):
                self._take_neighbours(int(self.ids[place]))
        return list(self.chosen)

    def _first_say(self) -> None:
        """Give the overall order, then every voice not yet served, its best block that fits."""
        heard = 0
        for row in range(len(self.rows)):
            if row and (self.served[row] > 0 or heard == self.settings.voices):
                continue
            heard += row > 0
            while (place := self._best(row)) is not None:
                if self._take(place, row):
                    break
        self.weights[(self.served == 0) & (np.arange(len(self.rows)) > 0)] = 0.0  # not heard, or without a block

    def _enough(self) -> bool:
        return len(self.chosen) >= self.settings.least_blocks and self.held >= self.settings.mass

    def _best(self, row: int) -> int | None:
        """Find the row's best open block, for a voice only among those in which it fires."""
        self.open &= self.sizes <= self.left  # what does not fit now never will
        usable = self.open & self.firing[row - 1] if row else self.open
        worth = np.where(usable, self.rows[row] * self.settings.decay ** self.taken[self.events], 0.0)
        place = int(worth.argmax())
        return place if worth[place] > 0 else None

    def _take(self, place: int, row: int = -1) -> bool:
        """Choose a candidate if it fits; either way it is open no more."""
        self.open[place] = False
        if not self._spend(int(self.ids[place])):
            return False
        self.taken[self.events[place]] += 1
        self.held += float(self.mass[place])
        self.served[1:] += self.firing[:, place]
        self.served[0] += row == 0
        return True

    def _take_neighbours(self, block_id: int) -> None:
        for distance in range(1, self.settings.neighbours + 1):
            for neighbour in (block_id - distance, block_id + distance):
                place = int(np.searchsorted(self.ids, neighbour))
                if place < len(self.ids) and self.ids[place] == neighbour:
                    if self.open[place]:
                        self._take(place)
                elif neighbour not in self.chosen:
                    self._spend(neighbour)

    def _spend(self, block_id: int) -> bool:
        size = self.readable.size(block_id)
        if size is None or size > self.left:
            return False
        self.left -= size
        self.chosen[block_id] = None
        return True


def _strong_voices(voices: NDArray[np.float64], sources: NDArray[np.int64], strong: float) -> NDArray[np.int64]:
    """Choose the voices whose peak is at least this share of their source's strongest, strongest first."""
    peaks = voices.max(axis=1, initial=0.0)
    share = np.zeros(len(peaks))
    for source in np.unique(sources):
        mine = sources == source
        share[mine] = peaks[mine] / max(float(peaks[mine].max()), 1e-9)
    order = np.argsort(-share, kind="stable")
    return np.asarray(order[share[order] >= strong], dtype=np.int64)


def _events(ids: NDArray[np.int64], firing: NDArray[np.bool_], gap: int) -> NDArray[np.int64]:
    """Number the events [n]: neighbouring blocks in which the same voice fires; every other block is its own."""
    events = np.arange(len(ids))
    loud = np.nonzero(firing.any(axis=0))[0]
    if len(loud):
        linked = (firing[:, loud[1:]] & firing[:, loud[:-1]]).any(axis=0) & (np.diff(ids[loud]) <= gap + 1)
        first = np.concatenate(([True], ~linked))
        events[loud] = loud[first][np.cumsum(first) - 1]
    return events
