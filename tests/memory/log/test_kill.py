"""A writer is killed 300 times while its log grows: what it acknowledged is there."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_killed_writers_lose_nothing_acknowledged(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", Path(__file__).with_name("killing.py"), tmp_path / "log"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("300 kills, ")
