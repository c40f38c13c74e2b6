"""Recall finds the blocks that a question needs."""

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from onlooker.errors import RecallError, SettingsError
from onlooker.memory.archive import Archive
from onlooker.memory.block import KVBlock, KVLayout, RotarySpec
from onlooker.memory.codecs.choice import codec_of
from onlooker.memory.recall import Fusion, Recall, Recalled, RecallSettings
from onlooker.memory.selection import SelectionSettings
from onlooker.memory.traces import Traces
from onlooker.models.backbone import HeadId

HEAD_DIM, FEATURE_DIM, TOKENS, SECOND = 32, 64, 8, 1_000_000
LAYOUT = KVLayout(2, 4, 2, HEAD_DIM, torch.float32, RotarySpec(tuple(0.5**i for i in range(HEAD_DIM // 2))), "test")
HEADS = (HeadId(0, 0), HeadId(0, 1), HeadId(1, 3))  # the first two share a key head
ONE_BY_ONE = SelectionSettings(neighbours=0, mass=1.0)


class Scene:
    """A noisy stream with things planted in single tokens of blocks, and questions for them."""

    def __init__(
        self,
        blocks: int = 200,
        plants: Mapping[str, Sequence[int]] | None = None,
        lean: Mapping[str, Sequence[int]] | None = None,
        seed: int = 0,
    ) -> None:
        self.rng = torch.Generator().manual_seed(seed)
        names = sorted(plants or {})
        self.key_of = {name: self.noise(HEAD_DIM) for name in names}
        self.look_of = {name: self.noise(FEATURE_DIM) for name in names}
        bias = self.noise(2, 2, 1, HEAD_DIM) * 20
        self.archive = Archive(100_000_000, Traces(LAYOUT, HEADS, FEATURE_DIM, shard_rows=512), codec_of("raw", LAYOUT))
        for block_id in range(blocks):
            keys = self.noise(2, 2, TOKENS, HEAD_DIM) + bias
            features = self.noise(TOKENS, FEATURE_DIM)
            for name in names:
                if block_id in (plants or {})[name]:
                    keys[:, :, 3] += 2.0 * self.key_of[name]
                    features[3] += 3.0 * self.look_of[name]
                if block_id in (lean or {}).get(name, ()):
                    keys += 0.4 * self.key_of[name]
            positions = torch.arange(TOKENS)[:, None]
            coords = torch.zeros(TOKENS, 3, dtype=torch.int32)
            span = (block_id * SECOND, (block_id + 1) * SECOND)
            block = KVBlock(block_id, keys, torch.zeros_like(keys), positions, TOKENS, coords, span)
            self.archive.append(block, features)

    def noise(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.rng)

    def question(self, *names: str, heads: tuple[HeadId, ...] = HEADS) -> tuple[dict[HeadId, Tensor], Tensor, Tensor]:
        """Four rows that mean nothing, one row for each thing, one row of template."""
        rows = 5 + len(names)
        queries = {head: self.noise(rows, HEAD_DIM) * 0.1 for head in heads}
        embeddings = self.noise(rows, FEATURE_DIM) * 0.1
        for row, name in enumerate(names, start=4):
            for vectors in queries.values():
                vectors[row] += self.key_of[name]
            embeddings[row] += self.look_of[name]
        words = torch.ones(rows, dtype=torch.bool)
        words[-1] = False
        return queries, embeddings, words

    def ask(
        self,
        *names: str,
        settings: RecallSettings | None = None,
        blocks: int = 8,
        since_us: int | None = None,
        until_us: int | None = None,
        exclude: tuple[int, ...] = (),
    ) -> Recalled:
        recall = Recall(self.archive, settings or RecallSettings(selection=ONE_BY_ONE))
        queries, embeddings, words = self.question(*names)
        return recall.search(
            queries,
            embeddings,
            words,
            blocks * TOKENS,
            since_us=since_us,
            until_us=until_us,
            exclude=exclude,
        )


@pytest.mark.parametrize("fusion", ["heads", "embeddings", "fused"])
def test_a_planted_token_is_found_among_noise(fusion: Fusion) -> None:
    scene = Scene(plants={"dog": [57]})
    settings = RecallSettings(fusion=fusion, selection=ONE_BY_ONE)
    found = scene.ask("dog", settings=settings, blocks=1)
    assert found.block_ids == (57,)
    assert found.relevance > found.chance
    assert found.tokens == TOKENS


def test_block_means_do_not_find_it() -> None:
    # blocks 100 to 119 lean towards the dog with every token a little, so their means outdo one clear token's block
    scene = Scene(plants={"dog": [57]}, lean={"dog": range(100, 120)})
    pooled = torch.stack([scene.archive.get(i).keys.mean(dim=(0, 1, 2)) for i in range(200)])
    order = ((pooled - pooled.mean(dim=0)) @ scene.key_of["dog"]).argsort(descending=True).tolist()
    assert order.index(57) >= 10
    assert scene.ask("dog", blocks=1).block_ids == (57,)


@pytest.mark.parametrize("fusion", ["heads", "embeddings", "fused"])
def test_two_things_both_get_their_blocks(fusion: Fusion) -> None:
    scene = Scene(plants={"dog": list(range(40, 80)), "apple": [150]})
    settings = RecallSettings(fusion=fusion, selection=ONE_BY_ONE)
    found = scene.ask("dog", "apple", settings=settings, blocks=6)
    assert 150 in found.block_ids
    assert set(found.block_ids) & set(range(40, 80))


def test_time_filters_hold_for_hits_and_neighbours() -> None:
    scene = Scene(plants={"dog": [20, 100, 180]})
    settings = RecallSettings(selection=SelectionSettings(neighbours=2, mass=1.0))
    found = scene.ask("dog", settings=settings, since_us=100 * SECOND, until_us=150 * SECOND, blocks=5)
    assert 100 in found.block_ids
    assert all(100 <= block_id < 150 for block_id in found.block_ids)
    assert scene.ask("dog", since_us=10_000 * SECOND) == Recalled()
    assert 100 not in scene.ask("dog", exclude=(100,)).block_ids


def test_blocks_are_in_time_order_and_neighbours_come_along() -> None:
    scene = Scene(plants={"dog": [30, 120]})
    settings = RecallSettings(selection=SelectionSettings(neighbours=1, least_blocks=2))
    found = scene.ask("dog", settings=settings, blocks=6)
    assert found.block_ids == (29, 30, 31, 119, 120, 121)
    assert found.relevance >= max(found.scores)


def test_what_was_never_seen_is_not_above_chance() -> None:
    for seed in range(5):
        scene = Scene(plants={"dog": [57], "unicorn": []}, seed=seed)
        unseen, seen = scene.ask("unicorn"), scene.ask("dog")
        assert unseen.relevance <= unseen.chance < seen.relevance


def test_likeness_is_the_best_cosine_of_a_word_with_what_may_be_read() -> None:
    scene = Scene(plants={"dog": [57], "unicorn": []})
    _, embeddings, words = scene.question("dog")
    embeddings[-1] = 5.0 * scene.look_of["unicorn"]  # no word of the question
    features = {57: scene.look_of["dog"] * 3.0}
    recall = Recall(scene.archive, RecallSettings(fusion="embeddings", selection=ONE_BY_ONE))
    found = recall.search({}, embeddings, words, 8 * TOKENS)
    cosine = torch.nn.functional.cosine_similarity(embeddings[4], features[57], dim=0)
    assert found.likeness is not None
    assert 0.8 < found.likeness <= 1.0 and found.likeness == pytest.approx(float(cosine), abs=0.2)
    without = recall.search({}, embeddings, words, 8 * TOKENS, exclude=(57,))
    assert without.likeness is not None and without.likeness < 0.6
    assert scene.ask("dog").likeness == pytest.approx(found.likeness, abs=0.1)
    assert scene.ask("unicorn").likeness == pytest.approx(without.likeness, abs=0.2)
    assert scene.ask("dog", settings=RecallSettings(fusion="heads")).likeness is None


def test_cut_off_hits_change_the_choice_little() -> None:
    scene = Scene(plants={"dog": [57], "apple": [90]})
    settings = RecallSettings(top_tokens=20, selection=ONE_BY_ONE)
    assert {57, 90} <= set(scene.ask("dog", "apple", settings=settings).block_ids)


def test_heads_that_share_a_key_head_stay_separate() -> None:
    scene = Scene(plants={"dog": [57], "apple": [90]})
    rows = torch.zeros(1, HEAD_DIM)
    queries = {HEADS[0]: rows + scene.key_of["dog"], HEADS[1]: rows + scene.key_of["apple"]}
    settings = RecallSettings(fusion="heads", selection=ONE_BY_ONE)
    found = Recall(scene.archive, settings).search(
        queries, torch.zeros(1, FEATURE_DIM), torch.ones(1, dtype=torch.bool), 2 * TOKENS
    )
    assert found.block_ids == (57, 90)


def test_forgotten_blocks_are_not_recalled() -> None:
    scene = Scene(plants={"dog": [2, 150]})
    assert scene.archive.forget(until_us=10 * SECOND) == tuple(range(10))
    found = scene.ask("dog")
    assert 150 in found.block_ids
    assert min(found.block_ids) >= 10


def test_little_to_remember() -> None:
    assert Scene(blocks=0, plants={"dog": []}).ask("dog") == Recalled()
    single = Scene(blocks=1, plants={"dog": [0]})
    assert single.ask("dog").block_ids == (0,)
    assert single.ask("dog", blocks=0).block_ids == ()
    scene = Scene(blocks=5)
    empty = {head: torch.zeros(0, HEAD_DIM) for head in HEADS}
    nothing = torch.zeros(0, dtype=torch.bool)
    assert Recall(scene.archive).search(empty, torch.zeros(0, FEATURE_DIM), nothing, 100) == Recalled()
    no_words = torch.zeros(2, dtype=torch.bool)
    assert Recall(scene.archive).search({}, torch.ones(2, FEATURE_DIM), no_words, 100) == Recalled()


def test_without_heads_embeddings_answer_alone() -> None:
    scene = Scene(plants={"dog": [57]})
    _, embeddings, words = scene.question("dog")
    recall = Recall(scene.archive, RecallSettings(selection=ONE_BY_ONE))
    assert recall.search({}, embeddings, words, TOKENS).block_ids == (57,)


def test_wrong_input_is_refused() -> None:
    scene = Scene(blocks=3)
    queries, embeddings, words = scene.question()
    recall = Recall(scene.archive)
    with pytest.raises(RecallError, match="no keys are indexed for head 0 of layer 1"):
        recall.search({HeadId(1, 0): queries[HEADS[0]]}, embeddings, words, 100)
    with pytest.raises(RecallError, match="needs vectors"):
        recall.search(queries, embeddings[:, :-1], words, 100)
    with pytest.raises(SettingsError, match="top_tokens"):
        RecallSettings(top_tokens=0)
