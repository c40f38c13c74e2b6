"""Addresses of network sources, and how they are shown without their credentials."""

import re
from dataclasses import dataclass
from urllib.parse import quote, quote_plus, unquote, urlsplit, urlunsplit

from ...errors import SourceError

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}

_SECRET = re.compile(
    r"((?:pass(?:word|wd|phrase)?|pwd|pw|token|access_token|key|api_?key|streamkey|secret|auth|sig|signature)(?:=|%3d))"
    r"[^&;/?#\s]*",
    re.IGNORECASE,
)
_LEAST_SECRET = 3  # hiding shorter ones in any text would garble it, and tell them by that


@dataclass(frozen=True, slots=True)
class Address:
    """Hold the parts of a network source's address.

    url: as it was given.  shown: the same without secrets, for people.  identity: without user and secrets, so that a
    new password names no other camera.  target: the address without user and password, as requests name it.
    """

    url: str
    shown: str
    identity: str
    target: str
    scheme: str
    host: str
    port: int
    user: str
    password: str

    @property
    def place(self) -> str:
        """Host and port, for people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def knows_password(self) -> bool:
        """Whether a user name or a password was given."""
        return bool(self.user or self.password)

    def hide(self, text: str) -> str:
        """Take the address and its secrets, however they are written, out of somebody else's text."""
        text = text.replace(self.url, self.shown)
        for secret in (self.password, self.user if not self.password else ""):
            for written in (secret, quote(secret, safe=""), quote(secret), quote_plus(secret)):
                if len(written) >= _LEAST_SECRET:
                    text = re.sub(re.escape(written), "***", text, flags=re.IGNORECASE)
        return redact(text)


def redact(spec: str) -> str:
    """Give an address, or a text with some, without passwords and tokens: rtsp://user:***@host/path.

    What might be a password is hidden too, such as one with a / in it that should have been percent-encoded.
    """
    return _SECRET.sub(r"\1***", re.sub(r"(?<=://)[^ \t\r\n]+", lambda found: _without_user(found[0]), spec))


def _without_user(rest: str) -> str:
    """Redact what stands behind the // of an address."""
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    before, at, after = rest.rpartition("@")
    if not at or not (":" in place or "@" in place):
        return rest
    # Up to the last @, though it may be part of a path: user:pass/word@host and host:port/a@b look the same.
    name, colon, _ = before.partition(":")
    return f"{name}:***@{after}" if colon else f"***@{after}"


def parse_address(spec: str) -> Address:
    """Take a network source's address apart.  Raises SourceError for one without a host or with a wrong port."""
    shown = redact(spec)
    try:
        parts = urlsplit(spec)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise SourceError(
            f"cannot read the address {shown}: give SCHEME://USER:PASSWORD@HOST:PORT/PATH, with signs such as "
            "@ / : # in a password percent-encoded (@ is %40)"
        ) from error
    scheme = parts.scheme.lower()
    if re.search(r"[\x00-\x20\x7f]", spec):
        raise SourceError(f"cannot read the address {shown}: it holds a space or a control sign; percent-encode it")
    if not host and scheme != "udp":  # udp://@:1234 listens on every address
        raise SourceError(f"cannot read the address {shown}: it names no host; give {scheme}://HOST/PATH")
    at = f"[{host}]" if ":" in host else host
    place = at if port is None else f"{at}:{port}"
    target = urlunsplit((scheme, place, parts.path, parts.query, ""))
    return Address(
        url=spec,
        shown=shown,
        identity=_SECRET.sub(r"\1***", target),
        target=target,
        scheme=scheme,
        host=host,
        port=PORTS.get(scheme, 0) if port is None else port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )
