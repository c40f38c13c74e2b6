"""Rules 1, 2 and 5 for every family: our passes against transformers' own forward, on tiny random models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from onlooker.memory.block import Context, KVLayout
from onlooker.memory.positions import clock_place, text_positions
from onlooker.memory.rotary import angle_table, rotate
from onlooker.models.backbone import Backbone, HeadId, LayerContext, Prefill, Sampling
from onlooker.models.loading import load_backbone
from onlooker.models.rows import Rows, lay, no_cells

QUESTION = "where is the red ball ?"
TIMES_US = (0, 500_000, 1_700_000, 2_000_000, 2_100_000, 9_000_000)  # uneven, as a keyframe gate leaves them


@dataclass(frozen=True)
class Prompt:
    """A whole prompt's rows; frames is how many of them come before the question."""

    rows: Rows
    frames: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def visual(self) -> Tensor:
        return self.rows.coords[:, 0] >= 0

    def part(self, start: int, end: int) -> dict[str, Any]:
        """What a pass over some of the rows is given."""
        planes = None if self.rows.planes is None else self.rows.planes[start:end]
        return {
            "features": self.rows.features[start:end],
            "positions": self.rows.positions[start:end],
            "planes": planes,
        }

    def own(self, start: int = 0, end: int | None = None) -> dict[str, Any]:
        """What transformers' forward is given."""
        end = len(self) if end is None else end
        return {**self.part(start, end), "visual": self.visual[start:end]}


def text_rows(features: Tensor, start: int, backbone: Backbone, planes: Tensor | None) -> Rows:
    axes = backbone.layout.rotary.axes
    more = None if planes is None else planes.new_zeros(len(features), *planes.shape[1:])
    return Rows(features, text_positions(len(features), start, axes), len(features), no_cells(len(features)), more)


def prompt_of(backbone: Backbone, frames: Sequence[Rows], times_us: Sequence[int], question: str = QUESTION) -> Prompt:
    """Lay a prompt out by hand: the opening, the frames, the question one past the largest position."""
    layout = backbone.layout
    video = lay(layout, frames, [clock_place(layout, time, times_us[0]) for time in times_us])
    opening = text_rows(backbone.opening(), 0, backbone, video.planes)
    inside = Rows(video.features, video.positions + len(opening), 0, video.coords, video.planes)
    asked = text_rows(backbone.question(question)[0], int(inside.positions.max()) + 1, backbone, video.planes)
    parts = (opening, inside, asked)
    rows = Rows(
        features=torch.cat([part.features for part in parts]),
        positions=torch.cat([part.positions for part in parts]),
        extent=0,
        coords=torch.cat([part.coords for part in parts]),
        planes=None if video.planes is None else torch.cat([part.planes for part in parts if part.planes is not None]),
    )
    return Prompt(rows, len(opening) + len(inside))


@pytest.fixture(scope="module")
def prompt(backbone: Backbone, pictures: list[NDArray[np.uint8]]) -> Prompt:
    tokens = backbone.encode(pictures, TIMES_US)
    return prompt_of(backbone, [backbone.frame(tokens.frame(t)) for t in range(6)], TIMES_US)


@pytest.fixture(scope="module")
def pruned(backbone: Backbone, pictures: list[NDArray[np.uint8]]) -> Prompt:
    """The same stream of which pruning left half: whole frames, part of one, nothing of one."""
    tokens = backbone.encode(pictures, TIMES_US)
    cells = tokens.grid[0] * tokens.grid[1]
    keep = torch.rand(6, cells, generator=torch.Generator().manual_seed(2)) < 0.5
    keep[0], keep[3] = True, False
    left = tokens.select(keep.flatten().nonzero().squeeze(1))
    assert len(left) < len(tokens)
    return prompt_of(backbone, [backbone.frame(left.frame(t)) for t in range(6)], TIMES_US)


def line(backbone: Backbone, start: int, count: int) -> Tensor:
    return text_positions(count, start, backbone.layout.rotary.axes)


