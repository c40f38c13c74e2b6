import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / ".ci" / "typecheck.py"
FOLDERS = {"onlooker": "api", "onlooker.memory": "memory"}


@pytest.fixture
def typecheck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the script, set upon a small project of two folders."""
    spec = importlib.util.spec_from_file_location("typecheck", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("api/__init__.py", "api/frame.py", "memory/__init__.py", "memory/block.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def modules(root: Path) -> set[str]:
    tree = root / ".venv/types"
    found = [*tree.glob("*/*.py"), *tree.glob("*/*/*.py")]
    return {path.relative_to(tree).as_posix() for path in found if path.exists()}


def test_the_links_look_like_the_installed_package(typecheck: ModuleType, tmp_path: Path) -> None:
    typecheck.lay_links(FOLDERS)
    assert modules(tmp_path) == {
        "onlooker/__init__.py",
        "onlooker/frame.py",
        "onlooker/memory/__init__.py",
        "onlooker/memory/block.py",
    }


def test_the_links_follow_the_files(typecheck: ModuleType, tmp_path: Path) -> None:
    typecheck.lay_links(FOLDERS)
    (tmp_path / "api/frame.py").rename(tmp_path / "api/picture.py")
    (tmp_path / "memory/index.py").touch()
    typecheck.lay_links(FOLDERS)
    found = modules(tmp_path)
    assert {"onlooker/picture.py", "onlooker/memory/index.py"} <= found
    assert "onlooker/frame.py" not in found
    assert not (tmp_path / ".venv/types/onlooker/frame.py").is_symlink()


def test_a_report_names_the_projects_own_paths(typecheck: ModuleType) -> None:
    report = (
        ".venv/types/onlooker/memory/block.py:48: error: wrong [return-value]\n"
        ".venv/types/onlooker/frame.py:50: error: wrong [operator]\n"
        "Found 2 errors in 2 files\n"
    )
    assert typecheck.own_paths(report, FOLDERS) == (
        "memory/block.py:48: error: wrong [return-value]\n"
        "api/frame.py:50: error: wrong [operator]\n"
        "Found 2 errors in 2 files\n"
    )
