"""Planes of the vision tower beside the features: against recomputation from the modules' own weights."""

import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from transformers import AttentionInterface

from onlooker.errors import ModelError
from onlooker.frame import Frame
from onlooker.models import vision_attention
from onlooker.models.backbone import Backbone, HeadId
from onlooker.models.cell_pixels import cell_pixels
from onlooker.models.loading import load_backbone
from onlooker.models.tokens import TOWER_PLANES, VisualTokens
from onlooker.models.vision_attention import TowerRecord, received_attention, register_vision_attention
from onlooker.pruning.budget import Quota
from onlooker.pruning.credit import SCALE
from onlooker.pruning.recipe import Recipe
from onlooker.pruning.reduce import Drop
from onlooker.pruning.select import Top
from onlooker.pruning.stages import Cells, Memory, Traits
from onlooker.settings import Settings
from onlooker.stream.ingest import Ingest

Picture = NDArray[np.uint8]
ATTENTION_CLASSES = ("SiglipAttention", "Qwen2_5_VLVisionAttention", "Qwen3VLVisionAttention")
ATTENTION = frozenset({"saliency", "values"})


def plainly(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """Received attention and value norms of patches [n, heads, head_dim] that see each other: [n] each."""
    count, heads, _ = query.shape
    received = torch.zeros(count)
    for head in range(heads):
        for row in range(count):
            received += torch.softmax(key[:, head] @ query[row, head] * scaling, dim=0)
    return received / heads, value.abs().sum(dim=(1, 2))


def turned(rows: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate [n, heads, head_dim] by angles [n, head_dim]."""
    half = rows.shape[2] // 2
    other = torch.cat((-rows[..., half:], rows[..., :half]), dim=2)
    return rows * cos[:, None] + other * sin[:, None]


def own_layers(own: Any, run: Callable[[], Any]) -> list[tuple[Tensor, Tensor]]:
    """Run transformers' own tower; of each layer, what its patches receive and their values' norms, in its order."""
    found: list[tuple[Tensor, Tensor]] = []

    def look(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        if hasattr(module, "qkv"):
            rows = module.qkv(states).reshape(len(states), 3, module.num_heads, -1)
            cos, sin = kwargs["position_embeddings"]
            query, key, value = turned(rows[:, 0], cos, sin), turned(rows[:, 1], cos, sin), rows[:, 2]
            borders = kwargs["cu_seqlens"].tolist()
        else:
            frames, count, width = states.shape
            query, key, value = (
                make(states).reshape(frames * count, module.num_heads, width // module.num_heads)
                for make in (module.q_proj, module.k_proj, module.v_proj)
            )
            borders = list(range(0, frames * count + 1, count))
        scaling = query.shape[2] ** -0.5
        parts = [plainly(query[a:b], key[a:b], value[a:b], scaling) for a, b in itertools.pairwise(borders)]
        found.append((torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])))

    modules = [module for module in own.model.modules() if type(module).__name__ in ATTENTION_CLASSES]
    hooks = [module.register_forward_pre_hook(look, with_kwargs=True) for module in modules]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return found


def to_cells(family: str, plane: Tensor, frames: int, grid: tuple[int, int]) -> Tensor:
    """Bring a plane [patches] of the tiny models to cells, by hand."""
    if family == "llava_onevision":
        weights = torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.25, 0.75]])  # bilinear from 3 to 2
        return (weights @ plane.view(frames, 3, 3) @ weights.T).flatten()
    cells = plane.view(-1, 4).mean(1)
    places = [(t, h, w) for t in range(frames) for h in range(grid[0]) for w in range(grid[1])]
    if family == "qwen3_vl":
        return cells
    seen = sorted(places, key=lambda at: (at[0], at[1] // 2, at[2] // 2, at))  # windows of two by two cells
    return torch.stack([cells[seen.index(place)] for place in places])


def own_run(own: Any, backbone: Any, pictures: list[Picture], grid: tuple[int, int]) -> Callable[[], Any]:
    """Give the call of transformers' own encoding of the same pictures."""
    if own.family == "llava_onevision":
        pixels = backbone.preprocessing.pixel_values(pictures, torch.device("cpu"))
        return lambda: own.model.get_video_features(pixel_values_videos=pixels[None])
    patches = backbone.preprocessing.patches(pictures, grid, torch.device("cpu"))
    shape = torch.tensor([[len(pictures), grid[0] * 2, grid[1] * 2]])
    return lambda: own.model.get_video_features(pixel_values_videos=patches, video_grid_thw=shape)


@pytest.mark.parametrize("wide", [False, True])
def test_planes_equal_recomputation(backbone: Any, own: Any, pictures: list[Picture], wide: bool) -> None:
    """Of every layer, in windows or not, and on a grid whose windows are cut off at its edges."""
    grid = (2, 2) if own.family == "llava_onevision" else (5, 3) if wide else (2, 3)
    tokens = backbone.encode(pictures, range(6), grid, ATTENTION)
    layers = own_layers(own, own_run(own, backbone, pictures, grid))
    assert tokens.extras.keys() - {"deepstack"} == ATTENTION and len(layers) == 2
    for name, part in (("saliency", 0), ("values", 1)):
        plane = tokens.extras[name]
        assert plane.dtype == torch.float32 and plane.shape == (6 * grid[0] * grid[1], 2)
        assert plane.std(0).min() > 0.01
        for layer, found in enumerate(layers):
            expected = to_cells(own.family, found[part], 6, grid)
            torch.testing.assert_close(plane[:, layer], expected, atol=1e-4, rtol=1e-4)


def test_features_are_what_sdpa_makes_of_them(
    backbone: Any, own: Any, folder: Path, pictures: list[Picture], tiny: Any
) -> None:
    """Bit by bit, whether planes are asked for or not; DeepStack planes too."""
    model = tiny.FAMILIES[own.family].from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    grid = backbone.grid_of(60, 80)
    plain, full = backbone.encode(pictures, range(6)), backbone.encode(pictures, range(6), None, TOWER_PLANES)
    with torch.no_grad():
        theirs = own_run(replace_model(own, model.eval()), backbone, pictures, grid)()
    features = theirs.pooler_output[0][: len(plain)]
    assert torch.equal(plain.features, features)
    assert torch.equal(full.features, features)
    assert plain.extras.keys() == ({"deepstack"} if own.family == "qwen3_vl" else set())
    for name, plane in plain.extras.items():
        assert torch.equal(plane, full.extras[name])
    assert full.extras.keys() == plain.extras.keys() | TOWER_PLANES


def replace_model(own: Any, model: Any) -> Any:
    """Stand another model of the family in for the reference."""
    return type("Own", (), {"family": own.family, "model": model})


def test_batches_join(backbone: Any, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch) -> None:
    together = backbone.encode(pictures, range(6), None, TOWER_PLANES)
    monkeypatch.setattr("onlooker.models.qwen_vl._ENCODE_PATCHES", 50)  # two frames at once
    monkeypatch.setattr("onlooker.models.llava_onevision._ENCODE_FRAMES", 2)
    apart = backbone.encode(pictures, range(6), None, TOWER_PLANES)
    for name, plane in together.extras.items():
        torch.testing.assert_close(plane, apart.extras[name], atol=1e-4, rtol=1e-4)
    nothing = backbone.encode([], [], None, TOWER_PLANES)
    for name in TOWER_PLANES:
        assert nothing.extras[name].shape == (0, *together.extras[name].shape[1:])


def test_unknown_planes_are_refused(backbone: Any, pictures: list[Picture]) -> None:
    with pytest.raises(ModelError, match="no plane 'depth'"):
        backbone.encode(pictures, range(6), None, frozenset({"saliency", "depth"}))


def test_a_tower_that_shows_nothing_is_reported(
    backbone: Any, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the attention it was loaded with, or, where that is ours, by what is missing in the end."""
    monkeypatch.setattr(backbone, "tower_layers", 3)
    with pytest.raises(ModelError, match="where 3 layers of"):
        backbone.encode(pictures[:1], [0], None, ATTENTION)
    monkeypatch.setattr(backbone._model.config.vision_config, "_attn_implementation_internal", "sdpa")
    assert len(backbone.encode(pictures[:1], [0], None, frozenset({"pixels"}))) > 0
    with pytest.raises(ModelError, match="loaded with attention 'sdpa'"):
        backbone.encode(pictures[:1], [0], None, ATTENTION)


def test_two_threads_do_not_meet(backbone: Any, pictures: list[Picture]) -> None:
    """One asks for planes of some pictures, one for other planes of others, one for none."""
    jobs = [(pictures[:2], TOWER_PLANES), (pictures[2:5], frozenset({"saliency"})), (pictures[5:], frozenset())]
    expected = [backbone.encode(images, range(len(images)), None, planes) for images, planes in jobs]
    start, wrong = threading.Barrier(len(jobs)), []

    def work(images: list[Picture], planes: frozenset[str], right: VisualTokens) -> None:
        start.wait()
        for _ in range(20):
            tokens = backbone.encode(images, range(len(images)), None, planes)
            same = tokens.extras.keys() == right.extras.keys() and torch.allclose(tokens.features, right.features)
            if not same or not all(torch.allclose(p, right.extras[n]) for n, p in tokens.extras.items()):
                wrong.append(planes)

    threads = [threading.Thread(target=work, args=(*job, right)) for job, right in zip(jobs, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_layers_after_the_chosen_one_do_not_count(
    make_tiny_model: Callable[..., Path], tmp_path: Path, pictures: list[Picture]
) -> None:
    backbone = load_backbone(str(make_tiny_model(tmp_path)), device="cpu")
    both = backbone.encode(pictures, range(6), None, ATTENTION)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "vision_feature_layer": -2}))
    first = load_backbone(str(tmp_path), device="cpu").encode(pictures, range(6), None, ATTENTION)
    for name in ATTENTION:
        assert torch.equal(first.extras[name], both.extras[name][:, :1])
    assert not torch.equal(first.features, both.features)


def test_pockets_patches_share_all_attention_out() -> None:
    """Four layers: the fifth only closes the tower, and its attention writes nothing."""
    pictures = [np.random.default_rng(n).integers(0, 256, (90, 120, 3), dtype=np.uint8) for n in range(3)]
    backbone: Any = load_backbone("pocket", device="cpu")
    record = TowerRecord(ATTENTION, 3 * 64, 4)
    pixels = backbone.preprocessing.pixel_values(pictures, torch.device("cpu"))
    with torch.no_grad():
        backbone._model.model.vision_tower(pixels, attention_mask=record)
    patches = record.planes()
    torch.testing.assert_close(patches["saliency"].view(3, 64, 4).sum(1), torch.full((3, 4), 64.0))
    tokens = backbone.encode(pictures, range(3), None, ATTENTION)
    for name, plane in tokens.extras.items():
        cells = patches[name].view(3, 4, 2, 4, 2, 4).mean(dim=(2, 4))  # [frame, h, 2, w, 2, layer]
        torch.testing.assert_close(plane, cells.view(48, 4))
        assert plane.std(0).min() > 0.01  # in none of them all cells are alike


@given(frames=st.integers(1, 3), heads=st.integers(1, 3), patches=st.integers(1, 7), seed=st.integers(0, 9))
def test_received_attention_is_shared_out(frames: int, heads: int, patches: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    query, key = (3 * torch.randn(frames, heads, patches, 4, generator=random) for _ in range(2))
    received = received_attention(query, key, 0.5)
    assert received.shape == (frames, patches) and received.min() >= 0
    torch.testing.assert_close(received.sum(1), torch.full((frames,), float(patches)))
    for frame in range(frames):
        rows = [part[frame].transpose(0, 1) for part in (query, key)]
        torch.testing.assert_close(received[frame], plainly(*rows, rows[0], 0.5)[0], atol=1e-5, rtol=1e-4)


def test_a_map_is_held_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key = torch.randn(2, 2, 3, 9, 4)
    whole, largest = received_attention(query, key, 1.0), []
    softmax = torch.Tensor.softmax
    monkeypatch.setattr(vision_attention, "_MAP_ENTRIES", 2 * 3 * 9 * 4)
    monkeypatch.setattr(torch.Tensor, "softmax", lambda self, dim: largest.append(self.numel()) or softmax(self, dim))
    torch.testing.assert_close(received_attention(query, key, 1.0), whole)
    assert largest == [216, 216, 54]


def test_registering_twice_is_one_registration() -> None:
    name = register_vision_attention()
    first = AttentionInterface()[name]
    assert register_vision_attention() == name and AttentionInterface()[name] is first


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    seed=st.integers(0, 9),
)
def test_cell_pixels_are_averages_over_areas(size: tuple[int, int], grid: tuple[int, int], seed: int) -> None:
    """For pictures smaller than the parts too."""
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    rows, columns = 4 * grid[0], 4 * grid[1]
    tall = np.repeat(image.astype(np.float64), rows, axis=0).reshape(rows, size[0], size[1], 3).mean(1)
    exact = np.repeat(tall, columns, axis=1).reshape(rows, columns, size[1], 3).mean(2) / 255
    found = cell_pixels([image, image[::-1]], grid)
    assert found.shape == (2 * grid[0] * grid[1], 48) and found.dtype == torch.float32
    for h in range(grid[0]):
        for w in range(grid[1]):
            part = exact[4 * h : 4 * h + 4, 4 * w : 4 * w + 4].reshape(48)
            np.testing.assert_allclose(found[h * grid[1] + w].numpy(), part, atol=1.1 / 255)


def test_cell_pixels_of_odd_pictures() -> None:
    images = [np.full((*shape, 3), (255, 0, 51), np.uint8) for shape in ((1, 1), (1, 5000), (2160, 3840), (3, 7))]
    images[0].setflags(write=False)
    plane = cell_pixels(images, (14, 14))
    assert plane.shape == (4 * 196, 48)
    assert torch.equal(plane, torch.tensor([1.0, 0.0, 0.2]).repeat(16).expand(4 * 196, 48))
    assert cell_pixels([], (2, 2)).shape == (0, 48)


@dataclass(frozen=True, slots=True)
class Striking:
    """Rate cells by what the last layer attends to, and by how bright they are."""

    traits: Traits = field(default=Traits(needs=frozenset({"saliency", "pixels"})))

    def score(self, cells: Cells, memory: Memory) -> Tensor:
        """Rate."""
        return cells.extras["saliency"][:, -1] + cells.extras["pixels"].mean(1)

    def learn(self, cells: Cells, kept: Tensor, memory: Memory) -> Memory:
        """Remember nothing."""
        return memory


def test_ingest_stores_no_planes(
    backbone: Backbone, family: str, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are asked for where a chunk is pruned and nowhere else, and only pruning sees them."""

    def build(name: str, *, grid: tuple[int, int], **_: object) -> Recipe:
        return Recipe(name, grid, Striking(), Quota(2 * SCALE), Top(), Drop())

    frames = [Frame(pictures[n % 6], n * 500_000) for n in range(14)]
    asked: list[tuple[int, frozenset[str]]] = []
    encode = backbone.encode

    def watched(images: Any, times: Any, grid: Any = None, planes: frozenset[str] = frozenset()) -> VisualTokens:
        asked.append((len(images), planes))
        return encode(images, times, grid, planes)

    laid: list[set[str]] = []
    lay = backbone.frame
    monkeypatch.setattr("onlooker.stream.ingest.build_recipe", build)
    monkeypatch.setattr(backbone, "encode", watched)
    monkeypatch.setattr(backbone, "frame", lambda tokens: laid.append(set(tokens.extras)) or lay(tokens))
    ingest = Ingest(backbone, Settings(codec="raw", keyframes="all", chunk_frames=4), (HeadId(0, 0), HeadId(1, 1)))
    for frame in frames:
        ingest.see(frame)
    needs = frozenset({"saliency", "pixels"})
    assert asked == [(4, needs)] * 3
    held = {"deepstack"} if family == "qwen3_vl" else set()
    assert laid == [held] * 12
    seen = ingest.recent()
    assert asked[3:] == [(1, frozenset())] * 2
    assert len(seen) > 2 and all(item.tokens.extras.keys() == held for item in seen)
    kept = [name.rsplit("/", 1)[1] for name in ingest.freeze().tensors if "/extras/" in name]
    assert set(kept) == held
    whole = encode([frame.image for frame in frames[:4]], range(4), ingest.grid, needs)
    for number in range(4):
        one = whole.frame(number)
        best = (one.extras["saliency"][:, -1] + one.extras["pixels"].mean(1)).topk(2).indices.sort().values
        coords = ingest.archive.get(number).coords
        assert torch.equal(coords[coords[:, 0] >= 0], one.coords[best])


def test_tokens_without_planes() -> None:
    rows = torch.zeros(2, 3)
    tokens = VisualTokens(rows, torch.zeros(2, 3).int(), (1, 2), (0,), {"deepstack": rows, "saliency": rows})
    assert tokens.without(TOWER_PLANES).extras.keys() == {"deepstack"}
    assert tokens.extras.keys() == {"deepstack", "saliency"}
    assert replace(tokens, extras={}).without(TOWER_PLANES).extras == {}
