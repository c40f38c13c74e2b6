"""Pruning for a question, from a memory: what is read, what is left alone, and that nothing stays behind."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from onlooker.errors import SettingsError
from onlooker.frame import Frame
from onlooker.memory.archive import Archive
from onlooker.memory.block import KVBlock
from onlooker.memory.context import assemble
from onlooker.memory.recall import RecallSettings
from onlooker.memory.selection import SelectionSettings
from onlooker.models.backbone import Backbone, HeadId, Sampling
from onlooker.models.loading import load_backbone
from onlooker.pruning.reading_stages import share_of
from onlooker.pruning.readings import READINGS, OuterReading, build_reading
from onlooker.settings import Settings
from onlooker.stream.answering import AnswerStream
from onlooker.stream.ingest import Ingest
from onlooker.stream.reading import Reader, Reading
from onlooker.stream.sieve import Asking, candidates_of, is_visual, rows_of, thinned
from onlooker.theatre.show import Show

HEADS = (HeadId(0, 0), HeadId(1, 1))
QUESTION = "where was the red ball ?"
PRUNED = [name for name in READINGS if name != "none"]
OUTER = [name for name in PRUNED if isinstance(build_reading(name), OuterReading)]


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return list(Show(3, 60, size=56).frames(2.0))[:30]


@pytest.fixture(scope="module")
def stamped(make_tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A model whose blocks begin with the time as text."""
    folder = make_tiny_model(tmp_path_factory.mktemp("stamped"), card={"time_stamps": "clock"})
    return load_backbone(str(folder), device="cpu")


def ingested(backbone: Backbone, frames: Iterable[Frame], **changes: Any) -> Ingest:
    settings = {"codec": "raw", "keyframes": "all", "gate": "always", "recipe": "none", "memory_tokens": 100}
    ingest = Ingest(backbone, Settings(**{**settings, **changes}), HEADS)
    for frame in frames:
        ingest.see(frame)
    return ingest


def read(ingest: Ingest, **changes: Any) -> Reading:
    """Read the question over the same memory under other settings."""
    view = copy.copy(ingest)
    view.settings = replace(ingest.settings, **changes)
    everything = RecallSettings(fusion=view.settings.fusion, selection=SelectionSettings(mass=1.0, least_blocks=9))
    return Reader(view, HEADS, everything).read(QUESTION)


def same(one: Reading, other: Reading) -> bool:
    names = ("keys", "values", "next_position", "block_ids")
    pairs = [(getattr(one.context, name), getattr(other.context, name)) for name in names]
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs)


def stored(archive: Archive) -> list[bytes]:
    return [archive.store.body(group_id) for group_id in archive.group_ids]


@pytest.fixture(scope="module")
def ingest(stamped: Backbone, frames: list[Frame]) -> Ingest:
    return ingested(stamped, frames)


def asking(reading: Reading, ingest: Ingest) -> Asking:
    rows, words = ingest.backbone.question(QUESTION)
    return Asking(rows, words, lambda: pytest.fail("no fallback is needed"))


@pytest.mark.parametrize("name", PRUNED)
def test_nothing_is_written_back(ingest: Ingest, name: str) -> None:
    whole, bytes_before, body = read(ingest), ingest.archive.nbytes, stored(ingest.archive)
    before = {block_id: ingest.archive.get(block_id) for block_id in ingest.archive.block_ids}
    pruned = read(ingest, reading=name, reading_rate=0.25)
    list(ingest.backbone.generate(pruned.features, pruned.positions, pruned.context, Sampling(4), select=pruned.select))
    assert pruned.recalled_tokens < whole.recalled_tokens
    assert ingest.archive.nbytes == bytes_before and stored(ingest.archive) == body
    for block_id, block in before.items():
        now = ingest.archive.get(block_id)
        assert torch.equal(now.keys, block.keys) and torch.equal(now.coords, block.coords)
    assert same(read(ingest), whole)


@pytest.mark.parametrize("name", READINGS)
def test_rate_one_and_none_read_what_was_always_read(ingest: Ingest, name: str) -> None:
    rate = 0.1 if name == "none" else 1.0
    whole, again = read(ingest), read(ingest, reading=name, reading_rate=rate)
    assert same(whole, again) and again.select is None
    assert again.context_tokens == len(whole.context) and again.recalled_tokens == whole.recalled.tokens


