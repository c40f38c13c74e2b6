"""Rules 1, 2 and 5: our passes against transformers' own forward, on a tiny random model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache, LlavaOnevisionForConditionalGeneration
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from onlooker.memory.block import Context, KVLayout
from onlooker.memory.rotary import angle_table, rotate
from onlooker.models.backbone import Backbone, HeadId, LayerContext, Prefill, Sampling
from onlooker.models.loading import load_backbone
from onlooker.models.preprocess import Preprocessing

QUESTION = "where is the red ball ?"


@dataclass(frozen=True)
class Prompt:
    opening: Tensor
    frames: Tensor
    question: Tensor

    @property
    def whole(self) -> Tensor:
        return torch.cat((self.opening, self.frames, self.question))


def line(start: int, count: int) -> Tensor:
    return torch.arange(start, start + count)[:, None]


def context_of(layout: KVLayout, parts: Sequence[tuple[Prefill, Tensor]]) -> Context:
    """Rotate raw keys to the given positions and lay the parts end to end."""
    keys = torch.cat([rotate(part.keys, *angle_table(at, layout.rotary, layout.dtype)) for part, at in parts], dim=2)
    values = torch.cat([part.values for part, _ in parts], dim=2)
    return Context(keys, values, next_position=int(parts[-1][1].max()) + 1)


def own_forward(reference: Any, features: Tensor, positions: Tensor | None = None) -> tuple[Tensor, DynamicCache]:
    """transformers' forward over embeddings: logits of all tokens, and its cache."""
    with torch.no_grad():
        out = reference(
            inputs_embeds=features[None],
            attention_mask=torch.ones(1, len(features), dtype=torch.int64),
            position_ids=None if positions is None else positions.T,
            use_cache=True,
        )
    return out.logits[0], out.past_key_values


@pytest.fixture(scope="module")
def prompt(tiny_backbone: Backbone, pictures: list[NDArray[np.uint8]]) -> Prompt:
    frames = tiny_backbone.encode(pictures, range(len(pictures)))
    return Prompt(tiny_backbone.opening(), frames.features, tiny_backbone.question(QUESTION)[0])


