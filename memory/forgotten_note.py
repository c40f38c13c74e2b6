"""The note that a store keeps of what is gone, and of how far the stream was taken in."""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

from ..errors import RecallError
from .block import KVBlock
from .catalogue import NO_PLACE
from .forgotten import Forgotten

FORGOTTEN = "forgotten"  # the note's key


@dataclass(frozen=True, slots=True)
class Last:
    """Name the newest block that was taken in.  next_place: where a block behind it starts (KVBlock.place)."""

    block_id: int
    start_us: int
    end_us: int
    next_place: int

    @classmethod
    def of(cls, entry: np.void) -> "Last":
        """Read it from a row of BLOCK."""
        place = 0 if entry["place"] == NO_PLACE else int(entry["place"])
        ends = int(entry["start_us"]), int(entry["end_us"])
        return cls(int(entry["id"]), *ends, place + int(entry["extent"]))


@dataclass(frozen=True, slots=True)
class ForgottenNote:
    """Hold what a store is told.  stretches: all that is forgotten, in time order."""

    stretches: tuple[Forgotten, ...]
    last: Last

    def to_bytes(self) -> bytes:
        """Write it."""
        facts = {
            "stretches": [[one.start_us, one.end_us, one.count] for one in self.stretches],
            "last": astuple(self.last),
        }
        return json.dumps(facts).encode()

    @classmethod
    def from_bytes(cls, words: bytes) -> "ForgottenNote":
        """Read what to_bytes wrote."""
        facts = json.loads(words)
        return cls(tuple(Forgotten(*one) for one in facts["stretches"]), Last(*facts["last"]))


def check_order(blocks: Sequence[KVBlock], last: Last | None) -> None:
    """Raise RecallError unless blocks follow the last one, and each other, in id and time."""
    for block in blocks:
        start, end = block.span_us
        if end < start:
            raise RecallError(f"block {block.block_id} ends at {end} us, before its start at {start} us")
        if last is not None and block.block_id <= last.block_id:
            raise RecallError(f"block {block.block_id} came after block {last.block_id}; blocks are appended in order")
        if last is not None and (start < last.start_us or end < last.end_us):
            raise RecallError(
                f"block {block.block_id} spans {block.span_us} us, before the last one's "
                f"{(last.start_us, last.end_us)}; blocks are appended in time order"
            )
        last = Last(block.block_id, start, end, 0)
