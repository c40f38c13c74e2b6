import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onlooker.cli import main
from onlooker.models import hub, inventory, loading
from onlooker.models.catalogue import CATALOGUE
from onlooker.models.hub import Download

COMMIT, OTHER = "a" * 40, "b" * 40
QWEN = "Qwen/Qwen3-VL-2B-Instruct"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of an empty local cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put(cache: Path, name: str, commit: str, ref: str | None, whole: bool = True) -> Path:
    repo = cache / f"models--{name.replace('/', '--')}"
    snapshot = repo / "snapshots" / commit
    for place in (repo / "blobs", repo / "refs", snapshot):
        place.mkdir(parents=True, exist_ok=True)
    (snapshot / "config.json").write_text('{"model_type": "qwen3_vl"}')
    if whole:
        (snapshot / "model.safetensors").write_bytes(bytes(2000))
    if ref is not None:
        (repo / "refs" / ref).write_text(commit)
    return snapshot


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def models(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main.run(["models", *words])
        assert isinstance(caught.value.code, int)
        return caught.value.code, *capsys.readouterr()

    return models


def test_the_list_has_bundled_known_and_cached_models(run: Callable[..., Any], cache: Path) -> None:
    put(cache, QWEN, COMMIT, "main")
    put(cache, QWEN, OTHER, None, whole=False)
    put(cache, "someone/finetune", COMMIT, "v2")
    put(cache, "someone/half", COMMIT, "main", whole=False)
    code, out, err = run("list")
    assert (code, err) == (0, "")
    table, _, rest = out.partition("\n\n")
    lines = table.splitlines()
    rows = {tuple(line.split()[:1]): line for line in lines[2:]}
    assert [line.split()[0] for line in lines[2:]] == [
        "pocket",
        *(name for known in CATALOGUE for name in ([known.name] * (2 if known.name == QWEN else 1))),
        "someone/finetune",
        "someone/half",
    ]
    assert rows["pocket",].split()[1:] == ["llava_onevision", "14.6", "MB", "apache-2.0", "bundled"]
    assert rows["Qwen/Qwen2.5-VL-3B-Instruct",].split()[1:4] == ["qwen2_5_vl", "7.5", "GB"]
    assert rows["Qwen/Qwen2.5-VL-3B-Instruct",].endswith("qwen-research  not fetched")
    assert rows["someone/finetune",].split()[1:] == ["@", "v2", "qwen3_vl", "2.0", "kB", "see", "its", "page", "here"]
    assert rows["someone/half",].split()[2:] == ["?", "see", "its", "page", "in", "part"]
    mine = [line.split()[1:] for line in lines if line.startswith(QWEN)]
    assert sorted(mine) == [
        ["@", OTHER[:10], "qwen3_vl", "4.3", "GB", "apache-2.0", "in", "part"],
        ["qwen3_vl", "2.0", "kB", "apache-2.0", "here"],
    ]
    assert rest == f"cache: {cache}\nfetch: onlooker models pull {CATALOGUE[0].name}\n"
    assert max(map(len, lines)) <= 100


def test_the_list_as_json(run: Callable[..., Any], cache: Path) -> None:
    folder = put(cache, QWEN, COMMIT, "main")
    entries = json.loads(run("list", "--json")[1])
    assert [entry["state"] for entry in entries].count("not fetched") == len(CATALOGUE) - 1
    [mine] = [entry for entry in entries if entry["name"] == QWEN]
    assert mine == {
        "name": QWEN,
        "family": "qwen3_vl",
        "weights_bytes": 2000,
        "licence": "apache-2.0",
        "state": "here",
        "revision": "main",
        "folder": str(folder),
    }
    assert Path(entries[0]["folder"], "config.json").is_file()


def test_when_all_is_fetched_nothing_is_proposed(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "CATALOGUE", ())
    assert "fetch:" not in run("list")[1]


def test_path_prints_the_folder_and_nothing_else(run: Callable[..., Any], cache: Path) -> None:
    first, second = put(cache, QWEN, COMMIT, "main"), put(cache, QWEN, OTHER, "v2")
    assert run("path", QWEN) == (0, f"{first}\n", "")
    assert run("path", QWEN, "--revision", "v2") == (0, f"{second}\n", "")
    assert run("path", "pocket")[1].endswith("/pocket\n")


def test_path_of_what_is_not_here_says_how_to_get_it(run: Callable[..., Any], cache: Path) -> None:
    code, out, err = run("path", QWEN)
    assert (code, out) == (4, "")
    assert err == (
        f"onlooker: {QWEN} is not in the local cache ({cache}); fetch it with: onlooker models pull {QWEN}\n"
    )
    put(cache, QWEN, COMMIT, "main", whole=False)
    assert "lacks its weights; fetch the rest with: onlooker models pull" in run("path", QWEN)[2]
    assert run("path", "no-such-model")[0] == 4


def test_pull_says_what_comes_and_where_it_is(
    run: Callable[..., Any], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(cache, QWEN, COMMIT, "v2", whole=False)

    def plan(name: str, folder: Path) -> Download:
        return Download(name, folder.name, "apache-2.0", 5 * 10**9, 4 * 10**9, 4 * 10**9, cache, 10**12)

    def fetch(name: str, *, revision: str, allow_patterns: list[str], tqdm_class: type) -> str:
        if "*.safetensors" in allow_patterns:
            assert revision == COMMIT
            (folder / "model.safetensors").touch()
        return str(folder)

    monkeypatch.setattr(loading, "plan", plan)
    monkeypatch.setattr(hub, "snapshot_download", fetch)
    said = f"onlooker: fetching {QWEN}: 4.0 GB of 5.0 GB, licence apache-2.0, into {cache} (1.0 TB free)\n"
    assert run("pull", QWEN, "--revision", "v2") == (0, f"{folder}\n", said)
    assert run("pull", QWEN, "--revision", "v2") == (0, f"{folder}\n", "")  # it is here now


# As the hub's client does: a thread writes, and leaving waits for it.
ENDLESS = """
import sys, threading, time
from pathlib import Path
from onlooker.models import hub, loading
from onlooker.models.hub import Download
blobs = Path(sys.argv[1]) / "models--owner--model" / "blobs"
settings = Path(sys.argv[2])
def fetch(name, allow_patterns, **rest):
    if "*.safetensors" in allow_patterns:
        blobs.mkdir(parents=True)
        (blobs / "whole").touch()
        (blobs / "half.1234.incomplete").touch()
        writer = threading.Thread(target=time.sleep, args=(600,))
        writer.start()
        print("ready", flush=True)
        writer.join()
    return str(settings)
hub.snapshot_download = fetch
loading.plan = lambda name, folder: Download(name, "a", "mit", 9, 9, 9, blobs, 10**12)
from onlooker.cli.main import run
run(["models", "pull", "owner/model"])
"""


def test_an_interrupted_pull_leaves_at_once_and_nothing_half_written(cache: Path, tmp_path: Path) -> None:
    settings = put(tmp_path, "owner/model", COMMIT, None, whole=False)
    command = [sys.executable, "-c", ENDLESS, str(cache), str(settings)]
    environment = {**os.environ, "HF_HUB_CACHE": str(cache)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, "")
    assert err.endswith("onlooker: interrupted; files that are complete are kept: run the same command again\n")
    assert [path.name for path in (cache / "models--owner--model" / "blobs").iterdir()] == ["whole"]


def test_pull_refuses_what_could_not_be_run(
    run: Callable[..., Any], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(cache, QWEN, COMMIT, "main", whole=False)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(folder))
    code, _, err = run("pull", QWEN)
    assert code == 4
    assert "is a bert model; supported are" in err


def test_the_bundled_model_need_not_be_pulled(run: Callable[..., Any]) -> None:
    code, out, err = run("pull", "pocket")
    assert (code, err) == (0, "")
    assert Path(out.strip(), "config.json").is_file()


def test_listing_and_finding_import_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom onlooker.cli.main import run\n"
        "for words in (['models', 'list'], ['models', 'path', 'pocket']):\n"
        "    try:\n        run(words)\n    except SystemExit:\n        pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120, env=environment
    )
    names = {name.partition(".")[0] for name in done.stderr.split()}
    assert "huggingface_hub" in names
    assert not names & {"torch", "numpy", "transformers", "cv2", "decord", "faiss"}