def test_whole_prompt_equals_own_forward(tiny_backbone: Backbone, reference: Any, prompt: Prompt) -> None:
    whole = prompt.whole
    ours = tiny_backbone.prefill(whole, line(0, len(whole)), logits=True)
    logits, cache = own_forward(reference, whole)
    torch.testing.assert_close(ours.logits, logits[-1], atol=1e-4, rtol=0)
    cos, sin = angle_table(line(0, len(whole)), tiny_backbone.layout.rotary, torch.float32)
    for layer, own in enumerate(cache.layers):
        torch.testing.assert_close(rotate(ours.keys[layer], cos, sin), own.keys[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.values[layer], own.values[0], atol=1e-4, rtol=0)


def test_prompt_equals_own_forward_over_ids_and_pixels(
    tiny_backbone: Backbone, tiny_folder: Path, reference: Any, prompt: Prompt, pictures: list[NDArray[np.uint8]]
) -> None:
    """The text, the placeholders and the newline embedding stand where transformers' processor puts them."""
    text = "<|im_start|>user " + "<video>" * (len(prompt.frames) + 1) + f"\n{QUESTION}<|im_end|><|im_start|>assistant\n"
    pixels = Preprocessing.read(tiny_folder).pixel_values(pictures, torch.device("cpu"))
    with torch.no_grad():
        out = reference(input_ids=tiny_backbone.tokenize(text)[None], pixel_values_videos=pixels[None])
    whole = prompt.whole
    assert out.logits.shape[1] == len(whole)
    ours = tiny_backbone.prefill(whole, line(0, len(whole)), logits=True)
    torch.testing.assert_close(ours.logits, out.logits[0, -1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("borders", [[2], [2, 6, 14, 26], [1, 2, 3, 4, 5, 25, 30]])
def test_chunks_equal_whole(tiny_backbone: Backbone, reference: Any, prompt: Prompt, borders: list[int]) -> None:
    whole = prompt.whole
    parts: list[tuple[Prefill, Tensor]] = []
    last = None
    for start, end in zip([0, *borders], [*borders, len(whole)], strict=True):
        context = context_of(tiny_backbone.layout, parts) if parts else None
        last = tiny_backbone.prefill(whole[start:end], line(start, end - start), context, logits=True)
        parts.append((last, line(start, end - start)))
    logits, cache = own_forward(reference, whole)
    assert last is not None
    torch.testing.assert_close(last.logits, logits[-1], atol=1e-4, rtol=0)
    ours = context_of(tiny_backbone.layout, parts)
    for layer, own in enumerate(cache.layers):
        torch.testing.assert_close(ours.keys[layer], own.keys[0], atol=1e-4, rtol=0)


def test_gapped_positions_equal_own_forward(tiny_backbone: Backbone, reference: Any, prompt: Prompt) -> None:
    whole = prompt.whole
    steps = torch.ones(len(whole), dtype=torch.int64)
    steps[[3, 9, 20]] = torch.tensor([40, 700, 3])
    positions = steps.cumsum(0)[:, None]
    ours = tiny_backbone.prefill(whole, positions, logits=True)
    logits, _ = own_forward(reference, whole, positions)
    torch.testing.assert_close(ours.logits, logits[-1], atol=1e-4, rtol=0)
    straight = tiny_backbone.prefill(whole, line(0, len(whole)), logits=True)
    assert (ours.logits - straight.logits).abs().max() > 1e-2  # positions matter, so the test can fail


@pytest.mark.parametrize("shift", [1, 1000, 10**6, 10**8])
def test_constant_shift_changes_nothing(tiny_backbone: Backbone, prompt: Prompt, shift: int) -> None:
    """Rotary positions are relative: also at 10^8, where float32 angles would have lost everything."""
    whole = prompt.whole
    here = tiny_backbone.prefill(whole, line(0, len(whole)), logits=True)
    there = tiny_backbone.prefill(whole, line(shift, len(whole)), logits=True)
    torch.testing.assert_close(there.logits, here.logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(there.keys, here.keys, atol=1e-4, rtol=0)


def test_moved_block_equals_own_forward_over_its_cache(tiny_backbone: Backbone, reference: Any, prompt: Prompt) -> None:
    """A block read at another place equals a cache that transformers' own rotation made for that place."""
    layout = tiny_backbone.layout
    raw: list[list[Tensor]] = [[] for _ in range(layout.layers)]
    layers = reference.model.language_model.layers
    hooks = [
        layer.self_attn.k_proj.register_forward_hook(lambda _m, _i, out, kept=kept: kept.append(out.detach()))
        for layer, kept in zip(layers, raw, strict=True)
    ]
    blocks = prompt.whole[: -len(prompt.question)].split(8)
    values = []
    for block in blocks:  # each block on its own: what is moved was made without its new neighbours
        _, cache = own_forward(reference, block)
        values.append([own.values for own in cache.layers])
    for hook in hooks:
        hook.remove()
    kept = [0, 2, 1]  # another order, too
    places = [line(0, 8), line(8, len(blocks[2])), line(300, 8)]
    cache = DynamicCache()
    for number, at in zip(kept, places, strict=True):
        cos, sin = reference.model.language_model.rotary_emb(prompt.whole[None], at.T)
        for layer in range(layout.layers):
            keys = raw[layer][number].view(1, -1, layout.kv_heads, layout.head_dim).transpose(1, 2)
            cache.update(apply_rotary_pos_emb(keys, keys, cos, sin)[1], values[number][layer], layer)
    at = line(308, len(prompt.question))
    with torch.no_grad():
        own = reference(inputs_embeds=prompt.question[None], position_ids=at.T, past_key_values=cache)

    parts = [tiny_backbone.prefill(blocks[number], line(0, len(blocks[number]))) for number in kept]
    context = context_of(layout, list(zip(parts, places, strict=True)))
    assert context.next_position == 308
    ours = tiny_backbone.prefill(prompt.question, at, context, logits=True)
    torch.testing.assert_close(ours.logits, own.logits[0, -1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("position", [0, 1, 17, 1000, 10**6, 10**8])
def test_rotation_on_read_equals_own_rotation(tiny_backbone: Backbone, reference: Any, position: int) -> None:
    layout = tiny_backbone.layout
    keys = torch.randn(2, 5, layout.head_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours = rotate(keys, *angle_table(line(position, 5), layout.rotary, torch.float64))
    inv_freq = reference.model.language_model.rotary_emb.inv_freq.double().numpy().astype(np.longdouble)
    angles = np.arange(position, position + 5, dtype=np.longdouble)[:, None] * np.concatenate((inv_freq, inv_freq))
    cos, sin = (torch.from_numpy(f(angles).astype(np.float64))[None] for f in (np.cos, np.sin))
    own = apply_rotary_pos_emb(keys[None], keys[None], cos, sin)[1][0]
    torch.testing.assert_close(ours, own, atol=1e-7, rtol=0)


def test_raw_queries_are_the_projections(tiny_backbone: Backbone, reference: Any, prompt: Prompt) -> None:
    heads = [HeadId(0, 1), HeadId(2, 3), HeadId(2, 0)]
    raw: dict[int, Tensor] = {}
    hooks = [
        layer.self_attn.q_proj.register_forward_hook(lambda _m, _i, out, n=number: raw.__setitem__(n, out[0]))
        for number, layer in enumerate(reference.model.language_model.layers)
    ]
    own_forward(reference, prompt.whole)
    for hook in hooks:
        hook.remove()
    first = prompt.whole[: -len(prompt.question)]
    context = context_of(
        tiny_backbone.layout, [(tiny_backbone.prefill(first, line(0, len(first))), line(0, len(first)))]
    )
    ours = tiny_backbone.prefill(prompt.question, line(len(first), len(prompt.question)), context, heads=heads)
    assert set(ours.queries) == set(heads)
    dim = tiny_backbone.layout.head_dim
    for head in heads:
        own = raw[head.layer][len(first) :, head.head * dim : (head.head + 1) * dim]
        torch.testing.assert_close(ours.queries[head], own, atol=1e-4, rtol=0)


def own_greedy(reference: Any, features: Tensor, count: int) -> list[int]:
    out = reference.generate(inputs_embeds=features[None], max_new_tokens=count, do_sample=False, pad_token_id=1)
    ids: list[int] = out[0].tolist()
    return ids


@pytest.mark.parametrize("words", ["what is seen at 3 : 2 5 ?", "ball", "where is the left w40 w41 ?", ""])
@pytest.mark.parametrize("chunked", [False, True])
def test_greedy_answers_are_equal(
    tiny_backbone: Backbone, reference: Any, prompt: Prompt, words: str, chunked: bool
) -> None:
    question = tiny_backbone.question(words)[0]
    first = torch.cat((prompt.opening, prompt.frames))
    if chunked:
        context = context_of(
            tiny_backbone.layout, [(tiny_backbone.prefill(first, line(0, len(first))), line(0, len(first)))]
        )
        answer = tiny_backbone.generate(question, line(len(first), len(question)), context, Sampling(24))
    else:
        whole = torch.cat((first, question))
        answer = tiny_backbone.generate(whole, line(0, len(whole)), None, Sampling(24))
    text = "".join(answer)
    own = own_greedy(reference, torch.cat((first, question)), 24)
    if answer.finish == "stop":
        assert own.pop() == 3
    else:
        assert len(own) == 24
    assert answer.token_ids == own
    assert len(text) > 0


def test_interleaved_sessions_equal_separate_ones(tiny_backbone: Backbone, prompt: Prompt) -> None:
    others = tiny_backbone.question("what ?")[0]
    inputs = [(prompt.whole, Sampling(16)), (torch.cat((prompt.whole[:11], others)), Sampling(16, 1.0, 0.9, seed=7))]
    apart = [list(tiny_backbone.generate(rows, line(0, len(rows)), None, how)) for rows, how in inputs]
    running = [tiny_backbone.generate(rows, line(0, len(rows)), None, how) for rows, how in inputs]
    together: list[list[str]] = [[], []]
    for _ in range(16):
        for pieces, answer in zip(together, running, strict=True):
            pieces.extend(piece for piece in [next(answer, None)] if piece is not None)
            tiny_backbone.prefill(prompt.frames, line(3, len(prompt.frames)))  # ingest in between
    assert together == apart
    assert apart[0] != apart[1]


def test_selected_contexts_equal_given_ones(tiny_backbone: Backbone, prompt: Prompt) -> None:
    first = torch.cat((prompt.opening, prompt.frames))
    context = context_of(
        tiny_backbone.layout, [(tiny_backbone.prefill(first, line(0, len(first))), line(0, len(first)))]
    )
    at = line(len(first), len(prompt.question))
    heads = [HeadId(layer, head) for layer in range(3) for head in range(4)]
    given = tiny_backbone.prefill(prompt.question, at, context, heads=heads, logits=True)
    seen: dict[int, Tensor] = {}

    def select(layer: int, queries: Tensor) -> LayerContext:
        seen[layer] = queries.clone()
        return LayerContext(context.keys[layer], context.values[layer])

    chosen = tiny_backbone.prefill(prompt.question, at, select=select, logits=True)
    torch.testing.assert_close(chosen.logits, given.logits, atol=1e-5, rtol=0)
    for head in heads:
        torch.testing.assert_close(seen[head.layer][head.head], given.queries[head], atol=1e-5, rtol=0)
    answers = [
        list(tiny_backbone.generate(prompt.question, at, context, Sampling(12))),
        list(tiny_backbone.generate(prompt.question, at, None, Sampling(12), select=select)),
    ]
    assert answers[0] == answers[1]
    # Each layer its own context: only the last layer's differs, so the layers before it are as they were.
    mixed = tiny_backbone.prefill(
        prompt.question,
        at,
        logits=True,
        select=lambda layer, _: LayerContext(
            context.keys[layer][:, 9 * (layer == 2) :], context.values[layer][:, 9 * (layer == 2) :]
        ),
    )
    torch.testing.assert_close(mixed.keys, given.keys, atol=1e-5, rtol=0)
    assert (mixed.logits - given.logits).abs().max() > 1e-3


def test_bfloat16_stays_near_float32(tiny_folder: Path, tiny_backbone: Backbone, prompt: Prompt) -> None:
    """Bound: the logits' deviation is under 3 % of their spread, and at most twice that of transformers' own bf16."""
    half = load_backbone(str(tiny_folder), device="cpu", dtype="bfloat16")
    assert half.layout.dtype == torch.bfloat16
    assert half.layout.fingerprint != tiny_backbone.layout.fingerprint
    whole = prompt.whole
    exact = tiny_backbone.prefill(whole, line(0, len(whole)), logits=True).logits
    ours = half.prefill(whole, line(0, len(whole)), logits=True)
    assert exact is not None and ours.logits is not None
    assert ours.keys.dtype == torch.bfloat16 and ours.logits.dtype == torch.float32
    parts = [(half.prefill(whole[:20], line(0, 20)), line(0, 20))]
    chunked = half.prefill(whole[20:], line(20, len(whole) - 20), context_of(half.layout, parts), logits=True)
    assert chunked.logits is not None
    own = LlavaOnevisionForConditionalGeneration.from_pretrained(tiny_folder, dtype=torch.bfloat16).eval()
    own_error = (own_forward(own, whole.bfloat16())[0][-1].float() - exact).abs().max()
    for logits in (ours.logits, chunked.logits):
        error = (logits - exact).abs().max()
        assert 0 < error < 0.03 * (exact.max() - exact.min())
        assert error < 2 * own_error


def test_the_model_object_keeps_nothing(tiny_backbone: Backbone, prompt: Prompt) -> None:
    model = tiny_backbone._model  # type: ignore[attr-defined]
    before = {name: id(value) for module in model.modules() for name, value in vars(module).items()}
    tiny_backbone.prefill(prompt.whole, line(0, len(prompt.whole)))
    list(tiny_backbone.generate(prompt.whole, line(0, len(prompt.whole)), None, Sampling(3)))
    after = {name: id(value) for module in model.modules() for name, value in vars(module).items()}
    assert after == before


@pytest.mark.parametrize("seed", range(4))
def test_other_weights_too(make_tiny_model: Callable[..., Path], tmp_path: Path, seed: int) -> None:
    folder = make_tiny_model(tmp_path, seed=seed + 10)
    backbone = load_backbone(str(folder), device="cpu")
    own = LlavaOnevisionForConditionalGeneration.from_pretrained(folder, attn_implementation="sdpa").eval()
    rows = torch.randn(37, backbone.hidden_size, generator=torch.Generator().manual_seed(seed))
    logits, _ = own_forward(own, rows)
    ours = backbone.prefill(rows, line(0, 37), logits=True).logits
    torch.testing.assert_close(ours, logits[-1], atol=1e-4, rtol=0)
    answer = backbone.generate(rows, line(0, 37), None, Sampling(10))
    list(answer)
    assert answer.token_ids == [number for number in own_greedy(own, rows, 10) if number != 3]
