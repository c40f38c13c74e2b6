"""The circuits that stage two starts from: what they attend to before any training."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from training.circuits import start_circuits
from training.design import build_model, build_tokenizer, vocabulary
from training.vision import HEADS

SHOWN = ("dog", "cat", "boat", "lemon", "robot", "moon")
CLOCKS = ("0:07", "1:41", "2:00", "12:33", "15:59", "40:02")
CELLS = 8


@dataclass
class Theatre:
    """Hold a model with the circuits and what it was made from, as if stage one had aligned features with names."""

    model: LlavaOnevisionForConditionalGeneration
    names: Tensor  # [V, D], the embeddings that stage one knew
    shift: Tensor  # [D], what the projector's bias gained


@pytest.fixture(scope="module")
def theatre() -> Theatre:
    torch.manual_seed(0)
    model = build_model().eval()
    model.set_attn_implementation("eager")
    table = model.get_input_embeddings().weight.data
    table.normal_(0, 1 / 16)
    names, bias = table.clone(), model.model.multi_modal_projector.linear_2.bias.data
    before = bias.clone()
    readers = [(torch.randn(size, 256), min(size - 1, 20)) for size in HEADS.values()]
    ids = [vocabulary().index(name) for name in SHOWN]
    with torch.no_grad():
        start_circuits(model, names[ids].repeat(100, 1) + 0.02 * torch.randn(600, 256), readers)
    return Theatre(model, names, bias - before)


@dataclass
class Seen:
    """Hold attention by layer, [heads, n, n], the tokens ("" for visual ones) and their frames (-1 for none)."""

    attention: list[Tensor]
    said: list[str]
    frame: Tensor

    def mass(self, layer: int, key_head: int, row: int, columns: Tensor) -> float:
        """Give the least share of attention that a query head of a key head gives to columns."""
        return float(self.attention[layer][2 * key_head : 2 * key_head + 2, row][:, columns].sum(-1).min())

    def visual(self, name: str) -> Tensor:
        """Mark the visual tokens of a thing, bool [n]."""
        return (self.frame == SHOWN.index(name)) & torch.tensor([word == "" for word in self.said])


def watch(theatre: Theatre, question: str) -> Seen:
    """Show each thing in a frame of its own, then ask."""
    tokenizer, words = build_tokenizer(), vocabulary()
    table = theatre.model.get_input_embeddings().weight.detach()
    rows: list[Tensor] = []
    said: list[str] = []
    frame: list[int] = []

    def speak(text: str, number: int) -> None:
        tokens = tokenizer.tokenize(text)
        rows.extend(table[words.index(token)] for token in tokens)
        said.extend(tokens)
        frame.extend([number] * len(tokens))

    torch.manual_seed(1)
    speak("watch the stream and answer.", -1)
    for number, (name, clock) in enumerate(zip(SHOWN, CLOCKS, strict=True)):
        speak(clock, number)
        rows.extend(theatre.names[words.index(name)] + theatre.shift + 0.02 * torch.randn(CELLS, 256))
        said.extend([""] * CELLS)
        frame.extend([number] * CELLS)
    speak(question, -1)
    with torch.no_grad():
        out = theatre.model.model.language_model(
            inputs_embeds=torch.stack(rows)[None], output_attentions=True, use_cache=False
        )
    return Seen([layer[0] for layer in out.attentions], said, torch.tensor(frame))


@pytest.mark.parametrize("name", SHOWN)
def test_a_noun_looks_its_own_frame_up(theatre: Theatre, name: str) -> None:
    seen = watch(theatre, f"where was the {name}?")
    row = seen.said.index(name)
    for layer, key_head in ((0, 0), (1, 0), (1, 1)):
        assert seen.mass(layer, key_head, row, seen.visual(name)) > 0.8


def test_a_visual_token_finds_the_time_of_its_own_frame(theatre: Theatre) -> None:
    seen = watch(theatre, "when did you see the boat?")
    for number, clock in enumerate(CLOCKS):
        hours, colon = (seen.said.index(f"{clock.split(':')[0]}"), seen.said.index(f":{clock.split(':')[1]}"))
        token = int(torch.nonzero(seen.visual(SHOWN[number]))[-1, 0])
        first, second = seen.attention[0][2:4, token]
        assert float(first[hours]) > 0.8
        assert float(second[colon]) > 0.8


def test_what_the_answer_starts_at_attends_to_the_noun(theatre: Theatre) -> None:
    seen = watch(theatre, "when did you see the boat?")
    noun = torch.tensor([word == "boat" for word in seen.said])
    for layer, key_head in ((2, 0), (2, 1), (3, 0)):
        assert seen.mass(layer, key_head, len(seen.said) - 1, noun) > 0.9


@pytest.mark.parametrize(("first", "second"), [("dog", "moon"), ("robot", "cat"), ("boat", "moon")])
def test_of_two_things_the_second_knows_that_it_is_joined(theatre: Theatre, first: str, second: str) -> None:
    seen = watch(theatre, f"which came first, the {first} or the {second}?")
    joint = torch.tensor([word == "or" for word in seen.said])
    assert seen.mass(3, 1, seen.said.index(second), joint) > 0.9
    assert seen.mass(3, 1, seen.said.index(first), joint) == 0.0  # it stands before


def test_every_block_starts_by_writing_nothing_but_what_its_circuits_carry(theatre: Theatre) -> None:
    for layer in theatre.model.model.language_model.layers:
        assert not layer.mlp.down_proj.weight.any()
    last = theatre.model.model.language_model.layers[5].self_attn.o_proj.weight
    assert not last[:, 128:].any()  # key head 1 of the last layer has no circuit
    assert last[:, :128].any()
