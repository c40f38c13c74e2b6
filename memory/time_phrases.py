"""Time phrases: "ten minutes ago", "in the last hour", "at 3:25", read as a range of stream time.

Clock times are stream time, as the players show it: minutes:seconds or hours:minutes:seconds.  A time of day ("3:25
pm") is no stream time and is not read.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

_SECOND = 1_000_000
_UNITS = {"s": _SECOND, "m": 60 * _SECOND, "h": 3_600 * _SECOND, "d": 86_400 * _SECOND}  # by first letter
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10), strict=True))
_WORDS: dict[str, float] = (
    {word: float(value) for value, word in enumerate(_ONES)}
    | {word: float(value) for word, value in _TENS.items()}
    | {
        f"{ten}{joint}{one}": float(value + _ONES.index(one))
        for ten, value in _TENS.items()
        for one in _ONES[1:10]
        for joint in "- "
    }
    | {"a": 1.0, "an": 1.0, "half a": 0.5, "half an": 0.5, "a couple of": 2.0, "couple of": 2.0}
    | {"a few": 3.0, "few": 3.0, "several": 5.0, "one and a half": 1.5, "two and a half": 2.5}
)
_VAGUE = ("few", "several", "couple")

_NUMBER = r"\d{1,9}(?:\.\d{1,9})?|" + "|".join(sorted((re.escape(word) for word in _WORDS), key=len, reverse=True))
_UNIT = r"seconds?|secs?|minutes?|mins?|hours?|hrs?|days?"
_PART = rf"(?:{_NUMBER})[\s-]*(?:{_UNIT})\b"
_MORE = rf"(?:(?:,? and|,)? {_PART}){{0,3}}(?: and a half\b)?"
_WHOLE = rf"\b(?P<length>{_PART}{_MORE})"
_LENGTH = rf"(?P<length>(?:{_PART}|(?:{_UNIT})\b){_MORE})"  # the first number may be left out: "the last hour"
_AGO = rf"{_WHOLE} ago\b"
# What makes the length after it but the end of a longer one: "a hundred and", "three quarters of", "10-", "1,", "1h".
_COUNT = rf"\d\w*|{_NUMBER}|{_UNIT}|hundred|thousand|dozen|half|quarters?"
_CUT = rf"(?P<cut>\w (?:and|of) |\b(?:{_COUNT})(?: ?[.,/–-] ?| (?:(?:or|to) )?))??"
_CLOCK = r"\d{1,3}:[0-5]\d(?::[0-5]\d)?(?![:\d])(?!\s*[ap]\.?m\b)"
_NEAR_US = 5 * _SECOND  # how far from "at 3:25" still counts


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Name a range of stream time [since_us, until_us); None is open.  phrase: the words it was read from."""

    since_us: int | None
    until_us: int | None
    phrase: str


def parse_time(question: str, now_us: int, start_us: int = 0) -> TimeRange | None:
    """Read the first kind of time phrase that the question holds; None when there is none.

    now_us: stream time when the question was put.  start_us: stream time of the stream's first frame.  "N minutes
    ago" is taken with a tolerance of a fifth of its length, at least half its unit, because nobody means it exactly.
    A length that is understood only at its end ("a hundred and ten minutes ago") is no phrase rather than a wrong one.
    """
    text = " ".join(question.lower().replace("’", "'").split())
    for pattern, read in _READERS:
        match = pattern.search(text)
        if match is not None:
            if match.groupdict().get("cut") is not None:
                return None
            since, until = read(match, now_us, start_us)
            return TimeRange(since, until, match.group(0))
    return None


def parse_clock(text: str) -> int:
    """Read "3:25" or "1:03:25" as microseconds.  Raises ValueError for anything else."""
    if re.fullmatch(_CLOCK, text) is None:
        raise ValueError(f"not a clock time: {text!r}; write minutes:seconds or hours:minutes:seconds")
    seconds = 0
    for part in text.split(":"):
        seconds = seconds * 60 + int(part)
    return seconds * _SECOND