@pytest.mark.parametrize("name", OUTER)
def test_text_stays_and_every_token_keeps_its_position(ingest: Ingest, name: str) -> None:
    whole, pruned = read(ingest), read(ingest, reading=name, reading_rate=0.25)
    blocks = ingest.archive.read(whole.recalled.block_ids)
    reading = build_reading(name, 0.25)
    assert isinstance(reading, OuterReading)
    asked = asking(whole, ingest)
    thin = thinned(blocks, asked, ingest.archive, reading)
    count = sum(int(is_visual(block).sum()) for block in blocks)
    assert count >= 30
    assert sum(int(is_visual(block).sum()) for block in thin) == share_of(count, 0.25)
    for block, less in zip(blocks, thin, strict=True):
        text = ~is_visual(block)
        assert torch.equal(less.keys[:, :, ~is_visual(less)], block.keys[:, :, text])
        assert torch.equal(less.positions[~is_visual(less)], block.positions[text])
        assert (less.extent, less.span_us, less.place) == (block.extent, block.span_us, block.place)
        rows = [int((block.positions == position).all(dim=1).nonzero()) for position in less.positions]
        assert torch.equal(less.values, block.values[:, :, rows]) and torch.equal(less.coords, block.coords[rows])
    assert pruned.recalled.tokens == sum(map(len, thin)) == pruned.recalled_tokens
    assert pruned.context.next_position == whole.context.next_position
    parts = [ingest.sink, *thin]
    assert torch.equal(pruned.context.keys[:, :, : sum(map(len, parts))], assemble(ingest.backbone.layout, parts).keys)


@pytest.mark.parametrize("name", OUTER)
def test_what_is_read_is_a_part_of_what_was_read_whole(ingest: Ingest, name: str) -> None:
    """Token for token, rotated as in the whole context: the sink and the newest frames, and text, all of them."""
    whole, pruned = read(ingest), read(ingest, reading=name, reading_rate=0.5)
    place = {tuple(key): row for row, key in enumerate(whole.context.keys[0, 0].tolist())}
    assert len(place) == len(whole.context)
    rows = [place[tuple(key)] for key in pruned.context.keys[0, 0].tolist()]
    assert rows == sorted(rows) and len(rows) == pruned.context_tokens
    assert torch.equal(pruned.context.keys, whole.context.keys[:, :, rows])
    assert torch.equal(pruned.context.values, whole.context.values[:, :, rows])


@pytest.mark.parametrize("name", ["fastv", "pyramiddrop", "feather", "adaptinfer"])
@pytest.mark.parametrize("fusion", ["fused", "embeddings"])
def test_readings_inside_the_model_drop_recalled_tokens_alone(ingest: Ingest, name: str, fusion: str) -> None:
    whole = read(ingest, fusion=fusion)
    pruned = read(ingest, fusion=fusion, reading=name, reading_rate=0.25)
    assert same(whole, pruned) and pruned.select is not None
    blocks = ingest.archive.read(whole.recalled.block_ids)
    visual = sum(int(is_visual(block).sum()) for block in blocks)
    read_by: list[int] = []

    def select(layer: int, queries: Tensor) -> Any:
        context = pruned.select(layer, queries)  # type: ignore[misc]
        read_by.append(context.keys.shape[1])
        return context

    ingest.backbone.prefill(pruned.features, pruned.positions, pruned.context, select=select)
    assert read_by[0] == len(whole.context)
    assert read_by[-1] == len(whole.context) - visual + share_of(visual, 0.25)
    assert pruned.dropped == pytest.approx(len(whole.context) - sum(read_by) / len(read_by))


def test_an_answer_counts_what_was_read(ingest: Ingest) -> None:
    for name in ("cdpruner", "fastv"):
        reading = read(ingest, reading=name, reading_rate=0.25)
        stream = AnswerStream(ingest.backbone, QUESTION, 0, 0.0, reading, Sampling(2), ())
        list(stream)
        usage = stream.answer.usage
        assert usage["context_tokens"] == reading.context_tokens < len(read(ingest).context)
        assert usage["recalled_tokens"] == reading.recalled_tokens > 0
        assert (
            usage["context_tokens"] - usage["recalled_tokens"]
            == len(read(ingest).context) - read(ingest).recalled.tokens
        )


