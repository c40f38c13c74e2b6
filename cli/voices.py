"""How a conversation speaks: to a person at a terminal, plainly to a pipe, or in JSON lines."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol, TextIO

from .answers import AnswerWriter, JsonAnswers, PlainAnswers, remarks
from .prompt_line import DIM, PromptLine, printable

if TYPE_CHECKING:
    from ..answer import Answer
    from ..stream.engine.events import WatchCleared, WatchFired

BELL = "\a"


class Voice(Protocol):
    """Say what a conversation has to say."""

    @property
    def answers(self) -> AnswerWriter:
        """Where answers go."""
        ...

    def reply(self, name: str, lines: Sequence[str], facts: Mapping[str, object]) -> None:
        """Say what a command gave.  name: of the command.  facts: the same for programs."""
        ...

    def note(self, text: str) -> None:
        """Say what happened besides: a source that is lost, an error."""
        ...

    def alert(self, number: str, event: "WatchFired | WatchCleared") -> None:
        """Say that a condition became true, or is true no more."""
        ...

    def answering(self) -> AbstractContextManager[None]:
        """Wrap the time in which an answer is written."""
        ...


class TerminalVoice:
    """Speak to a person, above the line that is typed."""

    def __init__(self, line: PromptLine) -> None:
        self._line = line
        self.answers: AnswerWriter = _TerminalAnswers(line)

    def reply(self, name: str, lines: Sequence[str], facts: Mapping[str, object]) -> None:
        """Write the lines."""
        self._line.above("\n".join(lines))

    def note(self, text: str) -> None:
        """Write it dimly."""
        self._line.above(text, DIM)

    def alert(self, number: str, event: "WatchFired | WatchCleared") -> None:
        """Write it so that it stands out, with the bell where it became true."""
        fired = _fired(event)
        self._line.above(alert_text(number, event), "\033[1;33m" if fired else DIM)
        if fired:
            self._line.write(BELL)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Show no keys that are typed into the answer."""
        with self._line.hushed():
            yield


class _TerminalAnswers:
    """Write an answer as it comes, its remarks indented and dim below it."""

    WAITING = "…"

    def __init__(self, line: PromptLine) -> None:
        self._line, self._begun = line, False

    def begin(self, question: str, asked_at_us: int) -> None:
        """Show that something is under way."""
        self._begun = False
        if self._line.smart:
            self._line.write(self._line.styled(self.WAITING, DIM))

    def piece(self, text: str) -> None:
        """Write a piece, the first in the place of the sign of waiting."""
        text = printable(text if self._begun else text.lstrip())
        if text:
            self._clear()
            self._line.write(text)

    def end(self, answer: "Answer", thumbnails: Sequence[str | None]) -> None:
        """End the line, and say when it was seen."""
        silent = not self._begun
        self._clear()
        if silent:
            self._line.write("(no words)" if answer.status != "cancelled" else "(cancelled)")
        self._line.write("\n")
        pictures = [f"picture: {path}" for path in thumbnails if path]
        said = [] if silent and answer.status == "cancelled" else remarks(answer)
        for remark in [*said, *pictures]:
            self._line.above(f"  {remark}", DIM)

    def _clear(self) -> None:
        if not self._begun:
            self._line.clear()
        self._begun = True


class PlainVoice:
    """Speak to a pipe: answers and alerts on one stream, notes by a function (usually to stderr)."""

    def __init__(self, out: TextIO, note: Callable[[str], None]) -> None:
        self._out, self.note = out, note
        self.answers: AnswerWriter = PlainAnswers(out, headings=True, moments=True)

    def reply(self, name: str, lines: Sequence[str], facts: Mapping[str, object]) -> None:
        """Write the lines."""
        self._write("".join(f"{line}\n" for line in lines))

    def alert(self, number: str, event: "WatchFired | WatchCleared") -> None:
        """Write a line."""
        self._write(f"{printable(alert_text(number, event))}\n")

    def answering(self) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


class JsonVoice:
    """Write one JSON object a line: answers as `onlooker ask --json` writes them, others with their name in "event"."""

    def __init__(self, out: TextIO, note: Callable[[str], None]) -> None:
        self._out, self.note = out, note
        self.answers: AnswerWriter = JsonAnswers(out)

    def reply(self, name: str, lines: Sequence[str], facts: Mapping[str, object]) -> None:
        """Write what a command gave."""
        self._write({"event": name, **facts})

    def alert(self, number: str, event: "WatchFired | WatchCleared") -> None:
        """Write an alert; times in seconds of stream time."""
        fired = _fired(event)
        told: dict[str, object] = {
            "event": "watch_fired" if fired else "watch_cleared",
            "watch": number,
            "condition": event.condition,
            "time_s": event.time_us / 1e6,
        }
        if fired:
            told |= {"text": getattr(event, "text", ""), "latency_ms": round(getattr(event, "latency_ms", 0.0), 3)}
        self._write(told)

    def answering(self) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def _write(self, facts: Mapping[str, object]) -> None:
        self._out.write(json.dumps(facts, ensure_ascii=False, allow_nan=False) + "\n")
        self._out.flush()


def alert_text(number: str, event: "WatchFired | WatchCleared") -> str:
    """Write an alert in a line."""
    from ..memory.time_phrases import format_clock

    when = format_clock(event.time_us)
    return (
        f"! {when}  {event.condition}  [{number}]"
        if _fired(event)
        else f"  {when}  no more: {event.condition}  [{number}]"
    )


def _fired(event: "WatchFired | WatchCleared") -> bool:
    from ..stream.engine.events import WatchFired

    return isinstance(event, WatchFired)
