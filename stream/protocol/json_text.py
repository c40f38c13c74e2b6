"""JSON as a stranger sends it: read strictly and within bounds; and as we send it: always the same way."""

import json
import math
import re
from collections.abc import Mapping
from typing import NoReturn

from .errors import EventError, quoted

_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{\]},]', re.DOTALL)  # possessive: time stays linear
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_object(text: str, most_bytes: int, most_depth: int, most_values: int) -> dict[str, object]:
    """Read one JSON object.

    Size, nesting and the number of values are looked at before it is parsed.  Raises EventError for what is too large,
    is no JSON object, names a key twice, or holds NaN, an infinity or a number beyond float's range.
    """
    size = len(text)
    if size <= most_bytes and not text.isascii():
        size = len(text.encode("utf-8", "surrogatepass"))
    if size > most_bytes:
        raise EventError(
            "invalid_json", f"the message has {size} bytes, over the limit of {most_bytes}", remedy="send a smaller one"
        )
    _measure(text, most_depth, most_values)
    try:
        value = json.loads(
            text, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole
        )
    except json.JSONDecodeError as error:
        raise EventError("invalid_json", f"the message is no JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(value, dict):
        raise EventError("invalid_json", f"the message is {quoted(value)}, not a JSON object")
    return value


def write_object(value: Mapping[str, object]) -> str:
    """Write an object without white space, in the order of its keys; what is no valid text becomes U+FFFD.

    Raises ValueError for NaN and infinities.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _SURROGATE.sub("\ufffd", text)


def has_surrogate(text: str) -> bool:
    """Say whether a text has half a character, which is no Unicode text."""
    return _SURROGATE.search(text) is not None


def _measure(text: str, most_depth: int, most_values: int) -> None:
    depth, values = 0, 1
    for match in _TOKENS.finditer(text):
        token = text[match.start()]
        if token in "[{":
            depth += 1
            values += 1
        elif token == ",":
            values += 1
        elif token in "]}":
            depth -= 1
        if depth > most_depth:
            raise EventError(
                "invalid_json", f"the message is nested deeper than {most_depth} levels", remedy="flatten it"
            )
        if values > most_values:
            raise EventError(
                "invalid_json", f"the message has more than {most_values} values", remedy="send less in one message"
            )


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise EventError("invalid_json", f"the key {quoted(key)} stands twice in one object")
            seen.add(key)
    return found


def _no_constant(name: str) -> NoReturn:
    raise EventError("invalid_json", f"{name} is no JSON", remedy="send finite numbers")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise EventError("invalid_json", f"{quoted(digits)} is beyond the largest number", remedy="send finite numbers")
    return value


def _whole(digits: str) -> int:
    if len(digits) > 20:  # more than 64 bits; int() takes time that grows with the square of the digits
        raise EventError(
            "invalid_json", f"a number has {len(digits)} digits", remedy="send numbers of at most 19 digits"
        )
    return int(digits)
