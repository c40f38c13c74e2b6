import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file

from onlooker.errors import ModelError
from onlooker.models import loading
from onlooker.models.loading import load_backbone

MakeModel = Callable[..., Path]


def edit(path: Path, **fields: object) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **fields}))


def key_projection(weights: Iterable[str]) -> str:
    return next(name for name in weights if name.endswith("layers.1.self_attn.k_proj.weight"))


def drop_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[key_projection(weights)]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def cut_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = key_projection(weights)
    weights[name] = weights[name][:-1].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def truncate(name: str, size: int) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (truncate("config.json", 100), "cannot read"),
        (lambda folder: (folder / "config.json").write_text("[]"), "supported are: llava_onevision"),
        (lambda folder: edit(folder / "config.json", model_type="gpt2"), "gpt2.*supported are: llava_onevision"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "safetensors"),
        (truncate("model.safetensors", 1000), "cannot load"),
        (truncate("model.safetensors", 100_000), "cannot load"),
        (truncate("model.safetensors", 0), "cannot load"),
        (drop_weight, "lacks 1 weights, such as .*k_proj.weight"),
        (cut_weight, "cannot load"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json"),
        (truncate("tokenizer.json", 100), "cannot load"),
        (lambda folder: (folder / "tokenizer.json").write_text('{"added_tokens": [], "model": {}}'), "cannot load"),
        (truncate("preprocessor_config.json", 10), "not valid JSON"),
        (
            lambda f: edit(f / "preprocessor_config.json", size={"height": 40, "width": 42}),
            "vision tower takes 42 x 42",
        ),
        (lambda folder: (folder / "onlooker.json").write_text("{"), "not valid JSON"),
    ],
)
def test_damaged_folders(
    make_tiny_model: MakeModel, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(make_tiny_model(tmp_path))
    with pytest.raises(ModelError, match=message):
        load_backbone(str(tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "empty"),
        ("./nowhere", "no model folder"),
        ("/nowhere/at/all", "no model folder"),
        ("~/nowhere-at-all", "no model folder"),
        ("~nobody-here/model", "home of a user that this machine lacks"),
        ("two words", "no model folder"),
        ("owner/model-that-is-not-cached", "not in the local cache.*pocket"),
    ],
)
def test_names_that_lead_nowhere(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_backbone(name, device="cpu")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match="is a file"):
        load_backbone(str(tmp_path / "model.safetensors"), device="cpu")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LocalEntryNotFoundError("offline"), "cannot be reached"),
        (ConnectionError("reset"), "cannot fetch owner/model: reset"),
        (PermissionError("cache"), "cannot fetch owner/model: cache"),
    ],
)
def test_hub_errors(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(loading, "snapshot_download", fail)
    with pytest.raises(ModelError, match=message):
        load_backbone("owner/model", device="cpu")


@pytest.mark.parametrize(("kind", "message"), [(GatedRepoError, "licence"), (RepositoryNotFoundError, "spelling")])
def test_hub_refusals(monkeypatch: pytest.MonkeyPatch, kind: type[Exception], message: str) -> None:
    def fail(*_: object, **__: object) -> str:
        raise kind.__new__(kind)  # these errors are made from a response, which matters not here

    monkeypatch.setattr(loading, "snapshot_download", fail)
    with pytest.raises(ModelError, match=message):
        load_backbone("owner/model", device="cpu")


def test_a_hub_model_is_checked_before_its_weights_are_fetched(
    make_tiny_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = make_tiny_model(tmp_path / "0123abc")
    weights = (commit / "model.safetensors").rename(tmp_path / "weights")
    asked: list[tuple[str, object, list[str]]] = []

    def fetch(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        if "*.safetensors" in allow_patterns:
            weights.rename(commit / "model.safetensors")
        return str(commit)

    monkeypatch.setattr(loading, "snapshot_download", fetch)
    backbone = load_backbone("owner/model", device="cpu", revision="main")
    assert [(name, revision, "*.safetensors" in patterns) for name, revision, patterns in asked] == [
        ("owner/model", "main", False),
        ("owner/model", "main", True),
    ]
    assert backbone.layout.fingerprint != load_backbone(str(commit), device="cpu").layout.fingerprint
    edit(commit / "config.json", model_type="gpt2")
    (commit / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="gpt2"):
        load_backbone("owner/model", device="cpu")
    assert len(asked) == 3  # the weights were not asked for


def test_devices_and_number_types(tiny_folder: Path) -> None:
    for device, message in [("mps", "unknown device"), ("cuda:x", "unknown device"), ("", "unknown device")]:
        with pytest.raises(ModelError, match=message):
            load_backbone(str(tiny_folder), device=device)
    with pytest.raises(ModelError, match="unknown dtype 'int8'"):
        load_backbone(str(tiny_folder), device="cpu", dtype="int8")
    for dtype, expected in [("fp16", torch.float16), ("bfloat16", torch.bfloat16), ("auto", torch.float32)]:
        backbone = load_backbone(str(tiny_folder), device="cpu", dtype=dtype)
        assert backbone.layout.dtype == backbone.opening().dtype == expected


def test_cuda_that_is_not_there(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="finds no CUDA"):
        load_backbone(str(tiny_folder), device="cuda")
    assert load_backbone(str(tiny_folder)).device == torch.device("cpu")


def test_layout_says_what_the_config_says(tiny_folder: Path) -> None:
    backbone = load_backbone(str(tiny_folder), device="cpu")
    layout = backbone.layout
    assert (layout.layers, layout.query_heads, layout.kv_heads, layout.head_dim) == (3, 4, 2, 16)
    expected = 10000.0 ** -(torch.arange(0, 16, 2).double() / 16)
    torch.testing.assert_close(torch.tensor(layout.rotary.inv_freq, dtype=torch.float64), expected, atol=0, rtol=1e-6)
    assert (layout.rotary.axes, layout.rotary.scaling) == (1, 1.0)
    assert (backbone.hidden_size, backbone.grid, backbone.device.type) == (64, (2, 2), "cpu")


def test_a_rotary_embedding_that_changes_with_length_is_refused(make_tiny_model: MakeModel, tmp_path: Path) -> None:
    config = json.loads((make_tiny_model(tmp_path) / "config.json").read_text())
    config["text_config"]["rope_parameters"] = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match='"dynamic" is not supported'):
        load_backbone(str(tmp_path), device="cpu")


def test_fingerprint_follows_what_made_the_memory(make_tiny_model: MakeModel, tmp_path: Path) -> None:
    def fingerprint(name: str, change: Callable[[Path], object] = lambda _: None, **made: object) -> str:
        folder = make_tiny_model(tmp_path / name, **made)
        change(folder)
        return load_backbone(str(folder), device="cpu").layout.fingerprint

    first = fingerprint("first")
    assert first == fingerprint("copy")
    assert first == fingerprint("calibrated", card={"retrieval_heads": [[1, 1]]})
    assert first == fingerprint("newer", lambda f: edit(f / "config.json", transformers_version="9.9.9"))
    others = [
        fingerprint("weights", seed=1),
        fingerprint("stamps", card={"time_stamps": "clock"}),
        fingerprint("system", card={"system_prompt": "what is seen"}),
        fingerprint("mean", lambda f: edit(f / "preprocessor_config.json", image_mean=[0.5, 0.4, 0.31])),
        fingerprint("template", lambda f: (f / "chat_template.jinja").write_text("no frames here")),
    ]
    assert first not in others[:4]
    assert len(set(others[:4])) == 4
    # A template that cannot be used falls back to the published format, which is the same as before.
    assert others[4] == first
