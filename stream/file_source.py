"""A video file as a source of frames, decoded ahead in a thread of its own."""

import logging
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import SettingsError, SourceError
from ..frame import Frame
from .container import Container, inspect
from .decoder import FileDecoder
from .decord_decoder import use_plain_arrays
from .frame_queue import FrameQueue
from .sampler import FrameSampler
from .source import SourceInfo, SourceReport

AHEAD_FRAMES = 64
AHEAD_BYTES = 256 << 20
"""Bounds of what is decoded ahead: 256 MiB are two frames of 8K or 64 of full HD."""

_IDENTITY_BYTES = 1 << 16

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Progress:
    """What the decoding thread has done so far; written by it alone."""

    decoder: str = ""
    decoded: int = 0
    repaired: int = 0
    last_us: int = 0
    cut: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class FileSource:
    """Deliver a file's frames in order of time, with the presentation times that the file gives them.

    Times count from the file's first shown frame, in microseconds, and keep counting from there when a range is
    asked for. They are exact to single precision of seconds (0.1 ms in the first hour, 1 ms after nine hours,
    4 ms after a day). Frame counts and durations in the file's headers are believed for nothing but progress.

    fps: at most so many frames a second, chosen by time stamps (FrameSampler).  start_us, end_us: the range.
    ahead_frames, ahead_bytes: how much may be decoded before it is asked for.  decord, which is the faster decoder,
    decodes ahead without a bound of its own, and so reads only files that fit in ahead_bytes whole; OpenCV the others.
    after_us: time of the last frame of the range that was delivered before, by another source: only what came after it
    is, and there may be nothing.  taken: as in FrameSampler.

    The file is opened, and its first wanted frame decoded, at once, so that a bad file is reported here:
    raises SourceError naming the file and the remedy, SettingsError for a bad rate or range, and InstallationError.
    A file that is cut or damaged delivers what can be decoded, then says so in `report` and in the log.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float | None = None,
        start_us: int = 0,
        end_us: int | None = None,
        ahead_frames: int = AHEAD_FRAMES,
        ahead_bytes: int = AHEAD_BYTES,
        after_us: int | None = None,
        taken: bool = True,
    ) -> None:
        if ahead_frames < 1 or ahead_bytes < 1:
            raise SettingsError(
                f"decoding ahead needs room: {ahead_frames} frames, {ahead_bytes} bytes; give 1 or more"
            )
        sampler = FrameSampler(fps, start_us, end_us, after_us, taken)
        self._name = str(path)
        location, container = _check(Path(path))
        begin_us = start_us if after_us is None else max(start_us, after_us)
        decoder = FileDecoder(location, container, begin_us, ahead_bytes)
        self._identity = _identity(location)
        self._progress = _Progress(decoder=decoder.label)
        self._delivered = 0
        self._started = False
        self._queue = FrameQueue(ahead_frames, ahead_bytes)
        self._thread = threading.Thread(
            target=_decode_ahead,
            args=(decoder, container, sampler, self._queue, self._progress, self._name),
            name=f"onlooker-decode-{location.name}",
            daemon=True,
        )
        # The thread does not know this object: if a caller just drops it, the queue is closed and the thread ends.
        self._abandon = weakref.finalize(self, self._queue.close)
        self._thread.start()
        try:
            first = self._queue.peek()
        except BaseException:
            self.close()
            raise
        if first is None and after_us is not None:
            self._info = SourceInfo("file", 0, 0, decoder.duration_us)
            return
        if first is None:
            error = self._nothing(start_us)
            self.close()
            raise error
        height, width = first.image.shape[:2]
        self._info = SourceInfo("file", width, height, decoder.duration_us)

    def _nothing(self, start_us: int) -> SourceError:
        if self._progress.decoded and start_us > 0:
            return SourceError(
                f"{self._name} has no frame in the range that starts at {start_us / 1e6:g} s: "
                f"the last one seen is at {self._progress.last_us / 1e6:g} s; give an earlier start or a later end"
            )
        return SourceError(f"{self._name} opens as a video, but no frame of it can be decoded; copy the file again")

    @property
    def name(self) -> str:
        """The path as it was given."""
        return self._name

    @property
    def identity(self) -> str:
        """What tells this file from others, wherever it lies and if it grows: a hash of how it begins."""
        return self._identity

    @property
    def info(self) -> SourceInfo:
        """Size of the first frame and an estimate of the duration."""
        return self._info

    @property
    def report(self) -> SourceReport:
        """What was delivered, decoded and repaired so far, and whether the file turned out to be cut."""
        progress = self._progress
        with progress.lock:
            cut_us = progress.last_us if progress.cut else None
            return SourceReport(self._delivered, progress.decoded, progress.repaired, progress.decoder, cut_us)

    def __iter__(self) -> Iterator[Frame]:
        if self._started or self._queue.closed:
            raise SourceError(f"{self._name} is read once and was already; open it again to read it again")
        self._started = True
        try:
            while (frame := self._queue.get()) is not None:
                self._delivered += 1
                yield frame
        finally:
            self.close()

    def close(self) -> None:
        """Stop decoding, wait for the thread to end and free what was decoded ahead."""
        self._queue.close()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _decode_ahead(
    decoder: FileDecoder,
    container: Container,
    sampler: FrameSampler,
    queue: FrameQueue,
    progress: _Progress,
    name: str,
) -> None:
    """Fill the queue until the file or the range ends, or the consumer goes; errors travel through the queue."""
    try:
        use_plain_arrays()
        _deliver(decoder, container, sampler, queue, progress, name)
    except Exception as error:  # noqa: BLE001 - whatever it is, the consumer must see it, not wait for ever
        queue.finish(error)
    else:
        queue.finish()


def _deliver(
    decoder: FileDecoder,
    container: Container,
    sampler: FrameSampler,
    queue: FrameQueue,
    progress: _Progress,
    name: str,
) -> None:
    seq = 0
    while not queue.closed:
        time_us = decoder.advance()
        if time_us is None:
            break
        with progress.lock:
            progress.decoded += 1
            progress.decoder, progress.repaired, progress.last_us = decoder.label, decoder.repaired, time_us
        if sampler.is_over(time_us):
            return
        if sampler.wants(time_us):
            if not queue.put(Frame(decoder.image(), time_us, seq, name)):
                return
            seq += 1
    else:
        return
    if progress.repaired:
        _logger.warning(
            "%s: %d of %d time stamps were missing or not increasing and were repaired",
            name,
            progress.repaired,
            progress.decoded,
        )
    if decoder.cut_short or container.whole is False:
        with progress.lock:
            progress.cut = True
        _logger.warning(
            "%s is cut or damaged: it was read up to %.3f s; copy the file again if it should be longer",
            name,
            progress.last_us / 1e6,
        )


def _identity(path: Path) -> str:
    with path.open("rb") as file:
        return f"file:{blake2b(file.read(_IDENTITY_BYTES), digest_size=16).hexdigest()}"


def _check(path: Path) -> tuple[Path, Container]:
    """Refuse what is plainly no video file, and say what is: decoders' messages do not help a user."""
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise SourceError(f"{path} is in the home of a user that this machine lacks; check the path") from error
    try:
        if path.is_dir():
            raise SourceError(f"{path} is a folder; give the path of one video file in it")
        if not path.exists():
            raise SourceError(f"there is no file {path} (looked in {Path.cwd()}); check the path")
        if not path.is_file():
            raise SourceError(f"{path} is not a regular file; record it to a file and give that path")
        if path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes); copy or record the file again")
        return path.resolve(), inspect(path)
    except PermissionError as error:
        raise SourceError(f"{path} may not be read by this user; change its permissions (chmod u+r)") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}; check the path and the disk") from error