def context_of(layout: KVLayout, parts: Sequence[tuple[Prefill, Tensor]]) -> Context:
    """Rotate raw keys to the given positions and lay the parts end to end."""
    keys = torch.cat([rotate(part.keys, *angle_table(at, layout.rotary, layout.dtype)) for part, at in parts], dim=2)
    values = torch.cat([part.values for part, _ in parts], dim=2)
    return Context(keys, values, next_position=int(parts[-1][1].max()) + 1)


def prefilled(backbone: Backbone, prompt: Prompt, end: int) -> Context:
    part = prompt.part(0, end)
    return context_of(backbone.layout, [(backbone.prefill(**part), part["positions"])])


@pytest.mark.parametrize("which", ["prompt", "pruned"])
def test_a_whole_prompt_equals_own_forward(
    backbone: Backbone, own: Any, which: str, request: pytest.FixtureRequest
) -> None:
    prompt = request.getfixturevalue(which)
    ours = backbone.prefill(**prompt.part(0, len(prompt)), logits=True)
    logits, cache = own.forward(**prompt.own())
    torch.testing.assert_close(ours.logits, logits[-1], atol=1e-4, rtol=0)
    cos, sin = angle_table(prompt.rows.positions, backbone.layout.rotary, torch.float32)
    for layer, held in enumerate(cache.layers):
        torch.testing.assert_close(rotate(ours.keys[layer], cos, sin), held.keys[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.values[layer], held.values[0], atol=1e-4, rtol=0)


def test_pruned_tokens_keep_their_places(backbone: Backbone, prompt: Prompt, pruned: Prompt) -> None:
    """What is left of a frame stands where it stood in the whole frame; the next frame starts where it did."""
    if backbone.layout.rotary.axes == 1:
        assert torch.equal(pruned.rows.positions[:, 0], torch.arange(len(pruned)))  # 1-D: tokens follow each other
        return
    whole, left = prompt.rows, pruned.rows

    def places(rows: Rows) -> list[list[int]]:
        shown = rows.coords[:, 0] >= 0
        return torch.cat((rows.coords[shown].long(), rows.positions[shown]), dim=1).tolist()

    assert all(place in places(whole) for place in places(left))
    assert len(places(left)) < len(places(whole))
    text = [rows.positions[rows.coords[:, 0] < 0] for rows in (whole, left)]
    assert torch.equal(*text)


@pytest.mark.parametrize("chunks", [(0.1,), (0.1, 0.2, 0.5, 0.8), (0.03, 0.07, 0.12, 0.2, 0.6, 0.97)])
def test_chunks_equal_whole(backbone: Backbone, own: Any, pruned: Prompt, chunks: Sequence[float]) -> None:
    borders = sorted({max(1, round(share * len(pruned))) for share in chunks})
    parts: list[tuple[Prefill, Tensor]] = []
    last = None
    for start, end in zip([0, *borders], [*borders, len(pruned)], strict=True):
        context = context_of(backbone.layout, parts) if parts else None
        part = pruned.part(start, end)
        last = backbone.prefill(**part, context=context, logits=True)
        parts.append((last, part["positions"]))
    logits, cache = own.forward(**pruned.own())
    assert last is not None
    torch.testing.assert_close(last.logits, logits[-1], atol=1e-4, rtol=0)
    ours = context_of(backbone.layout, parts)
    for layer, held in enumerate(cache.layers):
        torch.testing.assert_close(ours.keys[layer], held.keys[0], atol=1e-4, rtol=0)


def test_gapped_positions_equal_own_forward(backbone: Backbone, own: Any, prompt: Prompt) -> None:
    """Any positions at all, different on each axis."""
    random = torch.Generator().manual_seed(1)
    steps = torch.randint(0, 40, prompt.rows.positions.shape, generator=random)
    positions = steps.cumsum(0)
    given = {**prompt.part(0, len(prompt)), "positions": positions}
    ours = backbone.prefill(**given, logits=True)
    logits, _ = own.forward(**{**prompt.own(), "positions": positions})
    torch.testing.assert_close(ours.logits, logits[-1], atol=1e-4, rtol=0)
    straight = backbone.prefill(**prompt.part(0, len(prompt)), logits=True)
    assert (ours.logits - straight.logits).abs().max() > 1e-2  # positions matter, so the test can fail


@pytest.mark.parametrize("shift", [1, 1000, 10**6, 10**8])
def test_a_constant_shift_changes_nothing(backbone: Backbone, prompt: Prompt, shift: int) -> None:
    """Rotary positions are relative: also at 10^8, where float32 angles would have lost everything."""
    given = prompt.part(0, len(prompt))
    here = backbone.prefill(**given, logits=True)
    there = backbone.prefill(**{**given, "positions": given["positions"] + shift}, logits=True)
    torch.testing.assert_close(there.logits, here.logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(there.keys, here.keys, atol=1e-4, rtol=0)


def test_a_moved_block_equals_own_forward_over_its_cache(backbone: Backbone, own: Any, prompt: Prompt) -> None:
    """A block read at another place equals a cache that transformers' own rotation made for that place."""
    layout = backbone.layout
    size = prompt.frames // 3
    blocks = [(start, start + size) for start in range(0, 3 * size, size)]
    raw, hooks = own.listen()
    values = []
    for start, end in blocks:  # each block on its own: what is moved was made without its new neighbours
        _, cache = own.forward(**prompt.own(start, end))
        values.append([layer.values for layer in cache.layers])
    for hook in hooks:
        hook.remove()
    order, moves = [0, 2, 1], [0, 300, -5]  # another order, too
    cache = DynamicCache()
    for number, move in zip(order, moves, strict=True):
        at = prompt.part(*blocks[number])["positions"] + move
        for layer in range(layout.layers):
            cache.update(own.rotate(raw[layer][number], at)[None], values[number][layer], layer)
    asked = prompt.own(prompt.frames)
    asked["positions"] = asked["positions"] + 1000
    logits, _ = own.forward(**asked, cache=cache)

    parts = []
    for number, move in zip(order, moves, strict=True):
        part = prompt.part(*blocks[number])
        parts.append((backbone.prefill(**part), part["positions"] + move))
    ours = backbone.prefill(
        **{key: value for key, value in asked.items() if key != "visual"},
        context=context_of(layout, parts),
        logits=True,
    )
    torch.testing.assert_close(ours.logits, logits[-1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("position", [0, 1, 17, 1000, 10**6, 10**8])
def test_rotation_on_read_equals_own_rotation(backbone: Backbone, own: Any, position: int) -> None:
    """Against the model's own rotation in float64 where its angles are exact, against long doubles beyond."""
    layout = backbone.layout
    axes = layout.rotary.axes
    random = torch.Generator().manual_seed(1)
    keys = torch.randn(2, 5, layout.head_dim, dtype=torch.float64, generator=random)
    at = torch.randint(0, 9, (5, axes), generator=random) + position
    ours = rotate(keys, *angle_table(at, layout.rotary, torch.float64))
    if position <= 1000:  # the model's own angles are float32
        torch.testing.assert_close(ours, own.rotate(keys, at), atol=1e-3, rtol=0)
    inv_freq = own.text.rotary_emb.inv_freq.double().numpy().astype(np.longdouble)
    # Which axis a frequency follows, written down from the papers' figures for the tiny sections.
    axis = {
        "llava_onevision": [0] * 8,
        "qwen2_5_vl": [0, 0, 1, 1, 1, 2, 2, 2],  # sections 2, 3, 3
        "qwen3_vl": [0, 1, 2, 0, 1, 2, 0, 0],  # sections 4, 2, 2, interleaved
    }[own.family]
    angles = at.numpy()[:, axis].astype(np.longdouble) * inv_freq
    angles = np.concatenate((angles, angles), axis=1)
    cos, sin = (torch.from_numpy(f(angles).astype(np.float64)) for f in (np.cos, np.sin))
    half = layout.head_dim // 2
    turned = torch.cat((-keys[..., half:], keys[..., :half]), dim=-1)
    torch.testing.assert_close(ours, keys * cos + turned * sin, atol=1e-7, rtol=0)


def test_raw_queries_are_the_projections(backbone: Backbone, own: Any, prompt: Prompt) -> None:
    """Raw queries are what the model rotates: its projections, behind the query norm where there is one."""
    heads = [HeadId(0, 1), HeadId(2, 3), HeadId(2, 0)]
    raw: dict[int, Tensor] = {}
    hooks = []
    for number, layer in enumerate(own.text.layers):
        made = getattr(layer.self_attn, "q_norm", layer.self_attn.q_proj)
        hooks.append(made.register_forward_hook(lambda _m, _i, out, n=number: raw.__setitem__(n, out[0].flatten(1))))
    own.forward(**prompt.own())
    for hook in hooks:
        hook.remove()
    context = prefilled(backbone, prompt, prompt.frames)
    ours = backbone.prefill(**prompt.part(prompt.frames, len(prompt)), context=context, heads=heads)
    assert set(ours.queries) == set(heads)
    dim = backbone.layout.head_dim
    for head in heads:
        want = raw[head.layer][prompt.frames :, head.head * dim : (head.head + 1) * dim]
        torch.testing.assert_close(ours.queries[head], want, atol=1e-4, rtol=0)


def own_answer(own: Any, prompt: Prompt, count: int) -> list[int]:
    """transformers' forward of the frames, then of the question, then greedy decoding step by step."""
    _, cache = own.forward(**prompt.own(0, prompt.frames))
    asked = prompt.part(prompt.frames, len(prompt))
    ids: list[int] = own.greedy(asked["features"], int(asked["positions"][0, 0]), cache, count)[1]
    return ids


@pytest.mark.parametrize("words", ["what is seen at 3 : 2 5 ?", "ball", "where is the left w40 w41 ?", ""])
@pytest.mark.parametrize("chunked", [False, True])
def test_greedy_answers_are_equal(
    backbone: Backbone, own: Any, pictures: list[NDArray[np.uint8]], words: str, chunked: bool
) -> None:
    tokens = backbone.encode(pictures, TIMES_US)
    prompt = prompt_of(backbone, [backbone.frame(tokens.frame(t)) for t in range(6)], TIMES_US, words)
    if chunked:
        context = prefilled(backbone, prompt, prompt.frames)
        answer = backbone.generate(**prompt.part(prompt.frames, len(prompt)), context=context, sampling=Sampling(24))
    else:
        answer = backbone.generate(**prompt.part(0, len(prompt)), context=None, sampling=Sampling(24))
    text = "".join(answer)
    ids = own_answer(own, prompt, 24)
    assert answer.token_ids == ids
    assert answer.finish == ("length" if len(ids) == 24 else "stop")
    assert len(text) > 0 or not ids


def test_interleaved_sessions_equal_separate_ones(backbone: Backbone, prompt: Prompt, pruned: Prompt) -> None:
    inputs = [(prompt, Sampling(16)), (pruned, Sampling(16, 1.0, 0.9, seed=7))]

    def start(given: Prompt, how: Sampling) -> Any:
        return backbone.generate(**given.part(0, len(given)), context=None, sampling=how)

    apart = [list(start(given, how)) for given, how in inputs]
    running = [start(given, how) for given, how in inputs]
    together: list[list[str]] = [[], []]
    for _ in range(16):
        for pieces, answer in zip(together, running, strict=True):
            pieces.extend(piece for piece in [next(answer, None)] if piece is not None)
            backbone.prefill(**prompt.part(3, prompt.frames))  # ingest in between
    assert together == apart
    assert apart[0] != apart[1]


def test_selected_contexts_equal_given_ones(backbone: Backbone, prompt: Prompt) -> None:
    context = prefilled(backbone, prompt, prompt.frames)
    asked = prompt.part(prompt.frames, len(prompt))
    heads = [HeadId(layer, head) for layer in range(3) for head in range(4)]
    given = backbone.prefill(**asked, context=context, heads=heads, logits=True)
    seen: dict[int, Tensor] = {}

    def select(layer: int, queries: Tensor) -> LayerContext:
        seen[layer] = queries.clone()
        return LayerContext(context.keys[layer], context.values[layer])

    chosen = backbone.prefill(**asked, select=select, logits=True)
    torch.testing.assert_close(chosen.logits, given.logits, atol=1e-5, rtol=0)
    for head in heads:
        torch.testing.assert_close(seen[head.layer][head.head], given.queries[head], atol=1e-5, rtol=0)
    answers = [
        list(backbone.generate(**asked, context=context, sampling=Sampling(12))),
        list(backbone.generate(**asked, context=None, sampling=Sampling(12), select=select)),
    ]
    assert answers[0] == answers[1]
    # Each layer its own context: only the last layer's differs, so the layers before it are as they were.
    mixed = backbone.prefill(
        **asked,
        logits=True,
        select=lambda layer, _: LayerContext(
            context.keys[layer][:, 9 * (layer == 2) :], context.values[layer][:, 9 * (layer == 2) :]
        ),
    )
    torch.testing.assert_close(mixed.keys, given.keys, atol=1e-5, rtol=0)
    assert (mixed.logits - given.logits).abs().max() > 1e-3


def test_bfloat16_stays_near_float32(tiny: Any, folder: Path, family: str, backbone: Backbone, prompt: Prompt) -> None:
    """Bound: the logits' deviation is under 3 % of their spread, and at most twice that of transformers' own bf16."""
    half = load_backbone(str(folder), device="cpu", dtype="bfloat16")
    assert half.layout.dtype == torch.bfloat16
    assert half.layout.fingerprint != backbone.layout.fingerprint
    own = tiny.OwnModel(folder, family)  # not the one that all tests share: rounded weights stay rounded
    exact = own.forward(**prompt.own())[0][-1]
    ours = half.prefill(**prompt.part(0, len(prompt)), logits=True).logits
    assert ours is not None and ours.dtype == torch.float32
    own.model.bfloat16()
    given = prompt.own()
    given["features"] = given["features"].bfloat16()
    given["planes"] = None if given["planes"] is None else given["planes"].bfloat16()
    theirs = own.forward(**given)[0][-1].float()
    off, own_off = ((value - exact).abs().max().item() for value in (ours, theirs))
    assert off < 0.03 * (exact.max() - exact.min()).item()
    assert off < 2 * own_off + 1e-3


def test_the_model_object_keeps_nothing(backbone: Backbone, prompt: Prompt) -> None:
    """No cache, clock or rope_deltas is left on any module."""
    model = backbone._model  # type: ignore[attr-defined]

    def held() -> dict[tuple[int, str], int]:
        """Every attribute, parameter and buffer of every module, by identity."""
        found = {(id(module), name): id(value) for module in model.modules() for name, value in vars(module).items()}
        for module in model.modules():
            for name, value in (*module._parameters.items(), *module._buffers.items()):
                found[id(module), name] = id(value)
        return found

    before = held()
    backbone.encode([np.zeros((40, 60, 3), np.uint8)], [0])
    backbone.prefill(**prompt.part(0, len(prompt)))
    list(backbone.generate(**prompt.part(0, len(prompt)), context=None, sampling=Sampling(3)))
    assert held() == before
    assert getattr(model.model, "rope_deltas", None) is None


@pytest.mark.parametrize("seed", range(3))
def test_other_weights_too(
    make_tiny_model: Callable[..., Path], tiny: Any, tmp_path: Path, family: str, seed: int
) -> None:
    folder = make_tiny_model(tmp_path, seed=seed + 10, family=family)
    backbone, own = load_backbone(str(folder), device="cpu"), tiny.OwnModel(folder, family)
    features = torch.randn(37, backbone.hidden_size, generator=torch.Generator().manual_seed(seed))
    at = line(backbone, 0, 37)
    logits, _ = own.forward(features, at)
    ours = backbone.prefill(features, at, logits=True).logits
    torch.testing.assert_close(ours, logits[-1], atol=1e-4, rtol=0)
    answer = backbone.generate(features, at, None, Sampling(10))
    list(answer)
    assert answer.token_ids == own.greedy(features, 0, DynamicCache(), 10)[1]
