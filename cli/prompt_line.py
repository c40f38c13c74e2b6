"""The line at which a person types on a terminal, while others write above it.

Python's readline edits the line, but it does not know that somebody else writes, and does not tell where its cursor is.
So what is written moves nothing: a row is made free below the line, another is inserted above it and filled, and the
cursor goes back to the column it was in.
"""

import importlib
import os
import shutil
import sys
import termios
import textwrap
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TextIO

DIM, BOLD, PLAIN = "\033[2m", "\033[1m", "\033[0m"

# Down a row in the same column, scrolling at the last one; up again; keep the place; insert a row here, the line's goes
# down; to its first column.
_OPEN_ROW = "\033D\033[A\0337\033[L\r"
_BACK_TO_LINE = "\0338\033[B"
_KEEP_PLACE, _TO_PLACE = "\0337", "\0338"


class PromptLine:
    """Read lines from a terminal, with history and completion; write rows above the one that is being typed.

    read() is for the main thread; above() and tick() are for any, one at a time.  out: the terminal.  width: its
    columns.  smart: whether what stands on it can be written over.  completions: what the tab key completes at the
    line's beginning.
    """

    def __init__(
        self,
        out: TextIO,
        completions: Sequence[str] = (),
        width: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
    ) -> None:
        self._out, self._width = out, width
        self.smart = os.environ.get("TERM", "dumb") != "dumb"
        self._styled = self.smart and not os.environ.get("NO_COLOR")
        self.abandoned = ""  # what was typed when Ctrl-C came
        self._prompt: str | None = None  # what stands before the line while one is typed
        self._readline = _readline()
        if self._readline is not None:
            _configure(self._readline, completions)

    def read(self, prompt: str) -> str:
        """Give the next line.  Raises EOFError at the end of input, KeyboardInterrupt on Ctrl-C."""
        self._prompt, self.abandoned = prompt, ""
        try:
            return input(prompt)
        except KeyboardInterrupt:
            self.abandoned = self._typed()
            raise
        finally:
            self._prompt = None

    def above(self, text: str, style: str = "") -> None:
        """Write rows of text, above the line that is being typed where one is."""
        rows = [row for line in text.splitlines() for row in folded(printable(line), max(20, self._width() - 1))]
        if self._prompt is None or not self.smart:
            self._write("".join(f"{self.styled(row, style)}\n" for row in rows))
        else:
            self._write("".join(f"{_OPEN_ROW}{self.styled(row, style)}{_BACK_TO_LINE}" for row in rows))

    def tick(self, prompt: str) -> None:
        """Put another prompt of the same width before the line that is being typed."""
        before = self._prompt
        if before is None or not self.smart or prompt == before or len(prompt) != len(before):
            return
        if (
            cells(prompt + self._typed()) < self._width() - 2
        ):  # else the line is scrolled, and the prompt may be out of sight
            self._prompt = prompt
            self._write(f"{_KEEP_PLACE}\r{prompt}{_TO_PLACE}")

    def write(self, text: str) -> None:
        """Write at the cursor, while no line is typed."""
        self._write(text)

    def clear(self) -> None:
        """Take what stands on the cursor's row away."""
        if self.smart:
            self._write("\r\033[K")

    def styled(self, text: str, style: str) -> str:
        """Give text in a style, where the terminal shows any."""
        return f"{style}{text}{PLAIN}" if style and self._styled else text

    @contextmanager
    def hushed(self) -> Iterator[None]:
        """Show no typed keys meanwhile; they stand on the next line that is read."""
        try:
            before = termios.tcgetattr(sys.stdin.fileno())
        except (termios.error, OSError, ValueError):  # no terminal
            yield
            return
        quiet = [*before]
        quiet[3] &= ~termios.ECHO
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, quiet)
        try:
            yield
        finally:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)

    def _typed(self) -> str:
        return "" if self._readline is None else str(self._readline.get_line_buffer())

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def printable(text: str) -> str:
    """Give one line of text without what would steer a terminal: a model, or a camera's name, may hold anything."""
    return "".join(char if char.isprintable() else " " for char in text)


def cells(text: str) -> int:
    """Count the columns that a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def folded(text: str, width: int) -> list[str]:
    """Break a line into rows of at most so many columns, later ones indented like the first; an empty line is one."""
    if cells(text) <= width:
        return [text]
    indent = " " * (len(text) - len(text.lstrip(" ")))
    characters = max(len(indent) + 8, width * len(text) // cells(text))  # of wide ones fewer fit into a row
    return textwrap.wrap(text, characters, subsequent_indent=indent, drop_whitespace=True) or [""]


def _readline() -> ModuleType | None:
    try:
        return importlib.import_module("readline")
    except ImportError:  # a Python built without it: lines are typed without editing
        return None


def _configure(readline: ModuleType, completions: Sequence[str]) -> None:
    """Set history and completion up.  A long line scrolls sideways: one of two rows could not be written above."""

    def complete(word: str, number: int) -> str | None:
        found = [one for one in completions if one.startswith(word) and readline.get_begidx() == 0]
        return found[number] if number < len(found) else None

    readline.set_auto_history(True)
    readline.set_completer(complete)
    readline.set_completer_delims(" ")
    if "libedit" in (readline.__doc__ or ""):
        readline.parse_and_bind("bind ^I rl_complete")
    else:
        readline.parse_and_bind("tab: complete")
        readline.parse_and_bind("set horizontal-scroll-mode on")
        readline.parse_and_bind("set enable-bracketed-paste on")
