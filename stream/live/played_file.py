"""A video file as a live source: played in real time by its own time stamps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from ...frame import Frame
from ..file_source import FileSource
from ..source import SourceKind
from .failure import Failure, FeedError
from .feed import Arrival, Pause


@dataclass(frozen=True, slots=True)
class FileFeed:
    """Play a file once, from its beginning, at the speed at which it was recorded.

    It is looked at when this is made: raises the errors of FileSource.
    """

    path: str | Path
    fps: float | None = None
    kind: SourceKind = "file"
    exact: bool = True
    stamped: bool = True
    identity: str = ""
    size: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        with FileSource(self.path, fps=self.fps) as file:
            object.__setattr__(self, "identity", file.identity)
            object.__setattr__(self, "size", (file.info.width, file.info.height))

    @property
    def name(self) -> str:
        """The path as it was given."""
        return str(self.path)

    def connect(self, now_us: Callable[[], int], pause: Pause) -> "_PlayedFile":
        """Open the file.  Raises FeedError where it can no longer be read."""
        try:
            return _PlayedFile(FileSource(self.path, fps=self.fps), now_us, pause)
        except SourceError as error:
            raise FeedError(Failure("codec", str(error))) from error


class _PlayedFile:
    """Hand out each frame when its time has come."""

    def __init__(self, file: FileSource, now_us: Callable[[], int], pause: Pause) -> None:
        self._file, self._now_us, self._pause = file, now_us, pause
        self._frames: Iterator[Frame] = iter(file)
        self._began_us = now_us()
        self._frame: Frame | None = None

    @property
    def decoder(self) -> str:
        return self._file.report.decoder

    def advance(self) -> Arrival | None:
        try:
            self._frame = next(self._frames, None)
        except SourceError as error:
            raise FeedError(Failure("codec", str(error))) from error
        if self._frame is None:
            return None
        time_us = self._began_us + self._frame.time_us
        while (early_us := time_us - self._now_us()) > 0:
            if self._pause(early_us / 1e6):
                return None
        return Arrival(time_us)

    def picture(self) -> NDArray[np.generic]:
        assert self._frame is not None  # advance() found one
        return self._frame.image

    def close(self) -> None:
        self._file.close()
