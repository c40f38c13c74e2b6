from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from onlooker.errors import ModelError, SettingsError
from onlooker.models.backbone import Sampling
from onlooker.models.decoding import Decoding, TokenPicker


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, as byte-level BPE has them at its bottom: characters come in parts."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shifted = {byte: chr(256 + number) for number, byte in enumerate(b for b in range(256) if b not in printable)}
    vocabulary = {chr(byte) if byte in printable else shifted[byte]: byte for byte in range(256)}
    model = Tokenizer(BPE(vocab={**vocabulary, "<end>": 256}, merges=[]))
    model.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=model, eos_token="<end>")


TOKENIZER = byte_tokenizer()


@given(ids=st.lists(st.integers(0, 255), max_size=40), stopped=st.booleans())
def test_pieces_join_to_the_whole_for_any_bytes(ids: list[int], stopped: bool) -> None:
    answer = Decoding(iter([*ids, 256] if stopped else ids), TOKENIZER, {256})
    pieces = list(answer)
    assert "".join(pieces) == (TOKENIZER.decode(ids, skip_special_tokens=True) if ids else "")
    assert all(pieces)
    assert answer.token_ids == ids
    assert answer.finish == ("stop" if stopped else "length")


@given(st.text(max_size=20))
def test_characters_are_never_shown_in_part(text: str) -> None:
    pieces = list(Decoding(iter(text.encode("utf-8", "ignore")), TOKENIZER, frozenset()))
    assert "".join(pieces) == text
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert len(pieces) == len(text)


def test_pieces_come_as_soon_as_they_are_known() -> None:
    asked = []

    def tokens() -> Iterator[int]:
        for token in "a€b".encode():
            asked.append(token)
            yield token

    answer = Decoding(tokens(), TOKENIZER, frozenset())
    assert (next(answer), len(asked)) == ("a", 1)
    assert (next(answer), len(asked)) == ("€", 4)
    assert answer.finish is None


def test_a_decoder_that_rewrites_its_past() -> None:
    class Tidy:
        def decode(self, token_ids: list[int], skip_special_tokens: bool = False) -> str:
            return "".join("abc ."[number] for number in token_ids).replace(" .", ".")

    # The space was given before the full stop could take it back; nothing that came later may be lost.
    assert "".join(Decoding(iter([0, 1, 3, 4, 2]), Tidy(), frozenset())) == "ab .c"


def test_ends_for_good() -> None:
    answer = Decoding(iter([65, 256, 66]), TOKENIZER, {256})
    assert list(answer) == ["A"]
    assert list(answer) == []
    assert answer.token_ids == [65]


def test_greedy_takes_the_highest() -> None:
    assert TokenPicker(Sampling(temperature=0.0)).pick(torch.tensor([0.1, 3.0, 2.9])) == 1


def test_sampling_follows_the_probabilities() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    picker = TokenPicker(Sampling(temperature=1.0, seed=3))
    counts = torch.bincount(torch.tensor([picker.pick(logits) for _ in range(4000)]), minlength=4) / 4000
    torch.testing.assert_close(counts, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.03, rtol=0)
    cold = TokenPicker(Sampling(temperature=0.01, seed=3))
    assert {cold.pick(logits) for _ in range(100)} == {0}


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-300])
def test_a_tiny_temperature_takes_the_highest(temperature: float) -> None:
    picker = TokenPicker(Sampling(temperature=temperature))
    assert {picker.pick(torch.tensor([0.1, 3.0, 2.9, -8.0])) for _ in range(20)} == {1}


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, {0}), (0.6, {0, 1}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3})])
def test_nucleus_is_the_fewest_that_reach_the_mass(top_p: float, kept: set[int]) -> None:
    logits = torch.tensor([0.5, 0.25, 0.1875, 0.0625]).log()
    picker = TokenPicker(Sampling(temperature=1.0, top_p=top_p))
    assert {picker.pick(logits) for _ in range(300)} == kept


def test_a_seed_repeats_and_another_differs() -> None:
    logits = torch.zeros(1000)
    draws = [[picker.pick(logits) for _ in range(5)] for picker in map(TokenPicker, map(seeded, (1, 1, 2)))]
    assert draws[0] == draws[1] != draws[2]


def seeded(seed: int) -> Sampling:
    return Sampling(temperature=1.0, seed=seed)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_logits_are_an_error(bad: float) -> None:
    with pytest.raises(ModelError, match="not finite"):
        TokenPicker(Sampling()).pick(torch.tensor([1.0, bad]))


@pytest.mark.parametrize(
    "settings",
    [
        {"max_tokens": 0},
        {"max_tokens": 8193},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
    ],
)
def test_settings_outside_their_limits(settings: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(settings))):
        Sampling(**settings)  # type: ignore[arg-type]
