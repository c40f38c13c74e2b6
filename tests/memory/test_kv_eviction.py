"""Which visual tokens stay by keys and values, against the formulas written plainly."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from onlooker.errors import SettingsError
from onlooker.memory.block import KVBlock
from onlooker.memory.kv_eviction import InfiniPotV, SinkBuckets, received, shared, thinned_block, visual_count


def block_of(number: int, cells: list[int], axes: int = 1, seed: int = 0, text: int = 2) -> KVBlock:
    """Make a block of `text` stamp tokens, visual tokens at these cells of a 3-wide grid, and a marker behind them."""
    count = text + len(cells) + 1
    keys, values = torch.randn(2, 3, 2, count, 4, generator=torch.Generator().manual_seed(seed * 1000 + number))
    coords = torch.full((count, 3), -1, dtype=torch.int32)
    for row, cell in enumerate(cells):
        coords[text + row] = torch.tensor([0, cell // 3, cell % 3])
    positions = torch.arange(count)[:, None].repeat(1, axes) * (1 if axes == 1 else 2)
    extent = count if axes == 1 else 9
    return KVBlock(number, keys, values, positions, extent, coords, (number * 10, number * 10 + 10), number * 40)


def visual(block: KVBlock) -> list[int]:
    return [row for row in range(len(block)) if int(block.coords[row, 0]) >= 0]


def cosine(one: Tensor, other: Tensor) -> float:
    return float(one @ other / (one.norm() * other.norm()))


def plain_infinipot(blocks: list[KVBlock], room: int, newest: int) -> dict[int, list[int]]:
    """InfiniPot-V a token and a head at a time; the last `newest` blocks are recent and fit the quota whole."""
    tokens = [(n, row) for n, block in enumerate(blocks) for row in visual(block)]
    recent = [(n, row) for n, row in tokens if n >= len(blocks) - newest]
    older = [one for one in tokens if one not in recent]
    heads = [(layer, head) for layer in range(3) for head in range(2)]

    def likeness(n: int, row: int) -> float:
        place = blocks[n].coords[row].tolist()
        same = [(m, other) for m, other in recent if blocks[m].coords[other].tolist() == place]
        if not same:
            return -2.0
        return sum(cosine(blocks[n].keys[at][row], blocks[m].keys[at][other]) for at in heads for m, other in same) / (
            len(same) * len(heads)
        )

    def length(n: int, row: int) -> float:
        total = 0.0
        for at in heads:
            mean = sum(float(blocks[m].values[at][other].norm()) for m, other in tokens) / len(tokens)
            total += float(blocks[n].values[at][row].norm()) / mean
        return total

    chosen = recent + sorted(older, key=lambda one: likeness(*one))[: room // 2 - len(recent)]
    rest = sorted((one for one in tokens if one not in chosen), key=lambda one: -length(*one))
    chosen += rest[: room - len(chosen)]
    return {
        block.block_id: [place for place, row in enumerate(visual(block)) if (n, row) in chosen]
        for n, block in enumerate(blocks)
    }


@pytest.mark.parametrize("seed", range(6))
def test_infinipot_is_its_formula_written_plainly(seed: int) -> None:
    blocks = [block_of(n, list(range(6)), seed=seed) for n in range(8)]
    blocks[2] = block_of(2, [0, 4, 7], seed=seed)  # thin already, with a cell that the newest frames do not show
    kept = InfiniPotV().keep(blocks, 30)
    expected = plain_infinipot(blocks, 30, newest=1)  # 6 of 45 are recent; 12 would be more than a quarter
    assert {one: rows.tolist() for one, rows in kept.items()} == expected
    assert kept[7].tolist() == list(range(6)) and 2 in kept[2].tolist()
    assert sum(map(len, kept.values())) == 30


def test_the_newest_quarter_stays_whole_and_what_repeats_it_goes_first() -> None:
    blocks = [block_of(n, list(range(6))) for n in range(8)]
    for repeat in (1, 4):  # the same keys as the newest two, which are alike
        blocks[repeat].keys[:] = blocks[6].keys
    blocks[7].keys[:] = blocks[6].keys
    for block in blocks:
        block.values[:] = 1.0  # nothing to tell tokens apart by
    kept = InfiniPotV(temporal_share=1.0).keep(blocks, 36)
    assert {one for one, rows in kept.items() if len(rows) == 6} == {0, 2, 3, 5, 6, 7}
    assert not len(kept[1]) and not len(kept[4])


def test_a_long_value_saves_a_token_that_is_not_new() -> None:
    blocks = [block_of(n, list(range(6))) for n in range(8)]
    for block in blocks[1:]:
        block.keys[:] = blocks[0].keys
    blocks[3].values[:, :, 4] *= 50.0  # its third visual token
    for room in (2, 10, 20):
        assert 2 in InfiniPotV().keep(blocks, room)[3].tolist()


def test_no_layer_with_long_values_decides_alone() -> None:
    blocks = [block_of(n, list(range(6))) for n in range(4)]
    large = [KVBlock(b.block_id, b.keys, b.values.clone(), b.positions, b.extent, b.coords, b.span_us) for b in blocks]
    for block in large:
        block.values[1] *= 1000.0
    for block, other in zip(blocks, large, strict=True):
        one, two = InfiniPotV().keep(blocks, 9), InfiniPotV().keep(large, 9)
        assert one[block.block_id].tolist() == two[other.block_id].tolist()


@pytest.mark.parametrize("seed", range(4))
def test_attention_received_is_softmax_of_key_by_key_without_oneself(seed: int) -> None:
    keys = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(seed))
    expected = [0.0] * 5
    for layer in range(3):
        for head in range(2):
            for i in range(5):
                weights = [math.exp(float(keys[layer, head, i] @ keys[layer, head, j]) / 2.0) for j in range(5)]
                weights[i] = 0.0
                for j in range(5):
                    expected[j] += weights[j] / sum(weights) / (3 * 2 * 5)
    assert torch.allclose(received(keys), torch.tensor(expected), atol=1e-5)
    assert received(keys[:, :, :1]).tolist() == [0.0] and received(keys[:, :, :0]).tolist() == []


def test_every_stretch_of_the_stream_keeps_its_most_attended() -> None:
    blocks = [block_of(n, list(range(6))) for n in range(8)]
    kept = SinkBuckets(buckets=4).keep(blocks, 20)
    for first in range(0, 8, 2):
        keys = torch.cat([block.keys[:, :, visual(block)] for block in blocks[first : first + 2]], dim=2)
        best = sorted(received(keys).argsort(descending=True)[:5].tolist())
        assert kept[first].tolist() + [6 + row for row in kept[first + 1].tolist()] == best


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.integers(0, 60))
def test_room_is_shared_alike_and_none_is_wasted(counts: list[int], room: int) -> None:
    shares = shared(counts, room)
    assert all(0 <= share <= count for share, count in zip(shares, counts, strict=True))
    assert sum(shares) == min(room, sum(counts))
    short = [share for share, count in zip(shares, counts, strict=True) if share < count]
    assert max(short, default=0) - min(short, default=0) <= 1
    assert all(share <= min(short, default=99) + 1 for share, n in zip(shares, counts, strict=True) if share == n)


@given(
    st.sampled_from([InfiniPotV(), InfiniPotV(temporal_share=1.0, recent_share=1.0), SinkBuckets(), SinkBuckets(1)]),
    st.lists(st.sets(st.integers(0, 8)), min_size=1, max_size=7),
    st.integers(1, 60),
)
def test_as_much_stays_as_there_is_room_for(method: InfiniPotV | SinkBuckets, shown: list[set[int]], room: int) -> None:
    blocks = [block_of(3 * n, sorted(cells)) for n, cells in enumerate(shown)]
    total = sum(map(len, shown))
    kept = method.keep(blocks, room)
    assert list(kept) == [block.block_id for block in blocks]
    assert sum(map(len, kept.values())) == min(room, total)
    for block in blocks:
        rows = kept[block.block_id].tolist()
        assert rows == sorted(set(rows)) and all(0 <= row < visual_count(block) for row in rows)


def test_a_token_that_is_no_number_does_not_take_the_others_with_it() -> None:
    blocks = [block_of(n, list(range(6))) for n in range(6)]
    blocks[5].keys[:, :, 3] = math.nan
    blocks[2].values[:, :, 3] = math.inf
    for method in (InfiniPotV(), SinkBuckets()):
        kept = method.keep(blocks, 18)
        assert sum(map(len, kept.values())) == 18
        assert min(len(rows) for rows in kept.values()) < 6


@pytest.mark.parametrize("axes", [1, 3])
def test_a_thinned_block_keeps_its_text_and_its_places(axes: int) -> None:
    block = block_of(4, [0, 2, 3, 5, 8], axes)
    thin = thinned_block(block, torch.tensor([1, 4]))
    rows = [0, 1, 3, 6, 7]
    assert torch.equal(thin.keys, block.keys[:, :, rows]) and torch.equal(thin.values, block.values[:, :, rows])
    assert torch.equal(thin.coords, block.coords[rows])
    if axes == 1:
        assert thin.positions[:, 0].tolist() == [0, 1, 2, 3, 4] and thin.extent == 5
    else:
        assert torch.equal(thin.positions, block.positions[rows]) and thin.extent == block.extent
    assert (thin.block_id, thin.span_us, thin.place) == (block.block_id, block.span_us, block.place)
    assert visual_count(thin) == 2 and len(block) == 8


def test_settings_outside_their_limits_are_refused() -> None:
    for make in (lambda: InfiniPotV(target=0.0), lambda: InfiniPotV(temporal_share=1.5), lambda: SinkBuckets(0)):
        with pytest.raises(SettingsError):
            make()
