import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import onlooker

ROOT = Path(__file__).resolve().parent.parent


def imported_by(statement: str) -> set[str]:
    """Run a statement in a fresh Python and give the top-level modules that it imported."""
    script = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


def test_importing_onlooker_imports_nothing_heavy() -> None:
    names = imported_by("import onlooker; onlooker.OnlookerError; onlooker.__version__")
    assert "onlooker" in names
    assert not names & {"torch", "numpy", "transformers", "cv2", "decord", "faiss", "typer", "PIL"}


def test_a_public_name_is_fetched_at_its_first_use() -> None:
    names = imported_by("import onlooker; onlooker.Frame")
    assert "numpy" in names
    assert "torch" not in names


@pytest.mark.parametrize("name", onlooker.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(onlooker, name) is not None
    assert name in dir(onlooker)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sesion'"):
        _ = onlooker.Sesion


def test_version_is_that_of_the_installed_package() -> None:
    assert onlooker.__version__ == version("onlooker")


def test_every_error_has_one_root() -> None:
    errors = [name for name in onlooker.__all__ if name.endswith("Error")]
    assert len(errors) == 10
    assert all(issubclass(getattr(onlooker, name), onlooker.OnlookerError) for name in errors)


def test_every_folder_with_an_init_is_installed_as_a_sub_package() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        setup = tomllib.load(file)["tool"]["setuptools"]
    found = [*ROOT.glob("*/__init__.py"), *ROOT.glob("*/*/__init__.py")]
    folders = {str(init.parent.relative_to(ROOT)) for init in found} - {"tests", "training", "examples"}
    assert set(setup["package-dir"].values()) == folders
    assert setup["packages"] == sorted(setup["package-dir"])


def test_constraints_pin_every_dependency_exactly() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["cpu"], *extras["bench"], *extras["dev"]]
    assert {re.split(r"[<>=]", requirement)[0] for requirement in wanted} <= set(pins)
    assert not any("+" in pin for pin in pins.values())  # a local version is on no index
