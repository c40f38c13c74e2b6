import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from onlooker import InstallationError
from onlooker.memory.faiss_build import installed_builds, load_faiss

Install = Callable[[Sequence[str]], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make an import path on which exactly the given distributions, and a module `faiss`, are installed."""

    def place(names: Sequence[str], module: str = "threads = []\nomp_set_num_threads = threads.append\n") -> None:
        for name in names:
            info = tmp_path / f"{name.replace('-', '_')}-1.15.1.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.15.1\n", encoding="utf-8")
        (tmp_path / "faiss.py").write_text(module, encoding="utf-8")
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        monkeypatch.delitem(sys.modules, "faiss", raising=False)

    return place


@pytest.mark.parametrize("name", ["faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs"])
def test_one_build_is_imported_and_kept_to_one_thread(install: Install, name: str) -> None:
    install([name])
    assert installed_builds() == (name,)
    assert load_faiss().threads == [1]
    del sys.modules["faiss"]  # the made-up one


def test_none_says_what_to_install(install: Install) -> None:
    install([])
    with pytest.raises(InstallationError, match=r'pip install "onlooker\[cpu\]"'):
        load_faiss()


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        (["faiss-cpu", "faiss-gpu"], "pip uninstall -y faiss-cpu faiss-gpu && pip install faiss-gpu"),
        (["faiss-cpu", "faiss-gpu-cuvs"], "pip uninstall -y faiss-cpu faiss-gpu-cuvs && pip install faiss-cpu"),
    ],
)
def test_more_than_one_says_how_to_mend_it(install: Install, names: list[str], remedy: str) -> None:
    install(names)
    with pytest.raises(InstallationError) as caught:
        load_faiss()
    assert remedy in str(caught.value)


def test_a_broken_build_says_what_is_wrong_and_how_to_mend_it(
    install: Callable[[Sequence[str], str], None],
) -> None:
    install(["faiss-gpu"], "raise ImportError('libcudart.so.12: cannot open shared object file')")
    with pytest.raises(InstallationError, match=r"libcudart.*--force-reinstall --no-deps faiss-gpu"):
        load_faiss()


def test_the_installed_build_searches_on_one_thread() -> None:
    assert load_faiss().omp_get_max_threads() == 1
