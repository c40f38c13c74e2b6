"""Readings inside the model, over made-up caches: which rows each layer reads, by attention that loops over heads."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from onlooker.memory.block import KVBlock, KVLayout, RotarySpec
from onlooker.memory.context import assemble
from onlooker.pruning.inner import InnerReading, Placeless, Rater, Received, Scene, Weighted, attention
from onlooker.pruning.readings import READINGS, build_reading

LAYERS, HEADS, KV, DIM, NEW = 8, 4, 2, 8, 5
LAYOUT = KVLayout(LAYERS, HEADS, KV, DIM, torch.float32, RotarySpec((1.0, 0.5, 0.2, 0.05)), "test")
INNER = [name for name in READINGS if isinstance(build_reading(name), InnerReading)]


def block(block_id: int, text: int, cells: int, seed: int) -> KVBlock:
    generator = torch.Generator().manual_seed(seed)
    count = text + cells
    keys, values = (torch.randn(LAYERS, KV, count, DIM, generator=generator) for _ in range(2))
    coords = torch.full((count, 3), -1, dtype=torch.int32)
    coords[text:] = torch.tensor([[0, cell // 4, cell % 4] for cell in range(cells)], dtype=torch.int32).reshape(-1, 3)
    return KVBlock(block_id, keys, values, torch.arange(count)[:, None], count, coords, (0, 1), place=block_id)


def scene(asked: Callable[[], Tensor] | None = None) -> Scene:
    """A sink of 3, three blocks of 2 text tokens and 16 cells, newest frames of 6 cells that are not to be dropped."""
    parts = [block(-1, 3, 0, 0), *(block(n, 2, 16, n + 1) for n in range(3)), block(-1, 0, 6, 9)]
    context = assemble(LAYOUT, parts)
    visual = torch.cat([torch.arange(16) + 3 + 18 * n + 2 for n in range(3)])
    coords = torch.cat([part.coords[2:] for part in parts[1:4]])
    positions = torch.arange(NEW)[:, None] + context.next_position
    return Scene(LAYOUT, context, parts, visual, coords, positions, torch.tensor([0, 1, 1, 1, 0]).bool(), asked)


def queries(layer: int) -> Tensor:
    return torch.randn(HEADS, NEW, DIM, generator=torch.Generator().manual_seed(100 + layer)) * 2


def rows_read(reading: InnerReading, seen: Scene) -> list[list[int]]:
    """Which rows of the context each layer was given, told by their values."""
    selector, found = reading.selector(seen), []
    for layer in range(LAYERS):
        given = selector(layer, queries(layer))
        values, keys = seen.context.values[layer][0], seen.context.keys[layer]
        rows = [int((values == row).all(dim=1).nonzero()) for row in given.values[0]]
        assert torch.equal(given.keys, keys[:, rows])
        found.append(rows)
    return found


@pytest.mark.parametrize("rate", [0.5, 0.1])
@pytest.mark.parametrize("name", INNER)
def test_layers_read_as_many_as_was_said_and_text_always(name: str, rate: float) -> None:
    reading, seen = build_reading(name, rate), scene()
    assert isinstance(reading, InnerReading)
    visual = set(seen.visual.tolist())
    always = [row for row in range(len(seen.context)) if row not in visual]
    left = reading.left(48, LAYERS)
    before = set(range(len(seen.context)))
    for rows, count in zip(rows_read(reading, seen), left, strict=True):
        assert rows == sorted(rows)
        assert set(always) <= set(rows) <= before  # what is dropped stays dropped
        assert len(rows) == len(always) + count
        before = set(rows)
    assert left[0] == 48 and left[-1] == max(1, round(48 * rate))


def test_the_published_ratios() -> None:
    """FastV at layer 2, PyramidDrop's 50/25/12.5 % at quarters of 32 layers, FEATHER's 0.7 off at layers 8 and 16."""
    assert build_reading("fastv", 0.5).left(100, 32) == (100,) * 2 + (50,) * 30  # type: ignore[union-attr]
    pyramid = build_reading("pyramiddrop", 0.125).left(1000, 32)  # type: ignore[union-attr]
    assert pyramid == (1000,) * 8 + (500,) * 8 + (250,) * 8 + (125,) * 8
    feather = build_reading("feather", 0.09).left(1000, 32)  # type: ignore[union-attr]
    assert feather == (1000,) * 8 + (300,) * 8 + (90,) * 16


@given(st.sampled_from(INNER), st.integers(1, 40), st.integers(0, 300), st.floats(0.01, 1.0, exclude_max=True))
def test_any_depth_and_any_count_will_do(name: str, layers: int, count: int, rate: float) -> None:
    left = build_reading(name, rate).left(count, layers)  # type: ignore[union-attr]
    assert len(left) == layers and left[0] == count
    assert list(left) == sorted(left, reverse=True) and min(left) >= min(1, count)


def naive(query: Tensor, keys: Tensor) -> Tensor:
    """One query head's attention over keys [n, d], element by element."""
    scores = [sum(float(a) * float(b) for a, b in zip(query, key, strict=True)) / math.sqrt(DIM) for key in keys]
    heat = [math.exp(score - max(scores)) for score in scores]
    return torch.tensor([value / sum(heat) for value in heat])


