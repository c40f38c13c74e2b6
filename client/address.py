"""Where a server is, and the token that it wants, from what a person copies out of a terminal."""

import os
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from ..errors import SettingsError

ROUTE = "/v1/realtime"
VARIABLE = "ONLOOKER_TOKEN"

_SECURE = {"http": False, "ws": False, "https": True, "wss": True}
_EXAMPLE = "http://127.0.0.1:8765/#token=..."


@dataclass(frozen=True, slots=True)
class Address:
    """Hold a server's address.  prefix: path before its routes, behind a proxy; else empty.  token: never shown."""

    host: str
    port: int
    secure: bool
    prefix: str = ""
    token: str = field(default="", repr=False)

    @property
    def netloc(self) -> str:
        """Host and port as they stand in an address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def socket_url(self) -> str:
        """Where the websocket is."""
        return f"{'wss' if self.secure else 'ws'}://{self.netloc}{self.prefix}{ROUTE}"


def read_address(url: str, token: str | None = None) -> Address:
    """Read a server's address: http, https, ws or wss, or a bare HOST:PORT; the path and the port may be missing.

    The token is the one given, else the address's own behind #token=, else that of the environment's ONLOOKER_TOKEN.
    Raises SettingsError for an address that cannot be one, and for one with a password or a query.
    """
    shown = url.partition("#")[0]
    try:
        parts = urlsplit(url if "://" in url else f"ws://{url}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"{shown!r:.200} is no address: {error}; give one such as {_EXAMPLE}") from None
    if parts.scheme.lower() not in _SECURE or not host:
        raise SettingsError(f"{shown!r:.200} is no server's address; give one such as {_EXAMPLE}")
    if parts.username is not None or parts.password is not None or parts.query:
        raise SettingsError("the address has a user or a query; give the token behind #token= or as token=")
    secure = _SECURE[parts.scheme.lower()]
    named = parse_qs(parts.fragment).get("token", [""])[-1]
    found = token if token is not None else named or os.environ.get(VARIABLE, "")
    if not found.isascii() or not found.isprintable() or " " in found:
        raise SettingsError(
            "the token has characters that no token has; copy it again from where the server printed it"
        )
    prefix = parts.path.rstrip("/").removesuffix(ROUTE)
    return Address(host, port or (443 if secure else 80), secure, prefix, found)
