"""Check types with mypy, on a tree of links that looks like the installed package.

The folders of this project become `onlooker` and its sub-packages only on installation, and mypy cannot follow the
import hook of an editable install.  So the mapping in pyproject.toml is laid out as links in .venv/types, mypy checks
that, and the paths in its report are turned back into the project's own.  Arguments are handed on to mypy.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = Path(".venv/types")


def package_folders() -> dict[str, str]:
    """Read which folder is which package: {"onlooker": "api", "onlooker.stream": "stream", ...}."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        folders: dict[str, str] = tomllib.load(file)["tool"]["setuptools"]["package-dir"]
    return folders


def lay_links(folders: dict[str, str]) -> None:
    """Make the tree hold exactly one link per module of the root package and one per sub-package."""
    wanted: dict[Path, Path] = {}
    for package, folder in folders.items():
        place = ROOT / TREE / package.replace(".", "/")
        if package.count(".") == 1:
            wanted[place] = ROOT / folder
        elif package.count(".") == 0:
            wanted |= {place / module.name: module for module in (ROOT / folder).glob("*.py*") if module.is_file()}
    for link in (ROOT / TREE).rglob("*"):
        if link.is_symlink() and (link not in wanted or link.readlink() != wanted[link]):
            link.unlink()
    for link, target in wanted.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(target)


def own_paths(report: str, folders: dict[str, str]) -> str:
    """Turn .venv/types/onlooker/memory/block.py back into memory/block.py, .../onlooker/frame.py into api/frame.py."""
    by_name = {package.replace(".", "/"): folder for package, folder in folders.items()}
    for name in sorted(by_name, key=len, reverse=True):
        report = re.sub(rf"^{re.escape(f'{TREE}/{name}/')}", f"{by_name[name]}/", report, flags=re.M)
    return report


def main() -> int:
    """Lay the links, run mypy, print its report; return its exit code."""
    folders = package_folders()
    lay_links(folders)
    command = [sys.executable, "-m", "mypy", *sys.argv[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(own_paths(done.stdout, folders), end="")
    print(own_paths(done.stderr, folders), end="", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
