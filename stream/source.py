"""What every source of frames offers, and how one is opened from a command line's word."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self
from urllib.parse import unquote, urlsplit

from ..errors import SourceError
from ..frame import Frame

SourceKind = Literal["file", "camera", "rtsp", "pushed"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two letters or more, so that C:\ stays a path
_LIVE = ("camera", "rtsp", "rtsps", "rtmp", "srt", "udp", "tcp", "rtp", "v4l2")


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
    """Open a source by its word: the path of a video file, or a file: address.

    fps: at most so many frames a second, chosen by their time stamps; None for every frame.  start_us, end_us: only
    frames with start_us <= time_us < end_us, in microseconds of stream time.  after_us: time of the last of these that
    was watched before; only what came after it is delivered.  taken: False where no frame was watched at just that
    time.
    Raises SourceError for what cannot be opened, SettingsError for a frame rate or a range outside its limits.
    """
    match = _SCHEME.match(spec)
    scheme = match.group(1).lower() if match and not Path(spec).exists() else ""
    if not spec.strip():
        raise SourceError("the source is empty; give the path of a video file")
    if scheme in _LIVE:
        raise SourceError(
            f"cannot open {spec}: live sources ({scheme}:) come in a later release; "
            "record a file and give its path, or push frames yourself with session.see()"
        )
    if scheme == "file":
        parts = urlsplit(spec)
        if parts.netloc not in ("", "localhost"):
            raise SourceError(f"cannot open {spec}: it names another machine; copy the file here and give its path")
        spec = unquote(parts.path)
    elif scheme and "://" in spec:
        raise SourceError(f"cannot open {spec}: {scheme} addresses are not read; download the file and give its path")
    from .file_source import FileSource  # decoders are loaded only when a file is opened

    return FileSource(spec, fps=fps, start_us=start_us, end_us=end_us, after_us=after_us, taken=taken)
