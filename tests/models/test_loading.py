import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from onlooker.errors import ModelError
from onlooker.models import loading
from onlooker.models.cache import bundled_folder
from onlooker.models.catalogue import FAMILIES
from onlooker.models.hub import Access, Download
from onlooker.models.loading import load_backbone
from onlooker.models.machine import Room

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


def test_a_model_that_brings_its_own_code_is_loaded_without_it(make_tiny_model: MakeModel, tmp_path: Path) -> None:
    folder, trace = make_tiny_model(tmp_path / "model"), tmp_path / "trace"
    code = {"AutoConfig": "own.Config", "AutoModelForImageTextToText": "own.Model"}
    (folder / "own.py").write_text(f"open({str(trace)!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    edit(folder / "config.json", auto_map=code)
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]})
    assert type(load_backbone(str(folder), device="cpu")) is loading.LlavaOnevisionBackbone
    assert not trace.exists()
    edit(folder / "config.json", model_type="their_own_vl")
    with pytest.raises(ModelError, match=r"their_own_vl model that needs its own code .trust_remote_code.*never runs"):
        load_backbone(str(folder), device="cpu")
    assert not trace.exists()


def test_a_quantised_model_is_refused_by_name(make_tiny_model: MakeModel, tmp_path: Path) -> None:
    edit(make_tiny_model(tmp_path) / "config.json", quantization_config={"quant_method": "awq", "bits": 4})
    with pytest.raises(ModelError, match=r"quantised with awq.*unquantised model, such as llava-hf/"):
        load_backbone(str(tmp_path), device="cpu")


class Hub:
    """Stand in for the hub: its settings are fetched first, its weights when they are asked for."""

    def __init__(self, commit: Path, weights: Path, size: int = 1000) -> None:
        self.commit, self.weights, self.size = commit, weights, size
        self.asked: list[str] = []

    def settings(self, name: str, access: Access) -> Path:
        self.asked.append(f"settings of {name} at {access.revision}")
        return self.commit

    def plan(self, name: str, folder: Path) -> Download:
        self.asked.append("plan")
        return Download(name, folder.name, "mit", self.size, self.size, self.size, self.commit.parent, 10**15)

    def fetch(self, download: Download, access: Access) -> Path:
        self.asked.append(f"weights of {download.commit}")
        self.weights.rename(self.commit / "model.safetensors")
        return self.commit


@pytest.fixture
def hub(make_tiny_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    commit = make_tiny_model(tmp_path / "0123abc")
    hub = Hub(commit, (commit / "model.safetensors").rename(tmp_path / "weights"))
    for name, stand_in in (("fetch_settings", hub.settings), ("plan", hub.plan), ("fetch_weights", hub.fetch)):
        monkeypatch.setattr(loading, name, stand_in)
    return hub


def test_a_hub_model_is_checked_before_its_weights_are_fetched(hub: Hub) -> None:
    config = (hub.commit / "config.json").read_text()
    for damage, message in (
        ({"model_type": "gpt2"}, "gpt2"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "quantised with awq"),
    ):
        edit(hub.commit / "config.json", **damage)
        with pytest.raises(ModelError, match=message):
            load_backbone("owner/model", device="cpu", revision="main")
        (hub.commit / "config.json").write_text(config)
    assert hub.asked == ["settings of owner/model at main"] * 2
    backbone = load_backbone("owner/model", device="cpu", revision="main")
    assert hub.asked[2:] == ["settings of owner/model at main", "plan", "weights of 0123abc"]
    assert backbone.layout.fingerprint != load_backbone(str(hub.commit), device="cpu").layout.fingerprint
    load_backbone("owner/model", device="cpu", access=Access("v2"))
    assert hub.asked[5:] == ["settings of owner/model at v2"]  # the weights are here


def test_fetch_checks_likewise_and_loads_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_weights", None)
    assert loading.fetch("owner/model", Access()) == hub.commit
    assert hub.asked == ["settings of owner/model at None", "plan", "weights of 0123abc"]
    edit(hub.commit / "config.json", model_type="gpt2")
    with pytest.raises(ModelError, match="gpt2"):
        loading.fetch("owner/model", Access())


def test_a_model_that_cannot_fit_is_refused_before_it_is_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "device_room", lambda _: Room(free_bytes=10**9, total_bytes=2 * 10**9))
    config = json.loads((hub.commit / "config.json").read_text())
    config["dtype"] = "float16"
    (hub.commit / "config.json").write_text(json.dumps(config))
    hub.size = 10**9 + 2  # as float16, twice that as float32
    with pytest.raises(ModelError, match=r"take 2.0 GB on cpu, which has 2.0 GB in all; take another number type"):
        load_backbone("owner/model", device="cpu", dtype="float32")
    assert hub.asked[1:] == ["plan"]
    told: list[str] = []
    load_backbone("owner/model", device="cpu", dtype="bfloat16", access=Access(told=told.append))
    assert told == [
        "the weights of owner/model take 1.0 GB on cpu, of which only 1.0 GB are free: loading may fail or be very slow"
    ]


