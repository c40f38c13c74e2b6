import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from onlooker.cli import checks, doctor, main, smoke
from onlooker.cli.checks import Check
from onlooker.errors import ModelError, SourceError
from onlooker.models.cache import CachedModel
from onlooker.models.machine import Room


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def command(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main.run(["doctor", *words])
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    return command


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    """Give the list of checks that the command is shown, in place of real ones."""
    listed = [Check("packages", "torch 2.9"), Check("ram", "1.0 GB free of 2.0 GB")]
    monkeypatch.setattr(doctor, "all_checks", lambda: listed)
    return listed


def test_a_sound_machine_is_told_so(run: Callable[..., Any], found: list[Check]) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == ["packages  torch 2.9", "ram       1.0 GB free of 2.0 GB"]
    assert lines[-1] == "All is well."
    assert max(map(len, lines)) <= 110
    assert any(line.startswith("Qwen/Qwen3-VL-8B-Instruct ") for line in lines)


def test_what_is_wrong_comes_with_what_mends_it(run: Callable[..., Any], found: list[Check]) -> None:
    found.append(Check("faiss", "two builds are installed", "pip uninstall -y faiss-gpu"))
    code, out, _ = run()
    assert code == 1
    assert "faiss     WRONG: two builds are installed\n" in out
    assert out.endswith(
        "1 thing is wrong:\n  faiss: two builds are installed\n    mend it with: pip uninstall -y faiss-gpu\n"
    )


def test_json_says_the_same(run: Callable[..., Any], found: list[Check]) -> None:
    found.append(Check("faiss", "missing", "pip install faiss-cpu"))
    code, out, _ = run("--json")
    told = json.loads(out)
    assert code == 1
    assert told["ok"] is False
    assert told["checks"][0] == {"name": "packages", "found": "torch 2.9", "remedy": None, "ok": True}
    assert [check["ok"] for check in told["checks"]] == [True, True, False]
    assert len(told["models"]) == 7
    assert told["device"]["room"]["total_bytes"] > 0


def test_long_findings_are_wrapped_below_themselves() -> None:
    lines = doctor.report([Check("packages", ", ".join(["a package 1.2.3"] * 20)), Check("ram", "1.0 GB")])
    assert len(lines) > 2
    assert all(len(line) <= doctor.WIDTH for line in lines)
    assert all(line.startswith((" " * 10 + "a", " " * 10 + "p")) for line in lines[1:-1])


def test_a_broken_package_ends_the_examination(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PACKAGES", (("json", "pytest"), ("no_such_module", "no-such-distribution")))
    code, out, _ = run()
    assert code == 1
    assert "no-such-distribution is missing" in out
    assert "mend it with: pip install --force-reinstall no-such-distribution" in out
    assert "pocket" not in out
    assert json.loads(run("--json")[1])["models"] == []


def test_a_package_that_cannot_be_imported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torn_module.py").write_text("raise OSError('libGL.so.1:\\nno such file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(checks, "PACKAGES", (("torn_module", "pytest"),))
    check = checks.check_packages()
    assert "cannot be imported (OSError: libGL.so.1: no such file)" in check.found
    assert check.remedy == "pip install --force-reinstall pytest"


def test_the_installed_packages_are_found() -> None:
    check = checks.check_packages()
    assert check.remedy is None
    assert f"torch {torch.__version__}" in check.found


@pytest.mark.parametrize(
    ("builds", "found", "remedy"),
    [
        ((), "no FAISS is installed", 'pip install "onlooker[cpu]"'),
        (
            ("faiss-cpu", "faiss-gpu"),
            "2 builds of FAISS",
            "pip uninstall -y faiss-cpu faiss-gpu && pip install faiss-gpu",
        ),
        (("faiss-cpu",), "CPU build (faiss-cpu)", None),
        (("faiss-gpu",), "GPU build (faiss-gpu)", None),
    ],
)
def test_exactly_one_faiss(
    builds: tuple[str, ...], found: str, remedy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onlooker.memory.faiss_build.installed_builds", lambda: builds)
    monkeypatch.setattr(checks, "installed_builds", lambda: builds)
    check = checks.check_faiss()
    assert found in check.found
    assert check.remedy == remedy


def gpus(monkeypatch: pytest.MonkeyPatch, *, cuda: str | None, driver: str | None, cards: int = 0) -> None:
    card = SimpleNamespace(name="NVIDIA H100", major=9, minor=0)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (79 * 10**9, 80 * 10**9))
    monkeypatch.setattr(checks, "driver_version", lambda: driver)


def test_gpus_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, cuda="12.8", driver="570.1", cards=2)
    one = "NVIDIA H100 (79.0 GB free of 80.0 GB, compute capability 9.0)"
    assert checks.check_gpu() == Check("gpu", f"{one}; {one}; torch for CUDA 12.8, driver 570.1")


@pytest.mark.parametrize(
    ("cuda", "driver", "found", "remedy"),
    [
        (None, None, "none (torch for the CPU)", None),
        ("12.8", None, "none (torch for CUDA 12.8)", None),
        (None, "570.1", "built for the CPU only", "pip install --force-reinstall torch"),
        ("12.8", "450.1", "driver 450.1 gives it no GPU", "nvidia-smi"),
    ],
)
def test_torch_and_driver_must_go_together(
    cuda: str | None, driver: str | None, found: str, remedy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(monkeypatch, cuda=cuda, driver=driver)
    check = checks.check_gpu()
    assert found in check.found
    assert (check.remedy is None) == (remedy is None)
    assert (check.remedy or "").startswith(remedy or "")


def test_the_driver_s_version_is_read(tmp_path: Path) -> None:
    place = tmp_path / "version"
    assert checks.driver_version(place) is None
    place.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Fri Jan 1\nGCC version: 12.3\n")
    assert checks.driver_version(place) == "570.86.15"
    place.write_text("NVRM version: unknown\n")
    assert checks.driver_version(place) == "of unknown version"


def test_the_processor_is_named(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: AMD EPYC 9654\nmodel name\t: other\n")
    assert checks.processor_name(tmp_path / "cpuinfo") == "AMD EPYC 9654"
    assert checks.processor_name(tmp_path / "none") != ""
    assert f"torch on {torch.get_num_threads()}" in checks.check_processor().found


def test_little_memory_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "host_room", lambda: Room(10**8, 2 * 10**9))
    assert checks.check_memory() == Check(
        "ram", "100.0 MB free of 2.0 GB", "close other programs, or watch with --memory-mib 256"
    )
    monkeypatch.setattr(checks, "host_room", lambda: Room(0, 0))  # not known
    assert checks.check_memory().remedy is None


def test_a_cache_that_is_not_whole_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    empty = checks.check_cache()
    assert empty.found.startswith(f"{tmp_path / 'hub'}: no model that Onlooker runs; ")
    assert empty.remedy is None
    listed = [CachedModel(name, "qwen3_vl", "a", ("main",), tmp_path, 1, whole) for name, whole in (("b/x", True),)]
    monkeypatch.setattr(checks, "cached_models", lambda: listed)
    assert ": b/x; " in checks.check_cache().found
    listed.append(CachedModel("a/y", "qwen3_vl", "a", ("main",), tmp_path, 1, False))
    assert "a/y is not whole" in checks.check_cache().found
    assert checks.check_cache().remedy == "onlooker models pull a/y"


def test_both_decoders_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert smoke.check_decoders().found.startswith("decord and OpenCV both read a test clip (8 frames")

    with monkeypatch.context() as patch:
        patch.setattr(smoke, "CLIP_FRAMES", 9)  # of which a clip of 8 lacks one
        broken = smoke.check_decoders()
    assert broken.found == "decord gave 8 and OpenCV 8 of a test clip's 9 frames"
    assert broken.remedy == smoke.DECODERS

    def fail(path: Path) -> None:
        raise SourceError("OpenCV cannot write")

    monkeypatch.setattr(smoke, "write_clip", fail)
    assert smoke.check_decoders() == Check("decoders", "OpenCV cannot write", smoke.DECODERS)


def test_pocket_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    check = smoke.check_pocket()
    assert check.remedy is None
    assert "'the robot'" in check.found

    def missing(name: str) -> Any:
        raise ModelError(f"the bundled model is missing: {name}")

    monkeypatch.setattr("onlooker.model.load", missing)
    assert smoke.check_pocket().remedy == "pip install --force-reinstall --no-deps onlooker"


def test_the_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom onlooker.cli.main import run\n"
        "try:\n    run(['doctor', '--help'])\nexcept SystemExit:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    names = {name.partition(".")[0] for name in done.stderr.split()}
    assert not names & {"torch", "numpy", "transformers", "huggingface_hub", "cv2", "decord", "faiss"}


# A network that answers nothing, where even the attempt would be seen.
BLOCKED = """
import socket, sys
def refuse(*words, **more):
    print("the network was asked", file=sys.stderr)
    raise OSError("the network is cut off")
socket.getaddrinfo = socket.create_connection = refuse
socket.socket.connect = socket.socket.connect_ex = refuse
from onlooker.cli.main import run
run(["doctor", "--json"])
"""


def test_the_whole_of_it_asks_nothing_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, timeout=300, check=False)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert [check["name"] for check in told["checks"]] == [
        "onlooker",
        "packages",
        "faiss",
        "cpu",
        "ram",
        "gpu",
        "decoders",
        "cache",
        "pocket",
    ]
    wrong = {check["name"] for check in told["checks"] if not check["ok"]}
    assert wrong <= {"gpu", "ram"}  # which are the machine's own
    assert done.returncode == (1 if wrong else 0)
