import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onlooker.cli import main
from onlooker.models import hub, inventory, loading
from onlooker.models.catalogue import CATALOGUE
from onlooker.models.hub import Access, Download

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
    code, out, err = run("list")
    assert (code, err) == (0, "")
    table, _, rest = out.partition("\n\n")
    lines = table.splitlines()
    rows = {tuple(line.split()[:1]): line for line in lines[2:]}
    assert [line.split()[0] for line in lines[2:]] == [
        "pocket",
        *(name for known in CATALOGUE for name in ([known.name] * (2 if known.name == QWEN else 1))),
        "someone/finetune",
    ]
    assert rows["pocket",].split()[1:] == ["llava_onevision", "14.6", "MB", "apache-2.0", "bundled"]
    assert rows["Qwen/Qwen2.5-VL-3B-Instruct",].split()[1:4] == ["qwen2_5_vl", "7.5", "GB"]
    assert rows["Qwen/Qwen2.5-VL-3B-Instruct",].endswith("qwen-research  not fetched")
    assert rows["someone/finetune",].split()[1:] == ["@", "v2", "qwen3_vl", "2.0", "kB", "see", "its", "page", "here"]
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
    assert "fetch the rest with: onlooker models pull" in run("path", QWEN)[2]
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


def test_an_interrupted_pull_says_how_to_go_on(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(name: str, access: Access) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "fetch", stop)
    code, out, err = run("pull", QWEN)
    assert (code, out) == (130, "")
    assert "files that are complete are kept: run the same command again" in err


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
