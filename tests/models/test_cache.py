import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from onlooker.errors import ModelError
from onlooker.models import cache
from onlooker.models.cache import cached_models, find, free_bytes, lacking, locate

FIRST, SECOND = "a" * 40, "b" * 40

Lay = Callable[..., Path]


@pytest.fixture
def lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lay:
    """Give the function that lays files into a local cache, as the hub's client does: (id, commit, ref, files)."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name: str, commit: str, ref: str | None, files: dict[str, str]) -> Path:
        repo = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        snapshot = repo / "snapshots" / commit
        for place in (repo / "blobs", repo / "refs", snapshot):
            place.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            blob = f"{commit[:8]}-{file}"
            (repo / "blobs" / blob).write_text(content)
            (snapshot / file).symlink_to(f"../../blobs/{blob}")
        if ref is not None:
            (repo / "refs" / ref).write_text(commit)
        return snapshot

    return put


def config(family: str) -> str:
    return json.dumps({"model_type": family})


def index(*shards: str) -> str:
    return json.dumps({"weight_map": {f"weight.{number}": shard for number, shard in enumerate(shards)}})


def test_a_model_is_found_by_branch_tag_and_commit(lay: Lay) -> None:
    files = {"config.json": config("qwen3_vl"), "model.safetensors": "weights"}
    first = lay("owner/model", FIRST, "v1", files)
    second = lay("owner/model", SECOND, "main", files)
    assert find("owner/model") == find("owner/model", "main") == find("owner/model", SECOND) == second
    assert find("owner/model", "v1") == find("owner/model", FIRST) == locate("owner/model", "v1") == first
    with pytest.raises(ModelError, match=r"at revision v2 is not in .*onlooker models pull owner/model --revision v2"):
        find("owner/model", "v2")
    with pytest.raises(ModelError, match=r"^owner/other is not in the local cache \(.*hub\); fetch it with: onlooker"):
        find("owner/other")


def test_weights_that_lack_are_named(lay: Lay) -> None:
    folder = lay(
        "owner/model",
        FIRST,
        "main",
        {
            "config.json": config("qwen3_vl"),
            "model.safetensors.index.json": index("1.safetensors", "2.safetensors", "3.safetensors"),
            "1.safetensors": "",
        },
    )
    assert lacking(folder) == ("2.safetensors", "3.safetensors")
    with pytest.raises(
        ModelError, match=r"lacks 2 weight files, such as 2.safetensors; .* onlooker models pull owner/m"
    ):
        find("owner/model")
    for name in ("2.safetensors", "3.safetensors"):
        (folder / name).touch()
    assert lacking(folder) == ()
    assert find("owner/model") == folder


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}'])
def test_an_index_that_says_nothing_is_passed_over(content: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    assert lacking(tmp_path) == ("*.safetensors",)
    (tmp_path / "model.safetensors").touch()
    assert lacking(tmp_path) == ()


def test_what_can_be_run_is_listed(lay: Lay) -> None:
    assert cached_models() == ()  # no cache yet
    ready = {"config.json": config("llava_onevision"), "model.safetensors": "weights"}
    lay("owner/zebra", FIRST, "main", ready)
    lay("owner/zebra", SECOND, None, {"config.json": config("llava_onevision")})
    lay("owner/ape", FIRST, "main", ready)
    for name, content in {"text": config("bert"), "broken": "{", "list": "[1]"}.items():
        lay(f"owner/{name}", FIRST, "main", {"config.json": content})
    os.utime(cache.cache_folder() / "models--owner--zebra" / "snapshots" / SECOND, (0, 0))
    found = [(model.name, model.commit, model.revisions, model.complete) for model in cached_models()]
    assert found[0] == ("owner/ape", FIRST, ("main",), True)
    assert sorted(found[1:]) == [
        ("owner/zebra", FIRST, ("main",), True),
        ("owner/zebra", SECOND, (SECOND,), False),
    ]


def test_room_is_measured_where_a_folder_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    usage = os.statvfs(tmp_path)
    real = cache.shutil.disk_usage
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda place: asked.append(place) or real(place))
    assert 0 < free_bytes(tmp_path / "not" / "there" / "yet") <= usage.f_blocks * usage.f_frsize
    assert asked == [tmp_path]