def test_features_are_those_of_the_very_tokens(stamped: Backbone, frames: list[Frame]) -> None:
    """Pictures of noise: each cell is like itself alone, so a wrong order would show."""
    rng = np.random.default_rng(0)
    noise = [Frame(rng.integers(0, 256, (56, 56, 3), dtype=np.uint8), n * 500_000) for n in range(20)]
    ingest = ingested(stamped, noise)
    blocks = [ingest.archive.get(block_id) for block_id in ingest.archive.block_ids]
    asked = Asking(*stamped.question(QUESTION), lambda: pytest.fail("no fallback is needed"))
    found = candidates_of(blocks, asked, ingest.archive).features
    tokens = stamped.encode([frame.image for frame in noise[: len(blocks)]], [0] * len(blocks)).features
    unit = torch.nn.functional.normalize(tokens.float(), dim=1)
    # Stored features have 4 bits a number.
    assert (torch.nn.functional.normalize(found, dim=1) * unit).sum(dim=1).min() > 0.98


def test_where_features_are_gone_raw_keys_stand_in(stamped: Backbone, frames: list[Frame]) -> None:
    ingest = ingested(stamped, frames)
    whole = ingest.archive.get(0)
    less = rows_of(whole, torch.arange(len(whole) - 1))  # as after thinning: one feature more than tokens
    other = ingest.archive.get(1)
    rows, words = stamped.question(QUESTION)
    layer = stamped.layout.layers // 2
    done = stamped.prefill(rows, torch.arange(len(rows))[:, None])
    found = candidates_of([less, other], Asking(rows, words, lambda: done.keys), ingest.archive)
    raw = [
        block.keys[layer, :, row].flatten() for block in (less, other) for row in is_visual(block).nonzero().squeeze(1)
    ]
    mean = torch.stack(raw).mean(dim=0)
    assert torch.allclose(found.features, torch.stack(raw) - mean, atol=1e-5)
    assert torch.allclose(found.words, done.keys[layer].transpose(0, 1).flatten(1)[words] - mean, atol=1e-5)
    assert found.block.tolist() == [0] * (len(raw) - int(is_visual(other).sum())) + [1] * int(is_visual(other).sum())


def test_a_reading_falls_back_for_itself(
    stamped: Backbone, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    for fusion in ("fused", "embeddings"):
        ingest = ingested(stamped, frames, fusion=fusion)
        monkeypatch.setattr(type(ingest.archive.traces), "features_of", lambda self, block_id: None)
        pruned = read(ingest, reading="cdpruner", reading_rate=0.25)
        assert 0 < pruned.recalled_tokens < read(ingest).recalled_tokens
        monkeypatch.undo()


def test_importance_is_the_length_of_values(ingest: Ingest) -> None:
    block = ingest.archive.get(2)
    found = candidates_of([block], asking(read(ingest), ingest), ingest.archive)
    naive = [
        sum(float(block.values[layer, head, row].abs().sum()) for layer in range(3) for head in range(2)) / 6
        for row in is_visual(block).nonzero().squeeze(1).tolist()
    ]
    assert torch.allclose(found.importance, torch.tensor(naive), rtol=1e-5)
    assert torch.equal(found.coords, block.coords[is_visual(block)])


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("name", ["resprune", "hero", "feather", "adaptinfer"])
def test_families_with_three_axes_are_pruned_too(
    make_tiny_model: Callable[..., Path], tmp_path: Path, frames: list[Frame], family: str, name: str
) -> None:
    backbone = load_backbone(str(make_tiny_model(tmp_path, family=family)), device="cpu")
    ingest = ingested(backbone, frames)
    whole, pruned = read(ingest), read(ingest, reading=name, reading_rate=0.4)
    assert pruned.context.next_position == whole.context.next_position
    assert 0 < pruned.recalled_tokens < whole.recalled_tokens
    done = backbone.prefill(pruned.features, pruned.positions, pruned.context, select=pruned.select, logits=True)
    assert done.logits is not None and bool(torch.isfinite(done.logits).all())


def test_blocks_without_visual_tokens_are_left_as_they_are(ingest: Ingest) -> None:
    block: KVBlock = ingest.archive.get(0)
    text = rows_of(block, (~is_visual(block)).nonzero().squeeze(1))
    reading = build_reading("cdpruner", 0.5)
    assert isinstance(reading, OuterReading)
    assert thinned([text], asking(read(ingest), ingest), ingest.archive, reading) == [text]
    assert thinned([], asking(read(ingest), ingest), ingest.archive, reading) == []


def test_wrong_settings_show_at_once(stamped: Backbone) -> None:
    with pytest.raises(SettingsError, match="reading_rate is 0"):
        Settings(reading_rate=0.0)
    with pytest.raises(SettingsError, match="there is no reading 'best'"):
        Reader(Ingest(stamped, Settings(reading="best"), HEADS), HEADS)
