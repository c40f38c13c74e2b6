"""The parts of training that answers depend on: seeds, labels, packed contexts, the tokenizer."""

import numpy as np
import pytest
import torch

from onlooker.theatre import show
from onlooker.theatre.cast import SPRITES, WORDS
from onlooker.theatre.questions import KINDS, WORDINGS, clock_of
from onlooker.theatre.script import any_scene, event
from training.contexts import IGNORED, TELLING, Writer, collate
from training.design import SYSTEM_PROMPT, build_tokenizer, vocabulary
from training.scenes import SCENE_US, Filmed
from training.vision import CELLS, NAMES, dense_labels, overlap, sine_cosine


@pytest.fixture(scope="module")
def writer() -> Writer:
    """Write from a bank of random features."""
    rng = np.random.default_rng(0)
    bank = []
    for _ in range(120):
        scene = any_scene(rng, 0, SCENE_US)
        moments = tuple(np.linspace(0, SCENE_US - 1, 5 if scene.kind in ("move", "busy") else 2).astype(int).tolist())
        bank.append(Filmed(scene, torch.randn(len(moments), CELLS, 256, dtype=torch.bfloat16), moments))
    return Writer(bank, build_tokenizer(), seed=1)


def test_the_vocabulary_has_each_token_once_and_all_of_the_cast() -> None:
    tokens = vocabulary()
    assert len(tokens) == len(set(tokens))
    assert {*SPRITES, *WORDS} <= set(tokens)


def test_wordings_lose_nothing_that_tells_their_sense() -> None:
    tokenizer = build_tokenizer()
    known = set(tokenizer.get_vocab())
    assert {*TELLING, *SPRITES} <= known
    for kind in KINDS:
        for wording in WORDINGS[kind][:-1]:
            words = tokenizer.tokenize(wording.format(x="fox", y="dog", xs="foxes"))
            assert words.count("<unk>") <= 1, wording


@pytest.mark.parametrize("text", ["the dog and the cat", "at 3:25", "at 1:03:25", "4 foxes", "not seen", "top left"])
def test_answers_survive_the_tokenizer(text: str) -> None:
    tokenizer = build_tokenizer()
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_unknown_words_become_unk_and_break_nothing() -> None:
    tokenizer = build_tokenizer()
    assert "<unk>" in tokenizer.tokenize("zorgle 東京 🙂 dog")


def test_overlap_shares_sum_to_the_area() -> None:
    shares = overlap((0.4, 0.6), 0.3, 0.2)
    assert shares.sum() / CELLS == pytest.approx(0.06)
    assert shares.max() <= 1.0


def test_dense_labels_name_the_cells_that_a_thing_covers() -> None:
    scene = event(np.random.default_rng(1), "solo", ["dog"], 0, SCENE_US)
    labels = dense_labels(scene, 0)
    named = labels["name"]
    assert (named == NAMES.index("dog")).any()
    assert set(named.tolist()) <= {NAMES.index("dog"), len(NAMES), IGNORED}
    assert (labels["place"] != IGNORED).sum() == (named == NAMES.index("dog")).sum()


def test_position_embeddings_differ_in_every_cell() -> None:
    table = sine_cosine(8, 192)
    assert torch.unique(table.round(decimals=4), dim=0).shape[0] == 64


@pytest.mark.parametrize("pattern", [0, 1, 2])
def test_a_sample_shows_no_question_to_another_and_nothing_of_the_future(writer: Writer, pattern: int) -> None:
    sample = writer.sample(frames=9, questions=4)
    sample = type(sample)(**{f: getattr(sample, f) for f in sample.__slots__} | {"pattern": pattern})
    mask = sample.mask()
    assert not np.triu(mask, 1).any()
    assert mask.diagonal().all()
    part = sample.part
    other = (part[:, None] != part[None, :]) & (part[None, :] != -1)
    assert not mask[other].any()
    asked = part >= 0
    assert mask[np.ix_(asked, ~asked)].all()  # a question sees all of the context
    frames = sample.frame
    context = ~asked
    if pattern == 1:
        far = frames[:, None] - frames[None, :] >= sample.window
        assert not mask[far & context[:, None] & context[None, :] & (frames[None, :] >= 0)].any()


def test_labels_are_the_answers_that_end(writer: Writer) -> None:
    sample = writer.sample(frames=4, questions=5)
    eos = writer.tokenizer.eos_token_id
    for number in range(5):
        told = sample.labels[(sample.part == number) & (sample.labels != IGNORED)]
        assert told[-1] == eos
        assert len(told) >= 2
    assert (sample.labels[sample.part == -1] == IGNORED).all()


def test_collate_pads_without_changing_a_sample(writer: Writer) -> None:
    samples = [writer.sample(2, 3), writer.sample(6, 3)]
    batch = collate(samples)
    for row, sample in enumerate(samples):
        n = len(sample.ids)
        assert torch.equal(batch["ids"][row, :n], torch.from_numpy(sample.ids))
        assert torch.equal(batch["mask"][row, 0, :n, :n], torch.from_numpy(sample.mask()))
        assert (batch["labels"][row, n:] == IGNORED).all()
    assert batch["features"].shape[0] == int((batch["ids"] == -1).sum())


def test_the_opening_is_what_the_chat_template_says(writer: Writer) -> None:
    sample = writer.sample(1, 1)
    messages = [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM_PROMPT}]},
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "x"}]},
    ]
    text = writer.tokenizer.apply_chat_template(messages, tokenize=False).split("<video>")[0]
    opening = writer.tokenizer(text)["input_ids"]
    assert sample.ids[: len(opening)].tolist() == opening


def test_times_are_written_as_the_backbone_stamps_them() -> None:
    from onlooker.models.card import clock_text

    for time_us in (0, 59_999_999, 60_000_000, 3_599_000_000, 3_600_000_000, 86_399_000_000):
        assert clock_text(time_us).strip() == clock_of(time_us)


def test_training_and_evaluation_draw_from_different_seeds() -> None:
    import training.contexts
    import training.scenes
    import training.vision

    sources = [
        module.__loader__.get_source(module.__name__)
        for module in (training.vision, training.scenes, training.contexts)
    ]
    assert all(f"{show.EVALUATION:#x}".lower() not in source.lower() for source in sources)
