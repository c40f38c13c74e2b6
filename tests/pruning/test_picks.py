"""Each pick against a version of it that loops over tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.errors import SettingsError
from onlooker.pruning.candidates import Candidates
from onlooker.pruning.picks import Anchored, Drawn, Even, Regions, Relevant, Residual, Unlike
from onlooker.pruning.relevance import best_cosine, by_block, relevance, spread

SEEDS = st.integers(0, 10**6)


def candidates(seed: int, count: int = 30, dim: int = 16, words: int = 3, blocks: int = 4) -> Candidates:
    generator = torch.Generator().manual_seed(seed)
    block = torch.randint(0, blocks, (count,), generator=generator).sort().values
    block = torch.unique(block, return_inverse=True)[1]
    return Candidates(
        features=torch.randn(count, dim, generator=generator),
        coords=torch.stack([block, torch.arange(count), torch.arange(count)], dim=1).int(),
        block=block,
        words=torch.randn(words, dim, generator=generator),
        importance=torch.rand(count, generator=generator),
    )


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    a, b = one.double().numpy(), other.double().numpy()
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@given(SEEDS)
@settings(max_examples=20)
def test_relevance_is_the_best_words_cosine_from_the_least_to_the_most(seed: int) -> None:
    asked = candidates(seed)
    naive = np.array([max(cosine(token, word) for word in asked.words) for token in asked.features])
    assert np.allclose(best_cosine(asked), naive, atol=1e-5)
    assert np.allclose(relevance(asked), (naive - naive.min()) / (naive.max() - naive.min()), atol=1e-5)


def test_where_all_are_alike_all_count_alike() -> None:
    assert spread(torch.full((4,), 3.0)).tolist() == [1.0] * 4
    assert spread(torch.empty(0)).tolist() == []
    alike = candidates(0, words=0)
    assert relevance(alike).tolist() == [1.0] * len(alike)


@given(SEEDS, st.integers(1, 29))
@settings(max_examples=20)
def test_random_rows_are_the_seeds_alone(seed: int, count: int) -> None:
    rows = Drawn(seed).pick(candidates(1), count)
    assert torch.equal(rows, Drawn(seed).pick(candidates(2), count))
    assert len(set(rows.tolist())) == count


def test_random_rows_differ_between_seeds() -> None:
    drawn = {tuple(Drawn(seed).pick(candidates(1), 10).tolist()) for seed in range(20)}
    assert len(drawn) == 20


@given(st.integers(2, 300), st.data())
@settings(max_examples=30)
def test_even_rows_lie_evenly(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, total - 1))
    rows = Even().pick(candidates(0, total, dim=2), count).tolist()
    steps = np.diff([rows[-1] - total, *rows])  # round the end, as if it went on
    assert max(steps) - min(steps) <= 1


@given(SEEDS, st.integers(1, 29))
@settings(max_examples=20)
def test_relevant_rows_are_the_best_ones(seed: int, count: int) -> None:
    asked = candidates(seed)
    ranked = sorted(range(30), key=lambda row: -float(best_cosine(asked)[row]))
    assert Relevant().pick(asked, count).tolist() == sorted(ranked[:count])


@given(SEEDS, st.sampled_from([1.0, 2.0]), st.integers(1, 12))
@settings(max_examples=20)
def test_residual_takes_what_gram_schmidt_leaves(seed: int, alpha: float, count: int) -> None:
    asked = candidates(seed)
    left = (asked.features / asked.features.norm(dim=1, keepdim=True)).double().numpy()
    weight, chosen = relevance(asked).double().numpy() ** alpha, list[int]()
    for _ in range(count):
        gain = (left**2).sum(1) * weight
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        axis = left[chosen[-1]] / np.linalg.norm(left[chosen[-1]])
        left = left - np.outer(left @ axis, axis)
    assert Residual(alpha).pick(asked, count).tolist() == sorted(chosen)


def test_an_anchor_ends_where_the_next_relevant_token_is_nothing_new() -> None:
    asked = candidates(3, 12, dim=12, words=1)
    rows = torch.eye(12)
    word = torch.tensor([1.0, 0.8, 0.8, 0.6, *[0.1] * 8])
    rows[2] = rows[1]  # as relevant as row 1, and the same
    importance = torch.zeros(12)
    importance[[9, 10, 11]] = torch.tensor([1.0, 0.9, 0.8])
    asked = Candidates(rows, asked.coords, asked.block, word[None], importance)
    assert Anchored(share=1.0).pick(asked, 5).tolist() == [0, 1, 9, 10, 11]  # 3 is relevant, but behind the repetition
    assert Anchored(share=0.3).pick(asked, 4).tolist() == [0, 9, 10, 11]


@given(SEEDS, st.integers(1, 29))
@settings(max_examples=20)
def test_unlike_keeps_pivots_and_what_is_least_like_them(seed: int, count: int) -> None:
    asked = candidates(seed)
    pivots = sorted(range(30), key=lambda row: -float(asked.importance[row]))[: min(4, count)]
    others = [row for row in range(30) if row not in pivots]
    like = {row: max(cosine(asked.features[row], asked.features[pivot]) for pivot in pivots) for row in others}
    naive = [*pivots, *sorted(others, key=lambda row: like[row])[: count - len(pivots)]]
    assert Unlike().pick(asked, count).tolist() == sorted(naive)


@given(SEEDS, st.integers(1, 29), st.booleans())
@settings(max_examples=30)
def test_regions_share_out_by_divisors(seed: int, count: int, instructed: bool) -> None:
    asked = candidates(seed)
    importance, blocks = spread(asked.importance), asked.block.tolist()
    sizes = np.bincount(blocks)
    if instructed:
        region = [float(importance[asked.block == b].mean()) for b in range(len(sizes))]
        order = (importance + relevance(asked)).tolist()
    else:
        unit = torch.nn.functional.normalize(asked.features.double(), dim=1)
        words = torch.nn.functional.normalize(asked.words.double(), dim=1).mean(0)
        region = [cosine(unit[asked.block == b].mean(0), words) for b in range(len(sizes))]
        order = importance.tolist()
    heat = np.exp((np.array(region) - max(region)) / 0.1)
    shares = 0.2 * sizes / sizes.sum() + 0.8 * heat / heat.sum()
    # One seat after the other to the block whose next one is the most deserved (Sainte-Laguë).
    ranked = [sorted((r for r in range(30) if blocks[r] == b), key=lambda r: -order[r]) for b in range(len(sizes))]
    given_to = [0] * len(sizes)
    for _ in range(count):
        claims = [shares[b] / (given_to[b] + 0.5) if given_to[b] < sizes[b] else -1.0 for b in range(len(sizes))]
        given_to[int(np.argmax(claims))] += 1
    naive = sorted(row for b, number in enumerate(given_to) for row in ranked[b][:number])
    assert Regions(instructed).pick(asked, count).tolist() == naive


def test_blocks_average_over_their_own_tokens() -> None:
    values = torch.tensor([1.0, 3.0, 10.0, 20.0, 60.0])
    assert by_block(values, torch.tensor([0, 0, 1, 2, 2])).tolist() == [2.0, 2.0, 10.0, 40.0, 40.0]


def test_planes_that_do_not_fit_are_refused() -> None:
    asked = candidates(0)
    with pytest.raises(SettingsError, match="30 candidates of 16 channels need coords"):
        Candidates(asked.features, asked.coords[:5], asked.block, asked.words, asked.importance)
    with pytest.raises(SettingsError, match="words"):
        Candidates(asked.features, asked.coords, asked.block, asked.words[:, :4], asked.importance)
