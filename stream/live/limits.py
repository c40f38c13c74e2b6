"""The times and sizes that a live source keeps to."""

from dataclasses import dataclass

from ...errors import SettingsError


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """Hold how long a live source waits for what, and how large a picture may be.

    open_s, read_s: for a connection, and for the next frame of one.  stale_s: without a frame for so long it is stale.
    hang_s: a call into a decoder or driver that takes so long is given up, its thread left behind.  close_s: closing
    waits so long for threads.  tick_s: how often staleness is looked at.  most_px: longest side of a picture.
    Raises SettingsError for a value that is not above 0.
    """

    open_s: float = 10.0
    read_s: float = 10.0
    stale_s: float = 3.0
    hang_s: float = 45.0
    close_s: float = 2.0
    tick_s: float = 0.25
    most_px: int = 8192

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise SettingsError(f"{name} is {getattr(self, name)}; give more than 0")
