"""Answers to a server that asks who is there: HTTP's Basic and Digest authentication, which RTSP uses too."""

import hashlib
import re
import secrets
from base64 import b64encode
from collections.abc import Sequence

_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
_FIELD = re.compile(r'(\w[\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


def answer(
    challenges: Sequence[str], user: str, password: str, method: str, target: str, nonce: str | None = None
) -> str | None:
    """Give the Authorization header that answers one of the challenges, or None where none is known.

    challenges: the WWW-Authenticate headers.  target: the address as the request names it.  nonce: the client's own,
    for tests.  Digest (RFC 7616, and RFC 2069 where no qop is offered) goes before Basic (RFC 7617).
    """
    for challenge in challenges:
        scheme, _, rest = challenge.strip().partition(" ")
        fields = {name.lower(): quoted or bare for name, quoted, bare in _FIELD.findall(rest)}
        if scheme.lower() == "digest" and fields.get("algorithm", "MD5").upper() in _HASHES:
            return _digest(fields, user, password, method, target, nonce or secrets.token_hex(8))
    if any(challenge.strip().lower().startswith("basic") for challenge in challenges):
        return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
    return None


def _digest(fields: dict[str, str], user: str, password: str, method: str, target: str, own: str) -> str:
    name = fields.get("algorithm", "MD5").upper()

    def digest(text: str) -> str:
        return _HASHES[name](text.encode()).hexdigest()

    realm, nonce = fields.get("realm", ""), fields.get("nonce", "")
    who, what = digest(f"{user}:{realm}:{password}"), digest(f"{method}:{target}")
    parts = [f'username="{user}"', f'realm="{realm}"', f'nonce="{nonce}"', f'uri="{target}"']
    if "auth" in re.split(r"[\s,]+", fields.get("qop", "")):
        response = digest(f"{who}:{nonce}:00000001:{own}:auth:{what}")
        parts += [f'response="{response}"', "qop=auth", "nc=00000001", f'cnonce="{own}"']
    else:
        parts.append(f'response="{digest(f"{who}:{nonce}:{what}")}"')
    if "algorithm" in fields:
        parts.append(f"algorithm={name}")
    if "opaque" in fields:
        parts.append(f'opaque="{fields["opaque"]}"')
    return f"Digest {', '.join(parts)}"