def parse_moment(text: str) -> int:
    """Read "90", "90.5", "1:30", "1:03:25.5", "45s", "1h2m" or "1h2m3.5s" as microseconds.

    Raises ValueError for anything else.
    """
    word = text.strip().lower()
    clock = re.fullmatch(r"([\d:]+:\d+)(\.\d+)?", word)
    if clock is not None:
        return parse_clock(clock[1]) + round(float(clock[2] or 0) * _SECOND)
    if re.fullmatch(r"\d+(\.\d+)?", word):
        return round(float(word) * _SECOND)
    number = r"(\d+(?:\.\d+)?)"
    length = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}s)?", word)
    if length is None or not word:
        raise ValueError(f"not a time: {text!r}; write seconds (90), a clock time (1:30) or a length (1h2m)")
    return sum(round(float(value) * _UNITS[unit]) for value, unit in zip(length.groups(), "hms", strict=True) if value)


def format_clock(time_us: int) -> str:
    """Write a stream time as "3:25" or "1:03:25", whole seconds, rounded down."""
    seconds = max(time_us, 0) // _SECOND
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


Bounds = tuple[int | None, int | None]
Reader = Callable[[re.Match[str], int, int], Bounds]


def _parts(match: re.Match[str]) -> list[tuple[str, int]]:
    """Take a length apart: [("an", 1 hour), ("20", 1 minute)] for "an hour and 20 minutes"."""
    found = re.finditer(rf"(?:(?P<number>{_NUMBER})[\s-]*)?(?P<unit>{_UNIT})\b", match["length"])
    return [(part["number"] or "a", _UNITS[part["unit"][0]]) for part in found]


def _length(match: re.Match[str]) -> int:
    parts = _parts(match)
    length = sum(round((_WORDS[word] if word in _WORDS else float(word)) * unit) for word, unit in parts)
    return length + (parts[-1][1] // 2 if match["length"].endswith(" and a half") else 0)


def _unit(match: re.Match[str]) -> int:
    return min(unit for _, unit in _parts(match))


def _ago(match: re.Match[str], now_us: int, start_us: int) -> Bounds:
    length, unit = _length(match), _unit(match)
    vague = any(word in match["length"] for word in _VAGUE)
    slack = max(unit // 2, round(length * (0.5 if vague else 0.2)))
    return max(now_us - length - slack, start_us), min(now_us - length + slack, now_us)


def _more_than_ago(match: re.Match[str], now_us: int, start_us: int) -> Bounds:
    return None, now_us - _length(match)


def _less_than_ago(match: re.Match[str], now_us: int, start_us: int) -> Bounds:
    return max(now_us - _length(match), start_us), None


def _first(match: re.Match[str], now_us: int, start_us: int) -> Bounds:
    return start_us, start_us + _length(match)


def _between(match: re.Match[str], now_us: int, start_us: int) -> Bounds:
    first, second = sorted((parse_clock(match["a"]), parse_clock(match["b"])))
    return first, second + _SECOND


def _at(match: re.Match[str], now_us: int, start_us: int) -> Bounds:
    moment = parse_clock(match["a"])
    return max(moment - _NEAR_US, 0), moment + _SECOND + _NEAR_US


def _mark(match: re.Match[str], now_us: int, start_us: int) -> Bounds:
    moment, slack = start_us + _length(match), _unit(match) // 2
    return max(moment - slack, start_us), moment + slack


def _after(match: re.Match[str], now_us: int, start_us: int) -> Bounds:
    return parse_clock(match["a"]), None


def _before(match: re.Match[str], now_us: int, start_us: int) -> Bounds:
    return None, parse_clock(match["a"])


_READERS: tuple[tuple[re.Pattern[str], Reader], ...] = tuple(
    (re.compile(pattern), read)
    for pattern, read in (
        (rf"\b(?:more than|over|at least) {_AGO}", _more_than_ago),
        (rf"\b(?:less than|within|not more than|no more than) {_AGO}", _less_than_ago),
        (_CUT + _AGO, _ago),
        (rf"\b(?:in|within|during|over|for) (?:the )?(?:last|past|previous) {_LENGTH}", _less_than_ago),
        (rf"\b(?:in|within|during|over|for) the first {_LENGTH}", _first),
        (rf"\b(?:between|from) (?P<a>{_CLOCK}) (?:and|to|until|till) (?P<b>{_CLOCK})", _between),
        (rf"\b(?:since|after|from) (?P<a>{_CLOCK})", _after),
        (rf"\b(?:before|until|till) (?P<a>{_CLOCK})", _before),
        (rf"\bat (?:the )?{_LENGTH} mark\b", _mark),
        (rf"{_CUT}{_WHOLE} in(?:to the (?:video|stream|recording))?(?=[\s,?.!]*$|,)", _mark),
        (rf"\b(?:at|around|about) (?P<a>{_CLOCK})", _at),
    )
)
