import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from onlooker import InstallationError
from onlooker.memory.faiss_build import installed_builds, load_faiss, one_thread
from onlooker.memory.token_index import TokenIndex

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
def test_one_build_is_imported(install: Install, name: str) -> None:
    install([name])
    assert installed_builds() == (name,)
    assert load_faiss().threads == []
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


def test_searches_take_one_thread_and_give_the_callers_back() -> None:
    """Also where FAISS and torch share one OpenMP: then torch would be left with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        faiss, inside = load_faiss(), []
        assert torch.get_num_threads() == 2
        index = TokenIndex(4, shard_rows=64)
        rng = np.random.default_rng(0)
        index.add(0, rng.normal(size=(9, 4)).astype(np.float32), (0, 1))
        index.search(rng.normal(size=(2, 4)).astype(np.float32), 3)
        assert torch.get_num_threads() == 2
        with one_thread(faiss):
            inside.append(faiss.omp_get_max_threads())
        with pytest.raises(ZeroDivisionError), one_thread(faiss):
            inside.append(1 / 0)
        assert inside == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
