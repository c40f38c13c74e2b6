"""The address that a server listens on, taken before the model is loaded."""

import errno
import socket as sockets

from ...errors import SettingsError
from .settings import ServerSettings


def bind(settings: ServerSettings) -> sockets.socket:
    """Take the address, without listening on it yet.  Raises SettingsError with the remedy where it cannot be had."""
    host, port = settings.host.strip("[]"), settings.port
    try:
        family, kind, proto, _, address = sockets.getaddrinfo(
            host, port, type=sockets.SOCK_STREAM, flags=sockets.AI_PASSIVE
        )[0]
        made = sockets.socket(family, kind, proto)
    except OSError as error:
        raise SettingsError(
            f"--host {host} is no address of this machine ({error}); give one, such as 127.0.0.1"
        ) from None
    try:
        made.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        if family == sockets.AF_INET6 and host == "::":
            made.setsockopt(sockets.IPPROTO_IPV6, sockets.IPV6_V6ONLY, 0)
        made.bind(address)
        made.listen(0)  # else somebody else could take it while the model loads
        made.setblocking(False)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(f"--host {host} is no address of this machine; give one, or 0.0.0.0 for all") from None
        raise SettingsError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); stop what listens there, or give another "
            "--port; 0 lets the system choose"
        ) from None
    return made
