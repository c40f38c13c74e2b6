"""What a person may type in a conversation: questions, and commands that begin with a stroke."""

import difflib
import re
from dataclasses import dataclass

from ..errors import SettingsError
from ..memory.time_phrases import format_clock, parse_moment

COMMANDS = {
    "since": ("/since 2m [QUESTION]", "read only the last 2 minutes, or from 1:30 on; /since off for all"),
    "range": ("/range 1:00 2:30 [QUESTION]", "read only this stretch of the stream; /range off for all"),
    "mark": ("/mark LABEL", "put a label to this moment"),
    "watch": ("/watch CONDITION", "say when this becomes true; without words: list what is watched for"),
    "unwatch": ("/unwatch NUMBER", "stop watching for it; /unwatch all for everything"),
    "memory": ("/memory", "what is remembered, and what it takes"),
    "status": ("/status", "how the source and the session do"),
    "save": ("/save", "make the memory safe on the disk now (it is saved at the end anyway)"),
    "wait": ("/wait [10s]", "let the stream run so long, or to its end; for questions from a file"),
    "help": ("/help", "this"),
    "quit": ("/quit", "end (so does Ctrl-D)"),
}

_CLOCK = re.compile(r"\d+:[\d:.]+")
_TIME = r"[\d:.hms]+"


@dataclass(frozen=True, slots=True)
class Command:
    """Hold a command's name and the words after it."""

    name: str
    words: str


@dataclass(frozen=True, slots=True)
class Span:
    """Say which stretch of the stream questions read.  last_us: the last so long, whenever that is; else the bounds."""

    since_us: int | None = None
    until_us: int | None = None
    last_us: int | None = None

    def bounds(self, now_us: int) -> tuple[int | None, int | None]:
        """Give since_us and until_us as they are now."""
        if self.last_us is not None:
            return now_us - self.last_us, None
        return self.since_us, self.until_us

    @property
    def text(self) -> str:
        """Say it to a person."""
        if self.last_us is not None:
            return f"the last {format_clock(self.last_us)}"
        if self.since_us is None and self.until_us is None:
            return "all that is remembered"
        since = "the beginning" if self.since_us is None else format_clock(self.since_us)
        until = "now" if self.until_us is None else format_clock(self.until_us)
        return f"{since} to {until}"


EVERYTHING = Span()


def parse_command(line: str) -> Command | None:
    """Read a line as a command; None for a question.  Raises SettingsError for a command that there is not."""
    if not line.startswith("/"):
        return None
    name, _, words = line[1:].partition(" ")
    name = name.lower()
    name = {"exit": "quit", "q": "quit", "?": "help", "h": "help"}.get(name, name)
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        meant = f"did you mean /{near[0]}? " if near else ""
        raise SettingsError(f"there is no /{name}: {meant}/help lists all commands")
    return Command(name, words.strip())


def parse_since(words: str) -> tuple[Span, str]:
    """Read "2m", "1:30" or "off", and a question behind it.  Raises SettingsError for anything else.

    A length is counted back from now, a clock time is a moment of the stream.
    """
    first, _, question = words.partition(" ")
    if first.lower() in ("off", "all"):
        return EVERYTHING, question.strip()
    time_us = _moment(first, "/since 2m, /since 1:30, or /since off")
    if _CLOCK.fullmatch(first):
        return Span(since_us=time_us), question.strip()
    if not time_us:
        raise SettingsError("the last 0 seconds hold nothing; give a length, such as /since 2m")
    return Span(last_us=time_us), question.strip()


def parse_range(words: str) -> tuple[Span, str]:
    """Read "1:00 2:30", "1:00-2:30" or "off", and a question behind it.  Raises SettingsError for anything else."""
    first, _, question = words.partition(" ")
    if first.lower() in ("off", "all"):
        return EVERYTHING, question.strip()
    match = re.match(rf"({_TIME})(?:\s*[-–]\s*|\s+(?:to\s+)?)({_TIME})(?:\s+|$)", words)
    example = "/range 1:00 2:30, or /range off"
    if match is None:
        raise SettingsError(f"{words!r:.60} is no stretch of the stream; write {example}")
    since_us, until_us = _moment(match[1], example), _moment(match[2], example)
    if until_us <= since_us:
        raise SettingsError(f"{match[2]} is not after {match[1]}; write the earlier time first: {example}")
    return Span(since_us, until_us), words[match.end() :].strip()


def help_lines() -> list[str]:
    """Say what may be typed."""
    width = max(len(usage) for usage, _ in COMMANDS.values())
    return [
        'Type a question and press Enter. Times such as "2 minutes ago" or "at 1:30" in it are understood.',
        "Ctrl-C stops an answer; at the prompt, twice, it ends, and so does Ctrl-D.",
        *(f"  {usage:<{width}}  {meaning}" for usage, meaning in COMMANDS.values()),
    ]


def _moment(word: str, example: str) -> int:
    try:
        return parse_moment(word)
    except ValueError as error:
        raise SettingsError(f"{word!r:.40} is no time; write {example}") from error
