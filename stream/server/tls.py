"""The checks before a server listens: no plain HTTP beyond this machine, and a certificate that loads."""

import socket
import ssl
from pathlib import Path

from ...errors import SettingsError
from .origins import is_loopback

TUNNEL = "ssh -L {port}:localhost:{port} {machine}"
MAKE_CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN={host} "
    "-addext subjectAltName={kind}:{host} -keyout key.pem -out cert.pem"
)


def check_binding(host: str, port: int, *, tls: bool, insecure: bool) -> None:
    """Raise SettingsError for a server that others could reach, and read along with, because it speaks no TLS."""
    if tls or insecure or is_loopback(host):
        return
    machine = socket.gethostname()
    everywhere = host in ("0.0.0.0", "::", "*")
    command = MAKE_CERTIFICATE.format(host=machine if everywhere else host, kind="DNS" if everywhere else "IP")
    raise SettingsError(
        f"--host {host} lets other machines connect, and without TLS anyone on the network could read the token and "
        f"the pictures. Do one of: keep --host 127.0.0.1 and tunnel from the other machine with "
        f"`{TUNNEL.format(port=port or 8765, machine=machine)}`; give --tls-cert cert.pem --tls-key key.pem, made with "
        f"`{command}`; or accept the risk with --insecure-plain-http"
    )


def ssl_context(cert: Path, key: Path | None) -> ssl.SSLContext:
    """Make the context of a server with a certificate (PEM, its chain after it).  key: None when it is in there too.

    Raises SettingsError for files that are missing, that do not belong together, or a key that wants a password.
    """
    for path, option in ((cert, "--tls-cert"), (key, "--tls-key")):
        if path is not None and not path.is_file():
            command = MAKE_CERTIFICATE.format(host="localhost", kind="DNS")
            raise SettingsError(f"{option} {path} is no file; make one with: {command}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    holder = key or cert
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _PasswordWantedError:
        raise SettingsError(
            f"the key {holder} is locked with a password; write it without: openssl pkey -in {holder} -out open.pem"
        ) from None
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(
            f"certificate {cert} and key {holder} cannot be used ({error}); give PEM files that belong together"
        ) from None
    return context


class _PasswordWantedError(Exception):
    """Raised in place of asking on the terminal."""


def _no_password() -> str:
    raise _PasswordWantedError
