"""What every source of frames offers, and how one is opened from a command line's word."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

from ..errors import SettingsError
from ..frame import Frame

SourceKind = Literal["file", "camera", "rtsp", "http", "network", "theatre", "pushed"]


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Describe a source as it was when it was opened.

    width, height: of the first frame, in pixels; later frames may differ; 0 where there was none.
    duration_us: an estimate for showing progress, taken from the container and so possibly wrong; None where there is
    none, as for a live source.
    """

    kind: SourceKind
    width: int
    height: int
    duration_us: int | None


@dataclass(frozen=True, slots=True)
class SourceReport:
    """Say what a source has done so far.

    delivered: frames handed out.  decoded: frames decoded, the ones left out by the frame rate included.  repaired:
    decoded frames whose time stamp was missing, repeated or went back, and was replaced.  decoder: what decodes now.
    truncated_at_us: None, or the time of the last frame that could be decoded of a file that is cut or damaged.
    """

    delivered: int
    decoded: int
    repaired: int
    decoder: str
    truncated_at_us: int | None = None

    @property
    def truncated(self) -> bool:
        """Say whether the source ended before its data should have."""
        return self.truncated_at_us is not None


class Source(Protocol):
    """Deliver frames in order of time, once.

    Iterating hands out frames with strictly increasing `time_us` and with `seq` counted from 0; errors while
    reading are raised there, as SourceError. Leaving the loop early, close() and the end of a `with` block stop
    all work and free everything; close() may be called twice, and from another thread.
    """

    @property
    def name(self) -> str:
        """The word the source was opened by."""
        ...

    @property
    def identity(self) -> str:
        """What tells this source from others when a memory of it is gone on with."""
        ...

    @property
    def info(self) -> SourceInfo:
        """What was known when it was opened."""
        ...

    @property
    def report(self) -> SourceReport:
        """What it has done so far; the final word after the last frame."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Stop reading and free everything."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_source(
    spec: str,
    fps: float | None = None,
    start_us: int = 0,
    end_us: int | None = None,
    after_us: int | None = None,
    taken: bool = True,
) -> Source:
    """Open a source by its word: a file's path, a file: address, or a live one (theatre:7, camera:0, rtsp://...).

    fps: at most so many frames a second, chosen by their time stamps; None for every frame.  start_us, end_us: only
    frames with start_us <= time_us < end_us, in microseconds of stream time.  after_us: time of the last of these that
    was watched before; only what came after it is delivered.  taken: False where no frame was watched at just that
    time.
    A live source (LiveSource; docs/sources.md) is opened at once, whatever its camera does; its stream time counts
    from now, from behind after_us where that is given.
    Raises SourceError for what cannot be opened, SettingsError for a frame rate or a range outside its limits.
    """
    from .live.opening import check_path, is_live, open_live

    if is_live(spec):
        if start_us:
            raise SettingsError(
                f"a live source is watched from now on, not from {start_us / 1e6:g} s; leave the start (--from) out"
            )
        return open_live(spec, fps, start_us=0 if after_us is None else after_us + 1, end_us=end_us)
    path = check_path(spec)
    from .file_source import FileSource  # decoders are loaded only when a file is opened

    return FileSource(path, fps=fps, start_us=start_us, end_us=end_us, after_us=after_us, taken=taken)
