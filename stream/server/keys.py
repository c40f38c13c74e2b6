"""Resume tokens: what brings a client back to its session, of which only hashes are kept."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass


@dataclass(slots=True)
class Keys:
    """Hold the sha256 of the tokens that bring a client back: the newest, and the one before until that is used."""

    newest: str | None = None
    before: str | None = None

    def renew(self) -> str:
        """Make a new token and give it; the one before stays good until confirm()."""
        token = secrets.token_urlsafe(32)
        self.newest, self.before = _hash(token), self.newest
        return token

    def confirm(self, token: str) -> None:
        """Note that the client has a token; where it is the newest, the one before is good no more."""
        if hmac.compare_digest(_hash(token), self.newest or ""):
            self.before = None

    def fit(self, token: str) -> bool:
        """Say, in constant time, whether a token is one of them."""
        given = _hash(token)
        fits = [hmac.compare_digest(given, key or "") for key in (self.newest, self.before)]
        return any(fits)

    @property
    def hashes(self) -> tuple[str, ...]:
        """Those that are good, the newest first."""
        return tuple(key for key in (self.newest, self.before) if key is not None)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
