"""Make .venv and install Onlooker into it, editable, with the exact versions of constraints.txt.

Run by make: `python3 .ci/environment.py EXTRAS [--torch-index URL]`.  Needs nothing but Python's standard library.
A second run that finds everything installed takes seconds.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOG = VENV / "install.log"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PATIENCE_S = 5.0


def main() -> int:
    """Read the command line, make the environment, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("extras", help="extras to install, such as cpu or cpu,bench,dev")
    parser.add_argument("--torch-index", default="", help="package index to take torch from")
    arguments = parser.parse_args()
    try:
        make_venv()
        install_torch(arguments.torch_index)
        pip_install(f"onlooker[{arguments.extras}]", ["-e", f".[{arguments.extras}]"])
    except subprocess.CalledProcessError as error:
        say(f"failed: {' '.join(map(str, error.cmd))}")
        return 1
    return 0


def say(line: str) -> None:
    """Print one line of progress."""
    print(f"onlooker: {line}", flush=True)


def python() -> Path:
    """Name the environment's interpreter."""
    return VENV / "bin" / "python"


def make_venv() -> None:
    """Make .venv unless a working one is there."""
    probe = [str(python()), "-m", "pip", "--version"]
    if python().exists() and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        return
    if VENV.exists():
        shutil.rmtree(VENV)  # half made, or its Python is gone
    say(f"making .venv with Python {'.'.join(map(str, sys.version_info[:3]))}")
    command = [sys.executable, "-m", "venv", str(VENV)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        shutil.rmtree(VENV, ignore_errors=True)
        print((made.stdout + made.stderr).strip(), file=sys.stderr)
        say("Python cannot make a virtual environment; on Debian and Ubuntu: sudo apt install python3-venv")
        raise subprocess.CalledProcessError(made.returncode, command)


def install_torch(index: str) -> None:
    """Install torch by itself, so that on Linux it comes without the gigabytes of CUDA where that can be had.

    The plain index serves the CUDA build to Linux, the CPU build to macOS.  Linux asks torch's own CPU index first;
    where that cannot be reached, pip takes what its own configuration offers.
    """
    version = pinned("torch")
    if any(VENV.glob(f"lib/python*/site-packages/torch-{version}[.+-]*")):
        return
    if not index and sys.platform == "linux":
        index = CPU_INDEX if reachable(f"{CPU_INDEX}/torch/") else ""
        if not index:
            say(f"{CPU_INDEX} does not answer: torch comes from pip's own index, which may give the CUDA build")
    where = f" from {index}" if index else ""
    extra = ["--extra-index-url", index] if index else []
    pip_install(f"torch {version}{where}", ["--no-deps", f"torch=={version}", *extra])


def pinned(name: str) -> str:
    """Read a package's version from constraints.txt."""
    found = re.search(rf"^{re.escape(name)}==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    if found is None:
        raise SystemExit(f"constraints.txt names no version of {name}")
    return found[1]


def reachable(url: str) -> bool:
    """Try a URL for a few seconds, name look-up included."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE_S) as reply:
                answers.append(reply.status == 200)
        except (URLError, OSError, ValueError):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    return bool(answers and answers[0])


def pip_install(what: str, arguments: list[str]) -> None:
    """Run pip install under the constraints; its chatter goes to a log, one changing line to a terminal."""
    # Also for the build of our own package: setuptools comes in the tested version.
    environment = os.environ | {"PIP_CONSTRAINT": "constraints.txt", "PIP_BUILD_CONSTRAINT": "constraints.txt"}
    command = [str(python()), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    say(f"installing {what} (log: {LOG.relative_to(ROOT)})")
    started = time.monotonic()
    lines: list[str] = []
    live = sys.stdout.isatty()
    with (
        LOG.open("a", encoding="utf-8") as log,
        subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        for line in process.stdout or ():
            log.write(line)
            lines.append(line.rstrip())
            if live and re.match(r"\s*(Collecting|Downloading|Using cached|Building|Installing)\b", line):
                print(f"\r\x1b[K  {line.strip()[:76]}", end="", flush=True)
    if live:
        print("\r\x1b[K", end="", flush=True)
    if process.returncode != 0:
        print("\n".join(line for line in lines if not line.startswith("WARNING: Location"))[-4000:], file=sys.stderr)
        raise subprocess.CalledProcessError(process.returncode, [*command, *arguments])
    say(f"installed {what} in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
