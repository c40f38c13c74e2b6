"""Who may connect: one token, compared in constant time, and a limit on guesses by address."""

import hmac
import ipaddress
import math
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from ...errors import SettingsError

SUBPROTOCOL_PREFIX = "onlooker.token."
"""How a browser, which cannot set headers on a websocket, offers the token: as a second subprotocol."""

LEAST_CHARACTERS, MOST_CHARACTERS = 16, 256

LONG_CHARACTERS = 32
"""A token of so many characters cannot be guessed at any rate, so guesses of others do not lock its owner out."""

_FIT = re.compile(r"[A-Za-z0-9._~-]+")  # fits a header, a subprotocol and a URL's fragment as it is
_MOST_ADDRESSES = 4096

Verdict = Literal["passed", "missing", "wrong", "locked"]


def new_token() -> str:
    """Make a random token of 256 bits, in 43 characters."""
    return secrets.token_urlsafe(32)


def check_token(token: str, where: str) -> str:
    """Give a token back when it will do.  where: what the message calls it.

    Raises SettingsError for one that is too short, too long, or does not fit a header.  The message does not show it.
    """
    if not LEAST_CHARACTERS <= len(token) <= MOST_CHARACTERS:
        raise SettingsError(
            f"{where} has {len(token)} characters; give from {LEAST_CHARACTERS} to {MOST_CHARACTERS}, such as "
            "the output of: openssl rand -hex 32"
        )
    if not _FIT.fullmatch(token):
        raise SettingsError(
            f"{where} has characters that do not fit a header; use letters, digits, dots, dashes, underscores and "
            "tildes, such as the output of: openssl rand -hex 32"
        )
    return token


def read_token_file(path: Path) -> str:
    """Read a token from a file's first line.  Raises SettingsError for a file that cannot be read or has none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the token file {path} cannot be read ({error}); give a text file with one line") from None
    return check_token(lines[0].strip() if lines else "", f"the token in {path}")


def page_address(scheme: str, host: str, port: int, token: str | None) -> str:
    """Give the page's address; the token is in the fragment, which no browser sends and no server logs."""
    shown = f"[{host}]" if ":" in host else host
    fragment = "" if token is None else f"#token={quote(token, safe='')}"
    return f"{scheme}://{shown}:{port}/{fragment}"


@dataclass(frozen=True, slots=True)
class Offer:
    """Hold what a request offers to be let in by: the token, and whether it came in an Authorization header."""

    token: str | None = None
    bearer: bool = False

    @classmethod
    def of(cls, authorization: Sequence[str], subprotocols: Sequence[str] = ()) -> "Offer":
        """Read it from all Authorization headers and from the subprotocols; several are as good as none."""
        if authorization:
            scheme, _, token = authorization[0].strip().partition(" ")
            if len(authorization) > 1 or scheme.lower() != "bearer":
                return cls(None, bearer=True)
            return cls(token.strip() or None, bearer=True)
        offered = [
            name.removeprefix(SUBPROTOCOL_PREFIX) for name in subprotocols if name.startswith(SUBPROTOCOL_PREFIX)
        ]
        return cls(offered[0]) if len(offered) == 1 else cls()


@dataclass(slots=True)
class _Guesses:
    left: float
    at_s: float


class Guard:
    """Let in who knows the token.

    A wrong token costs its address one of `burst` guesses; they come back one in every_s seconds.  With none left
    wrong tokens from there are locked out until one has come back; so is the right one where it is shorter than
    LONG_CHARACTERS, else a guess could be told from its answer.  IPv6 addresses count by /64.
    A bounded number of addresses is remembered.  clock: seconds, monotonic.  For one thread.
    """

    def __init__(
        self, token: str, *, burst: int = 10, every_s: float = 6.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._token = token.encode()
        self._burst, self._every_s, self._clock = burst, every_s, clock
        self._guesses: OrderedDict[str, _Guesses] = OrderedDict()
        self.refused = 0

    def check(self, offer: Offer, address: str) -> Verdict:
        """Say whether an offer from an address passes."""
        if offer.token is None:
            self.refused += 1
            return "missing"
        key = _neighbourhood(address)
        right = hmac.compare_digest(offer.token.encode("utf-8", "replace"), self._token)
        if right and len(self._token) >= LONG_CHARACTERS:
            return "passed"
        guesses = self._refilled(key)
        if guesses is not None and guesses.left < 1.0:
            self.refused += 1
            return "locked"
        if right:
            return "passed"
        self.refused += 1
        if guesses is None:
            guesses = _Guesses(float(self._burst), self._clock())
            self._guesses[key] = guesses
            if len(self._guesses) > _MOST_ADDRESSES:
                self._guesses.popitem(last=False)
        guesses.left -= 1.0
        return "wrong"

    def retry_s(self, address: str) -> int:
        """Give the whole seconds after which an address may guess again."""
        guesses = self._refilled(_neighbourhood(address))
        return 0 if guesses is None else max(0, math.ceil((1.0 - guesses.left) * self._every_s))

    def _refilled(self, key: str) -> _Guesses | None:
        guesses = self._guesses.get(key)
        if guesses is None:
            return None
        now_s = self._clock()
        guesses.left += (now_s - guesses.at_s) / self._every_s
        guesses.at_s = now_s
        if guesses.left >= self._burst:
            del self._guesses[key]
            return None
        self._guesses.move_to_end(key)
        return guesses


def _neighbourhood(address: str) -> str:
    """Give what counts as one address: an IPv4 address, or an IPv6 network of 64 bits, which one person may own."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        if mapped is not None:
            return str(mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
