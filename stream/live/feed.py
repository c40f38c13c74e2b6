"""What a live source is fed from: something that can be connected to again and again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..source import SourceKind

Pause = Callable[[float], bool]
"""Wait so many seconds; True when the source is being closed, which ends the waiting."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Say that a frame is there.  stamp_us: its time by the feed's own clock, None where it has none."""

    stamp_us: int | None


class Connection(Protocol):
    """Deliver frames until it breaks.  One thread uses it: the one that made it."""

    @property
    def decoder(self) -> str:
        """What decodes."""
        ...

    def advance(self) -> Arrival | None:
        """Wait for the next frame; None when there will never be another.  Raises FeedError when it has broken."""
        ...

    def picture(self) -> NDArray[np.generic]:
        """Give the frame that advance() found, RGB or grey, in memory of its own.  Raises FeedError."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


class Feed(Protocol):
    """Name something that gives frames as time goes by, and connect to it."""

    @property
    def kind(self) -> SourceKind:
        """What it is, as in SourceInfo."""
        ...

    @property
    def name(self) -> str:
        """Its name for people, without credentials."""
        ...

    @property
    def identity(self) -> str:
        """What tells it from other sources, without credentials."""
        ...

    @property
    def exact(self) -> bool:
        """Whether its stamps are stream time; else moments of arrival are made into it."""
        ...

    @property
    def stamped(self) -> bool:
        """Whether the spacing of its stamps may be trusted (docs/sources.md)."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height where they are known before the first frame, else 0."""
        ...

    def connect(self, now_us: Callable[[], int], pause: Pause) -> Connection:
        """Connect, within bounded time.  now_us: gives the stream time.  Raises FeedError."""
        ...
