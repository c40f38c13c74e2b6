"""Why a source gives no frames, in words for people and in codes for programs."""

import errno
import socket
import ssl
from dataclasses import dataclass

from .status import SourceCode

HOPELESS: tuple[SourceCode, ...] = ("auth_failed", "codec")

_REMEDIES: dict[SourceCode, str] = {
    "auth_failed": (
        "give the right ones in the address, SCHEME://USER:PASSWORD@HOST/PATH, with signs such as @ / : # "
        "percent-encoded (@ is %40); it is tried again once a minute only, as cameras lock accounts that fail often"
    ),
    "not_found": "check the address and its path in the camera's manual or app",
    "refused": "check the port, and that the camera is on and serves video there",
    "timeout": "check that the camera is on, in this network, and not behind a firewall",
    "tls": "check the port, and begin the address with rtsp: or http: where the camera speaks no TLS",
    "codec": "choose H.264 (or MJPEG) in the camera's settings, or its sub-stream",
    "busy": "close other programs that use it, or put a restreamer such as go2rtc or MediaMTX in between",
    "lost": "it is connected to again by itself",
    "unknown": "try the address in another player; it is tried again by itself",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Name what went wrong with a source: a stable code, and a reason with a remedy that shows no credentials."""

    code: SourceCode
    reason: str

    @property
    def hopeless(self) -> bool:
        """Whether it needs a person: it is then tried again rarely."""
        return self.code in HOPELESS

    @classmethod
    def of(cls, code: SourceCode, what: str, remedy: str | None = None) -> "Failure":
        """Make one of a sentence and its remedy; None for the usual one of that code."""
        return cls(code, f"{what}; {_REMEDIES[code] if remedy is None else remedy}")


class FeedError(Exception):
    """A connection cannot be made or has broken; it carries the Failure and never leaves the live sources."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def of_socket(error: OSError, shown: str, place: str, timeout_s: float) -> Failure:
    """Name what an OSError of a connection means.  shown: the source, redacted.  place: host and port."""
    match error:
        case socket.gaierror():
            return Failure.of(
                "not_found",
                f"{shown}: this machine finds no address for the host name in {place}",
                "check how the name is written, and the network and its name server",
            )
        case ssl.SSLError():
            return Failure.of("tls", f"{shown}: {place} answers, but not with TLS that can be used ({error.reason})")
        case TimeoutError():
            return Failure.of("timeout", f"{shown}: {place} did not answer within {timeout_s:g} s")
        case ConnectionRefusedError():
            return Failure.of("refused", f"{shown}: nothing listens at {place} (connection refused)")
        case ConnectionError():
            return Failure.of("lost", f"{shown}: {place} closed the connection")
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH | errno.EHOSTDOWN):
            return Failure.of("timeout", f"{shown}: there is no way to {place} ({error.strerror})")
        case _:
            return Failure.of(
                "unknown", f"{shown}: {place} cannot be reached ({error.strerror or type(error).__name__})"
            )


def of_status(number: int, words: str, shown: str, knows_password: bool) -> Failure | None:
    """Name what the status of an RTSP or HTTP reply means; None for one that says nothing against it.

    words: as the server put it.  knows_password: whether a user name and a password were given.
    """
    told = f"{number} {words}".strip()[:60]
    match number:
        case 401 if knows_password:
            return Failure.of("auth_failed", f"{shown}: the user name or the password is wrong ({told})")
        case 401:
            return Failure.of("auth_failed", f"{shown}: it wants a user name and a password ({told})")
        case 403 | 407:
            return Failure.of(
                "auth_failed", f"{shown}: this user, or this machine's address, may not watch it ({told})"
            )
        case 404 | 410:
            return Failure.of(
                "not_found",
                f"{shown}: the server answers, but has nothing under this path ({told})",
                "check the path in the camera's manual or app; a restreamer says this too while its camera is away",
            )
        case 429 | 453 | 503:
            return Failure.of("busy", f"{shown}: it serves no more viewers now ({told})")
        case _:
            return None