def test_attention_is_each_query_heads_softmax() -> None:
    generator = torch.Generator().manual_seed(0)
    asked, keys = torch.randn(HEADS, 3, DIM, generator=generator), torch.randn(KV, 7, DIM, generator=generator)
    paid = attention(asked, keys)
    causal = attention(asked, keys, causal=3)
    for head in range(HEADS):
        for row in range(3):
            own = keys[head // 2]
            assert torch.allclose(paid[head, row], naive(asked[head, row], own), atol=1e-5)
            seen = 4 + row + 1
            assert torch.allclose(causal[head, row, :seen], naive(asked[head, row], own[:seen]), atol=1e-5)
            assert causal[head, row, seen:].sum() == 0


def turn(vector: Tensor, position: int) -> Tensor:
    """Rotate one vector pair by pair."""
    out = vector.clone()
    for pair, frequency in enumerate(LAYOUT.rotary.inv_freq):
        angle = position * frequency
        a, b = float(vector[pair]), float(vector[pair + DIM // 2])
        out[pair] = a * math.cos(angle) - b * math.sin(angle)
        out[pair + DIM // 2] = b * math.cos(angle) + a * math.sin(angle)
    return out


@pytest.mark.parametrize("rater", [Received(), Placeless()])
def test_the_last_rows_attention_with_and_without_positions(rater: Rater) -> None:
    seen, layer = scene(), 3
    alive = torch.arange(0, len(seen.context), 2)
    rotated = isinstance(rater, Received)
    raw = torch.cat([part.keys[layer] for part in seen.parts], dim=1)
    expected = torch.zeros(len(alive))
    for head in range(HEADS):
        query = queries(layer)[head, -1]
        query = turn(query, int(seen.positions[-1])) if rotated else query
        keys = (seen.context.keys[layer] if rotated else raw)[head // 2, alive]
        expected += naive(query, keys) / HEADS
    assert torch.allclose(rater.rate(seen, layer, queries(layer), alive), expected, atol=1e-4)


def test_words_count_as_the_question_attends_to_them() -> None:
    own = torch.randn(LAYERS, KV, NEW, DIM, generator=torch.Generator().manual_seed(5))
    seen, layer = scene(lambda: own), 2
    alive = torch.arange(len(seen.context))
    paid = torch.zeros(HEADS, NEW, len(alive) + NEW)
    for head in range(HEADS):
        for row in range(NEW):
            at = [turn(own[layer, head // 2, other], int(seen.positions[other])) for other in range(row + 1)]
            keys = torch.cat((seen.context.keys[layer, head // 2], torch.stack(at)))
            query = turn(queries(layer)[head, row], int(seen.positions[row]))
            paid[head, row, : len(keys)] = naive(query, keys)
    expected = torch.zeros(len(alive))
    for word in range(NEW):
        weight = sum(float(paid[:, row, len(alive) + word].mean()) for row in range(word, NEW)) / (NEW - word)
        expected += weight * paid[:, word, : len(alive)].mean(dim=0)
    assert torch.allclose(Weighted().rate(seen, layer, queries(layer), alive), expected, atol=1e-5)


def test_without_the_questions_own_keys_its_words_count_alike() -> None:
    seen, alive = scene(), torch.arange(len(scene().context))
    paid = attention(seen.turned(queries(1)), seen.context.keys[1])
    assert torch.allclose(Weighted().rate(seen, 1, queries(1), alive), paid[:, 1:4].sum(dim=1).mean(dim=0), atol=1e-6)


def test_a_cut_keeps_what_the_layer_before_attended_to() -> None:
    seen = scene()
    rows = rows_read(InnerReading("one", Received(), 0.25, (3,)), seen)
    paid = Received().rate(seen, 2, queries(2), torch.arange(len(seen.context)))[seen.visual]
    best = seen.visual[paid.argsort(descending=True)[:12]]
    assert set(rows[3]) & set(seen.visual.tolist()) == set(best.tolist())
    assert len(rows[2]) == len(seen.context)


def test_the_grid_stays_first() -> None:
    seen = scene()
    grid = {int(row) for row, cell in zip(seen.visual, seen.coords, strict=True) if not cell[1] % 3 and not cell[2] % 3}
    assert len(grid) == 12
    for count, rows in ((24, rows_read(build_reading("feather", 0.25), seen)[2]),):  # type: ignore[arg-type]
        chosen = set(rows) & set(seen.visual.tolist())
        assert grid < chosen and len(chosen) == count
    few = set(rows_read(build_reading("feather", 0.125), seen)[-1]) & set(seen.visual.tolist())  # type: ignore[arg-type]
    assert len(few) == 6 and few < grid


def test_each_pass_starts_anew() -> None:
    seen = scene()
    selector = InnerReading("one", Received(), 0.25, (0.5,)).selector(seen)
    first = [selector(layer, queries(layer)).keys for layer in range(LAYERS)]
    again = [selector(layer, queries(layer)).keys for layer in range(LAYERS)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_queries_that_are_not_finite_break_nothing() -> None:
    seen = scene()
    selector = InnerReading("one", Received(), 0.25, (2,)).selector(seen)
    for layer in range(LAYERS):
        given = selector(layer, queries(layer) * torch.nan)
    assert given.keys.shape[1] == len(seen.context) - 36
