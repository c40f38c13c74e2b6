"""From a command line's word to a live source."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ...errors import SourceError
from .address import parse_address, redact

if TYPE_CHECKING:
    from ..source import SourceKind
    from .feed import Feed
    from .limits import LiveLimits
    from .live_source import LiveSource
    from .supervision import StatusListener

_NETWORK: "dict[str, SourceKind]" = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "http": "http",
    "https": "http",
    "rtmp": "network",
    "rtmps": "network",
    "srt": "network",
    "udp": "network",
    "tcp": "network",
    "rtp": "network",
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two letters or more, so that C:\ stays a path

KNOWN = "theatre:SEED, camera:NUMBER, rtsp://, rtsps://, http://, https://, or a file's path"


def is_live(spec: str) -> bool:
    """Say whether a word names a live source rather than a file; a file of that name goes first."""
    return _scheme(spec) in (*_NETWORK, "theatre", "camera", "v4l2")


def _scheme(spec: str) -> str:
    match = _SCHEME.match(spec)
    return match[1].lower() if match and not _is_there(spec) else ""


def _is_there(spec: str) -> bool:
    try:
        return Path(spec).exists()
    except (OSError, ValueError):  # too long for a name, a null byte
        return False


def feed_of(spec: str, fps: float | None = None, limits: "LiveLimits | None" = None) -> "Feed":
    """Read a word as something that can be connected to; nothing is connected to yet.

    Raises SourceError for a word that names nothing that can be read, SettingsError for a rate outside its limits.
    """
    from ..sampler import FrameSampler
    from .limits import LiveLimits

    FrameSampler(fps)  # raises for a rate outside its limits
    limits, scheme = limits or LiveLimits(), _scheme(spec)
    rest = spec.partition(":")[2]
    if scheme == "theatre":
        from .theatre_source import DEFAULT_FPS, MOST_SEED, Programme, TheatreFeed

        if not re.fullmatch(r"\d{1,10}", rest) or int(rest) > MOST_SEED:
            raise SourceError(f"{spec} names no theatre; give a whole number from 0 to {MOST_SEED}, such as theatre:7")
        return TheatreFeed(Programme(int(rest)), fps or DEFAULT_FPS)
    if scheme in ("camera", "v4l2"):
        from .capture import CameraFeed

        if re.fullmatch(r"\d{1,3}", rest):
            return CameraFeed(int(rest), limits)
        if not rest.startswith("/dev/"):
            raise SourceError(f"{spec} names no camera; give its number, such as camera:0, or camera:/dev/video0")
        return CameraFeed(rest, limits)
    if scheme in _NETWORK:
        from .capture import NetworkFeed

        return NetworkFeed(parse_address(spec), _NETWORK[scheme], limits)
    from .played_file import FileFeed

    return FileFeed(check_path(spec), fps)


def check_path(spec: str) -> str:
    """Give the path that a word names: itself, or what a file: address holds.

    Raises SourceError for an empty word, another machine's file, and an address that is not read.
    """
    scheme = _scheme(spec)
    if not spec.strip():
        raise SourceError(f"the source is empty; give {KNOWN}")
    if scheme == "file":
        parts = urlsplit(spec)
        if parts.netloc not in ("", "localhost"):
            raise SourceError(f"cannot open {spec}: it names another machine; copy the file here and give its path")
        return unquote(parts.path)
    if scheme and spec[len(scheme) :].startswith("://"):
        raise SourceError(f"cannot open {redact(spec)}: {scheme} addresses are not read; give {KNOWN}")
    return spec


def open_live(
    spec: str,
    fps: float | None = None,
    *,
    start_us: int = 0,
    end_us: int | None = None,
    on_status: "StatusListener | None" = None,
    stop: threading.Event | None = None,
    limits: "LiveLimits | None" = None,
    clock: Callable[[], float] | None = None,
    wall: Callable[[], float] = time.time,
) -> "LiveSource":
    """Open a live source: theatre:SEED, camera:0, rtsp://, http:// and so on, or a file played in real time.

    Returns at once; see LiveSource for all of it.  fps: at most so many frames a second; the theatre plays as many,
    4 where nothing is said.
    Raises SourceError for a word that names nothing that can be read, SettingsError for a rate outside its limits.
    """
    from .live_source import LiveSource
    from .theatre_source import TheatreFeed

    feed = feed_of(spec, fps, limits)
    return LiveSource(
        feed,
        None if isinstance(feed, TheatreFeed) else fps,
        start_us=start_us,
        end_us=end_us,
        on_status=on_status,
        stop=stop,
        limits=limits,
        clock=clock,
        wall=wall,
    )