def test_weights_get_their_number_type_and_buffers_keep_theirs() -> None:
    model = torch.nn.Linear(4, 2, dtype=torch.float16)
    model.register_buffer("angles", torch.ones(3, dtype=torch.float64))
    tied = torch.nn.ModuleList([model, torch.nn.Linear(4, 2)])
    tied[1].weight = model.weight
    loading._move(tied, torch.device("cpu"), torch.bfloat16)
    assert {weight.dtype for weight in tied.parameters()} == {torch.bfloat16}
    assert model.angles.dtype == torch.float64
    assert tied[1].weight is model.weight


@pytest.mark.parametrize("number_type", [torch.float32, torch.bfloat16])
def test_weights_read_as_they_are_and_then_converted_equal_those_converted_while_read(
    number_type: torch.dtype,
) -> None:
    """What goes to a GPU is read in the file's own number type, so that it stays a view of the file."""
    folder, model_class = str(bundled_folder()), loading.LlavaOnevisionBackbone.model_class
    whole = model_class.from_pretrained(folder, dtype=number_type)
    moved = model_class.from_pretrained(folder, dtype="auto")
    loading._move(moved, torch.device("cpu"), number_type)
    for one, other in (
        (whole.named_parameters(), moved.named_parameters()),
        (whole.named_buffers(), moved.named_buffers()),
    ):
        ours, theirs = dict(one), dict(other)
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=0)  # checks the number type, too


@pytest.mark.gpu
def test_weights_on_a_gpu_equal_those_that_were_converted_on_the_cpu(tiny_folder: Path) -> None:
    there = load_backbone(str(tiny_folder), device="cuda", dtype="bfloat16")
    here = load_backbone(str(tiny_folder), device="cpu", dtype="bfloat16")
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.opening().cpu(), here.opening(), rtol=0, atol=0)


def test_devices_and_number_types(tiny_folder: Path) -> None:
    for device, message in [("mps", "unknown device"), ("cuda:x", "unknown device"), ("", "unknown device")]:
        with pytest.raises(ModelError, match=message):
            load_backbone(str(tiny_folder), device=device)
    with pytest.raises(ModelError, match="unknown dtype 'int8'"):
        load_backbone(str(tiny_folder), device="cpu", dtype="int8")
    for dtype, expected in [("fp16", torch.float16), ("bfloat16", torch.bfloat16), ("auto", torch.float32)]:
        backbone = load_backbone(str(tiny_folder), device="cpu", dtype=dtype)
        assert backbone.layout.dtype == backbone.opening().dtype == expected


def test_the_catalogue_lists_families_that_have_an_adapter() -> None:
    assert set(loading._ADAPTERS) == set(FAMILIES)


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
    assert (backbone.hidden_size, backbone.grid_of(9, 9), backbone.device.type) == (64, (2, 2), "cpu")


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
