"""Evidence pictures, fetched from the server that named them."""

import http.client
import ssl
from urllib.parse import quote

from .address import Address

MOST_BYTES = 4 << 20
TIMEOUT_S = 10.0


def fetch_image(address: Address, path: str, context: ssl.SSLContext | None = None) -> bytes:
    """Fetch a JPEG by its path on the server; empty where it is not there (any more), or the server is away.

    Only that server is asked, and no redirection is followed: the token goes nowhere else.
    """
    if not path.startswith("/"):
        return b""
    headers = {"Authorization": f"Bearer {address.token}"} if address.token else {}
    connection = (
        http.client.HTTPSConnection(address.host, address.port, timeout=TIMEOUT_S, context=context)
        if address.secure
        else http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT_S)
    )
    try:
        connection.request("GET", address.prefix + quote(path, safe="/%"), headers=headers)
        reply = connection.getresponse()
        data = reply.read(MOST_BYTES + 1)
        return data if reply.status == 200 and len(data) <= MOST_BYTES else b""
    except (OSError, http.client.HTTPException):
        return b""
    finally:
        connection.close()
