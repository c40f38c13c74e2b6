"""Eviction: a memory of at most so many tokens, from which something goes for everything that comes.

A stage says what it needs of each token (a digest) and which tokens stay; the Keeper moves the tokens.  What a
digest belongs to, the token itself, lies wherever the caller keeps it, under its number in the stream.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import SettingsError
from .basis import directions, finite, leading, least_leveraged, most_used, residual, unit
from .stages import PLAIN, Memory, Stage, Traits

_COUNTS = ("used", "frames", "seen")
_SLOTS = ("digests", "frame", "ids")


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Hold the tokens that a stage chooses among, in the order in which they came.

    digests: float32 [n, d].  frame: int64 [n], the frame that each came with.  now: the newest frame.
    """

    digests: Tensor
    frame: Tensor
    now: int

    def __len__(self) -> int:
        return len(self.digests)


class Evict(Stage, Protocol):
    """Decide which tokens of a full memory stay."""

    def learn(self, features: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Take in a frame's features [n, D], n >= 0: give their digests, float32 [n, d], and what to remember.

        d and the shapes of what is remembered are the same from the first frame on.
        """
        ...

    def keep(self, held: Held, room: int, memory: Memory) -> Tensor:
        """Mark exactly `room` of the tokens, fewer than there are: bool [n]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """Hold a fixed memory's state; its size does not grow with the stream.

    used: slots in use, the first ones, by rising number.  frames, seen: frames and tokens that came so far.
    digests: float32 [B, d].  frame: int64 [B], the frame of each token, -1 where unused.  ids: int64 [B], its number
    in the stream, -1 where unused.  memory: what the stage remembers.  Before the first frame all are empty.
    """

    used: int = 0
    frames: int = 0
    seen: int = 0
    digests: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    frame: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    ids: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    memory: Memory = field(default_factory=dict)

    @property
    def survivors(self) -> Tensor:
        """Numbers of the tokens held, int64 [used], rising."""
        return self.ids[: self.used]

    @property
    def nbytes(self) -> int:
        """True bytes of the tensors held."""
        tensors = (self.digests, self.frame, self.ids, *self.memory.values())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def to(self, device: torch.device) -> "Buffer":
        """Move the tensors to a device."""
        memory = {name: tensor.to(device) for name, tensor in self.memory.items()}
        slots = {name: getattr(self, name).to(device) for name in _SLOTS}
        return replace(self, **slots, memory=memory)

    def to_dict(self) -> dict[str, int | Tensor]:
        """Write the state as ints and tensors under flat names."""
        named = {name: getattr(self, name) for name in (*_COUNTS, *_SLOTS)}
        return {**named, **{f"evict/{name}": value for name, value in self.memory.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, int | Tensor]) -> "Buffer":
        """Read what to_dict wrote.  Raises SettingsError when an entry is missing or of the wrong kind."""
        counts: dict[str, int] = {}
        slots: dict[str, Tensor] = {}
        memory: dict[str, Tensor] = {}
        for name, value in values.items():
            if name in _COUNTS and isinstance(value, int) and value >= 0:
                counts[name] = value
            elif name in _SLOTS and isinstance(value, Tensor):
                slots[name] = value
            elif name.startswith("evict/") and isinstance(value, Tensor):
                memory[name.removeprefix("evict/")] = value
            else:
                raise SettingsError(f"a buffer has no {name!r} of {value!r:.40}; start a new one with Buffer()")
        missing = sorted({*_COUNTS, *_SLOTS} - counts.keys() - slots.keys())
        if missing:
            raise SettingsError(f"a buffer needs {', '.join(missing)} too; start a new one with Buffer()")
        lengths = {len(tensor) for tensor in slots.values()}
        if len(lengths) > 1 or counts["used"] > min(lengths):
            raise SettingsError(
                f"a buffer's slots have {sorted(lengths)} rows, of which {counts['used']} are said to be in use; "
                "start a new one with Buffer()"
            )
        numbers = counts["used"], counts["frames"], counts["seen"]
        return cls(*numbers, slots["digests"], slots["frame"], slots["ids"], memory)


@dataclass(frozen=True, slots=True)
class Keeper:
    """Keep at most cap tokens of a stream, as a stage decides.

    Frames are settled one after the other, so pushing them one by one or all at once gives the same.  Raises
    SettingsError for a cap below 1.
    """

    stage: Evict
    cap: int

    def __post_init__(self) -> None:
        if self.cap < 1:
            raise SettingsError(f"a memory of {self.cap} tokens holds nothing; give a cap of at least 1")

    def push(self, frames: Iterable[Tensor], buffer: Buffer | None = None) -> tuple[Buffer, Tensor]:
        """Take frames in, features [n, D] of each: give the next state and the numbers that went, int64, rising.

        buffer: the state before, empty at the stream's start.  Raises SettingsError for a state of another cap or of
        tokens of another width.
        """
        buffer = Buffer() if buffer is None else buffer
        gone = []
        for features in frames:
            buffer, out = self._take(features, buffer)
            gone.append(out)
        return buffer, torch.cat(gone).sort().values if gone else torch.zeros(0, dtype=torch.int64)

    def _take(self, features: Tensor, buffer: Buffer) -> tuple[Buffer, Tensor]:
        digests, memory = self.stage.learn(features, buffer.memory)
        if not len(buffer.ids):
            buffer = self._empty(digests)
        if len(buffer.ids) != self.cap or buffer.digests.shape[1] != digests.shape[1]:
            raise SettingsError(
                f"a state of {list(buffer.digests.shape)} does not fit a cap of {self.cap} tokens with digests of "
                f"{digests.shape[1]}; go on with the keeper that made it, or start a new state with Buffer()"
            )
        used, count = buffer.used, len(features)
        ids = torch.arange(buffer.seen, buffer.seen + count, device=digests.device)
        digests = torch.cat((buffer.digests[:used], digests))
        frame = torch.cat((buffer.frame[:used], torch.full_like(ids, buffer.frames)))
        ids = torch.cat((buffer.ids[:used], ids))
        gone = ids[:0]
        if len(ids) > self.cap:
            kept = self.stage.keep(Held(digests, frame, buffer.frames), self.cap, memory)
            order = (~kept).int().argsort(stable=True)  # how many stay is known: nobody waits for the device
            stays, gone = order[: self.cap], ids[order[self.cap :]]
            digests, frame, ids = digests[stays], frame[stays], ids[stays]
        filled = len(ids)
        after = Buffer(
            filled,
            buffer.frames + 1,
            buffer.seen + count,
            torch.cat((digests, buffer.digests[filled:])),
            torch.cat((frame, buffer.frame[filled:])),
            torch.cat((ids, buffer.ids[filled:])),
            memory,
        )
        return after, gone

    def _empty(self, digests: Tensor) -> Buffer:
        unused = torch.full((self.cap,), -1, dtype=torch.int64, device=digests.device)
        return Buffer(digests=digests.new_zeros(self.cap, digests.shape[1]), frame=unused, ids=unused)


@dataclass(frozen=True, slots=True)
class Age:
    """Keep the newest tokens (SimpleStream, arXiv 2604.02317, keeps the newest frames and nothing else)."""

    traits: Traits = PLAIN

    def learn(self, features: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Need nothing of a token."""
        return features.new_zeros(len(features), 0, dtype=torch.float32), memory

    def keep(self, held: Held, room: int, memory: Memory) -> Tensor:
        """Mark the last ones."""
        return torch.arange(len(held), device=held.frame.device) >= len(held) - room


@dataclass(frozen=True, slots=True)
class Residual:
    """Keep what a running basis of the stream does not explain, and what is new (CausalMem, arXiv 2606.25658).

    Score: (1 - recency) * residual length, brought to 0..1 over all tokens held, + recency * (frame + 1) / (now + 1).
    most: directions in the basis.  grow: directions that a frame may add.  recency: weight of newness.
    The paper's code leaves two things open to us: the first frame's basis takes as many directions as it has, up to
    `most`; a new direction's usage starts at that of its own frame, else it could never hold against old ones.

    Memory: basis float32 [D, most], usage float32 [most].
    """

    most: int = 256
    grow: int = 8
    recency: float = 0.2
    traits: Traits = field(default=Traits(remembers=True))

    def __post_init__(self) -> None:
        if self.most < 1 or self.grow < 0 or not 0.0 <= self.recency <= 1.0:
            raise SettingsError(f"give 1 or more directions, grow of 0 or more and recency within 0..1, not {self}")

    def learn(self, features: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Bring the basis up to date; a digest is the token itself."""
        rows = finite(features)
        if "basis" not in memory:
            basis = leading(rows, self.most)
            return rows, {"basis": basis, "usage": _usage(rows, basis)}
        if not len(rows):
            return rows, memory
        new = directions(rows, memory["basis"], self.grow)
        old_usage = torch.lerp(memory["usage"], _usage(rows, memory["basis"]), 0.1)
        usage = torch.cat((old_usage, _usage(rows, new)))
        basis, usage = most_used(torch.cat((memory["basis"], new), 1), usage, self.most)
        return rows, {"basis": basis, "usage": usage}

    def keep(self, held: Held, room: int, memory: Memory) -> Tensor:
        """Mark the highest scores, of equal ones the newest."""
        energy = residual(held.digests, memory["basis"]).norm(dim=1)
        low, high = energy.aminmax()
        novelty = (energy - low) / (high - low).clamp(min=1e-12)
        score = (1.0 - self.recency) * novelty + self.recency * (held.frame + 1).float() / (held.now + 1)
        order = score.argsort(stable=True)
        return torch.ones_like(order, dtype=torch.bool).index_fill(0, order[: len(held) - room], False)


@dataclass(frozen=True, slots=True)
class Span:
    """Keep tokens that together span what was seen: the basis is made of kept tokens, so all of it can be read.

    Of everything that the memory shows several times, copies go; the last one stays, however well a basis of the past
    would explain it.  Whatever goes is what the tokens that stay explain best, by ridge leverage (least_leveraged).
    ridge: what counts as noise, as a share of the mean square along a channel.  channels: wider tokens are projected
    to so many, at random and the same way for every stream.  seed: of the projection.

    Memory: projection float32 [D, channels], only where tokens are wider.
    """

    ridge: float = 0.1
    channels: int = 512
    seed: int = 0
    traits: Traits = field(default=Traits(remembers=True))

    def __post_init__(self) -> None:
        if not self.ridge > 0.0 or self.channels < 1 or self.seed < 0:
            raise SettingsError(f"give a ridge above 0, at least 1 channel and a seed of 0 or more, not {self}")

    def learn(self, features: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Need the direction of each token."""
        rows = finite(features)
        if rows.shape[1] <= self.channels:
            return unit(rows), memory
        if "projection" not in memory:
            raw = np.random.Philox(key=self.seed).random_raw(rows.shape[1] * self.channels)
            signs = (raw >> np.uint64(63)).astype(np.float32) * 2 - 1  # +-1 (Achlioptas 2003)
            memory = {"projection": torch.from_numpy(signs).view(rows.shape[1], -1).to(rows.device)}
        return unit(unit(rows) @ memory["projection"]), memory

    def keep(self, held: Held, room: int, memory: Memory) -> Tensor:
        """Mark what is left when the least leveraged have gone, of equal ones the oldest."""
        return ~least_leveraged(held.digests, len(held) - room, self.ridge)


def _usage(rows: Tensor, basis: Tensor) -> Tensor:
    return (rows @ basis).abs().sum(0) / max(len(rows), 1)
