"""A socket with one deadline for all that is done with it, to ask a server why it gives no video."""

import socket
import ssl
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from .address import Address

MOST_HEAD_BYTES = 1 << 16
MOST_BODY_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold a server's reply.  headers: names in lower case, as they came; one may come twice."""

    status: int
    words: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Give every value of a header."""
        return [value for known, value in self.headers if known == name]

    def first(self, name: str) -> str:
        """Give the first value of a header, or nothing."""
        return next(iter(self.all(name)), "")


class Wire:
    """Connect to an address's host and exchange small texts, all within timeout_s.

    Raises OSError, of which TimeoutError, ConnectionError, socket.gaierror and ssl.SSLError are kinds.
    Certificates are not checked: cameras sign their own, and what decodes does not check them either.
    """

    def __init__(self, address: Address, tls: bool, timeout_s: float) -> None:
        self._until = time.monotonic() + timeout_s
        self._socket = socket.create_connection((address.host, address.port), timeout_s)
        if tls:
            try:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                self._socket.settimeout(self._left_s())
                self._socket = context.wrap_socket(self._socket, server_hostname=address.host)
            except BaseException:
                self._socket.close()
                raise

    def exchange(self, request: str, *, body: bool) -> Reply | None:
        """Send a request, read the reply; None for what is no reply.  body: whether to read what follows the head."""
        self._socket.settimeout(self._left_s())
        self._socket.sendall(request.encode())
        read = b""
        while b"\r\n\r\n" not in read:
            piece = self._receive()
            if not piece or len(read) > MOST_HEAD_BYTES:
                if not read:
                    raise ConnectionResetError("closed without a reply")
                return None
            read += piece
        head, _, rest = read.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ", 2)
        if len(words) < 2 or not words[1].isdigit() or not words[0].startswith(("RTSP/", "HTTP/")):
            return None
        fields = (line.partition(":") for line in lines[1:])
        headers = tuple((name.strip().lower(), value.strip()) for name, _, value in fields)
        length = next((value for name, value in headers if name == "content-length"), "0")
        wanted = min(int(length) if length.isdigit() else 0, MOST_BODY_BYTES) if body else 0
        while len(rest) < wanted:
            piece = self._receive()
            if not piece:
                break
            rest += piece
        return Reply(int(words[1]), words[2] if len(words) > 2 else "", headers, rest[:wanted])

    def _receive(self) -> bytes:
        self._socket.settimeout(self._left_s())
        return self._socket.recv(1 << 14)

    def _left_s(self) -> float:
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        return left_s

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
