from types import SimpleNamespace
from typing import Any

import pytest
import torch

from onlooker.errors import ModelError
from onlooker.memory.block import Context
from onlooker.stream.standing.verdict import Judge, read

VOCABULARY = ["<unk>", "▁", "yes", "Yes", "no", "No", "the"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("yes", True),
        ("Yes.", True),
        ("  YES, there is a man in blue", True),
        ("**Yes**", True),
        ("True", True),
        ("no", False),
        ("No, nobody is there.", False),
        ("not seen", False),
        ("none", None),
        ("There is a man", None),
        ("yesterday", None),
        ("nothing", None),
        ("", None),
        ("?!", None),
    ],
)
def test_yes_and_no_are_read_from_the_first_word(text: str, said: bool | None) -> None:
    assert read(text) is said


class Speaker:
    """A backbone of seven words that answers by set chances; spaced: its tokenizer splits off a leading space."""

    def __init__(self, chances: dict[str, float], words: str = "", known: bool = True, spaced: bool = False) -> None:
        self.layout = SimpleNamespace(rotary=SimpleNamespace(axes=1))
        self._chances, self._words, self._known, self._spaced = chances, words, known, spaced
        self.passes = 0
        self.decoded = 0

    def tokenize(self, text: str) -> torch.Tensor:
        word = text.strip()
        if text.startswith(" ") and self._spaced:
            return torch.tensor([1, VOCABULARY.index(word) if word in VOCABULARY else 0])
        return torch.tensor([VOCABULARY.index(word) if self._known and word in VOCABULARY else 0])

    def prefill(self, *_args: object, logits: bool) -> Any:
        assert logits
        self.passes += 1
        chances = torch.full((len(VOCABULARY),), 1e-9)
        for word, chance in self._chances.items():
            chances[VOCABULARY.index(word)] = chance
        return SimpleNamespace(logits=chances.log())

    def generate(self, *_args: object) -> Any:
        self.decoded += 1
        return iter(self._words.split(" "))


def judge(speaker: Speaker) -> Any:
    backbone: Any = speaker
    empty = torch.zeros((1, 1, 0, 2))
    return Judge(backbone).judge(torch.zeros((3, 4)), Context(empty, empty, 0))


@pytest.mark.parametrize("spaced", [False, True])
def test_the_first_tokens_chances_are_the_score(spaced: bool) -> None:
    speaker = Speaker({"yes": 0.2, "Yes": 0.4, "no": 0.1, "No": 0.1, "the": 0.2}, spaced=spaced)
    assert judge(speaker).score == pytest.approx(0.75, abs=1e-5)
    assert speaker.decoded == 0


@pytest.mark.parametrize(("words", "score"), [("Yes", 1.0), ("No", 0.0), ("the", None)])
def test_words_are_read_where_the_first_token_says_little(words: str, score: float | None) -> None:
    verdict = judge(Speaker({"the": 0.7, "yes": 0.3}, words))
    assert (verdict.score, verdict.text) == (score, words)


def test_words_are_read_where_the_tokenizer_has_neither() -> None:
    speaker = Speaker({"yes": 1.0}, "yes", known=False)
    assert judge(speaker).score == 1.0 and speaker.passes == 0


def test_numbers_that_fail_are_an_error() -> None:
    with pytest.raises(ModelError, match="not finite"):
        judge(Speaker({"yes": float("nan")}))
