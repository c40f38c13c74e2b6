import io
import os
from types import SimpleNamespace
from typing import Any

import pytest

from onlooker.cli import progress
from onlooker.cli.progress import Progress, describe
from onlooker.stream.watching import WatchReport

S = 1_000_000
REPORT = WatchReport(frames=180, keyframes=40, now_us=90 * S, tokens=12_345, memory_bytes=3 << 20, seconds=2.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watching(report: WatchReport = REPORT) -> Any:
    return SimpleNamespace(report=report)


def test_the_line_has_time_rate_tokens_and_bytes() -> None:
    assert describe(REPORT, 600 * S) == "1:30 of 10:00 | 90 frames/s | 12,345 tokens kept | 3.0 MiB of memory"
    assert describe(REPORT, None).startswith("1:30 | ")
    assert describe(REPORT, 80 * S).startswith("1:30 | ")  # a duration that was wrong is not shown


def test_without_a_terminal_plain_lines_come_now_and_then() -> None:
    out, clock = io.StringIO(), Clock()
    line = Progress(out, clock=clock)
    for _ in range(100):
        line.update(watching())
        clock.now += progress.PLAIN_EVERY_S / 10
    line.clear()
    assert len(out.getvalue().splitlines()) == 9
    assert set(out.getvalue().splitlines()) == {f"onlooker: {describe(REPORT, None)}"}


def test_on_a_terminal_the_line_is_rewritten_and_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((200, 24)))
    out, clock = Terminal(), Clock()
    line = Progress(out, clock=clock)
    for tokens in (1_000_000, 5):
        clock.now += 1.0
        line.update(watching(WatchReport(1, 1, 0, tokens, 0, 1.0)))
    first, second = out.getvalue().split("\r")[1:]
    assert len(second) == len(first)  # the rest of the longer line is blanked out
    assert "\n" not in out.getvalue()
    shown = len(second.rstrip())
    line.clear()
    line.clear()
    assert out.getvalue().endswith("\r" + " " * shown + "\r")
    assert out.getvalue().count("\r") == 4


def test_a_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((40, 24)))
    out, clock = Terminal(), Clock()
    line = Progress(out, clock=clock)
    clock.now += 1.0
    line.update(watching())
    assert len(out.getvalue().strip("\r")) == 39


def test_the_last_word_counts_what_was_watched() -> None:
    out = io.StringIO()
    Progress(out, clock=Clock()).close(REPORT)
    assert out.getvalue() == (
        "onlooker: watched 1:30 | 90 frames/s | 12,345 tokens kept | 3.0 MiB of memory (180 frames in 2.0 s)\n"
    )
