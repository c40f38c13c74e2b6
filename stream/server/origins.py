"""Where a request may come from: the names in its Host header, and the page in its Origin header.

A page elsewhere can make a browser connect here, and can point its own name at this machine (DNS rebinding).  It can
forge neither header: Host then has its own name, and Origin is its own.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ...errors import SettingsError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address that a server is bound to."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_host(header: str) -> tuple[str, int | None] | None:
    """Split a Host header into its name, in lower case without a last dot, and its port; None for anything else."""
    match = _HOST.fullmatch(header)
    if match is None:
        return None
    name = (match["six"] or match["name"]).lower().rstrip(".")
    port = None if match["port"] is None else int(match["port"])
    if not name or (port is not None and port > 65_535):
        return None
    return _plain_address(name), port


def read_origin(origin: str) -> tuple[str, str, int] | None:
    """Split an Origin into scheme, name and port; None for "null" and for anything that is no web origin."""
    scheme, separator, rest = origin.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _DEFAULT_PORTS:
        return None
    host = read_host(rest)
    return None if host is None else (scheme, host[0], host[1] or _DEFAULT_PORTS[scheme])


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """Decide by Host and Origin.

    names: what the server may be reached by.  wildcard: it is bound to every address of the machine, so that the
    address that a connection came in on is a name too (an address needs no DNS, so nobody can rebind it).  origins:
    other pages that may connect.  secure: TLS is spoken, so that its own page's scheme is https.
    """

    names: frozenset[str]
    origins: frozenset[tuple[str, str, int]]
    wildcard: bool
    secure: bool

    @classmethod
    def of(
        cls, host: str, allow_hosts: Sequence[str] = (), allow_origins: Sequence[str] = (), *, secure: bool = False
    ) -> "OriginPolicy":
        """Make the policy of a server that is bound to host.  Raises SettingsError for what is no name or no origin."""
        names = set(LOOPBACK_NAMES)
        for allowed in allow_hosts:
            read = read_host(allowed)
            if read is None:
                raise SettingsError(f"--allow-host {allowed!r} is no host name; give a name, such as cam.example.com")
            names.add(read[0])
        bound = host.strip("[]").lower()
        wildcard = bound in ("0.0.0.0", "::", "*")
        if not wildcard:
            names.add(_plain_address(bound.rstrip(".")))
        origins = set()
        for allowed in allow_origins:
            origin = read_origin(allowed.rstrip("/"))
            if origin is None or urlsplit(allowed).path.strip("/"):
                raise SettingsError(
                    f"--allow-origin {allowed!r} is no origin; give a scheme and a host, such as https://cam.example.com"
                )
            origins.add(origin)
        return cls(frozenset(names), frozenset(origins), wildcard, secure)

    def host_passes(self, headers: Sequence[str], local_address: str) -> bool:
        """Say whether all the Host headers of a request, of which there must be just one, name this server."""
        read = read_host(headers[0]) if len(headers) == 1 else None
        if read is None:
            return False
        return read[0] in self.names or (self.wildcard and read[0] == _plain_address(local_address.partition("%")[0]))

    def origin_passes(self, headers: Sequence[str], host: str, *, may_lack: bool) -> bool:
        """Say whether a request's Origin headers are its own page's, or an allowed one's.

        host: its Host header, which passed.  may_lack: whether none at all will do, as for a program.
        """
        if not headers:
            return may_lack
        origin = read_origin(headers[0]) if len(headers) == 1 else None
        if origin is None:
            return False
        scheme = "https" if self.secure else "http"
        own = read_host(host)
        if own is not None and origin == (scheme, own[0], own[1] or _DEFAULT_PORTS[scheme]):
            return True
        return origin in self.origins


def _plain_address(name: str) -> str:
    """Write an address in its one shortest form; other names stay as they are."""
    try:
        parsed = ipaddress.ip_address(name)
    except ValueError:
        return name
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
