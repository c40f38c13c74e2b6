"""The start of stage two: attention heads of the first three layers that already look things up.

From a random start the model learns what stands in a picture in minutes, and which thing a question names within one
picture; looking the thing up among many frames was not learned in half an hour. So five circuits are set by hand, and
trained on from there like every other weight:

- layers 0 and 1, key head 0: a noun attends to the visual tokens that stage one aligned with its embedding. Query and
  key weights are one projection on what tells names apart; one channel tells visual tokens from words, because else a
  noun would match itself best. Only slow rotary channels take part: turned by the distance between question and frame,
  the fast ones would match nothing.
- layer 0, key head 0 carries to the noun what the linear heads of stage one read (place, colour, neighbour, ...);
- layer 0, key head 1: a visual token attends to the clock before its frame (nearness by rotary channels of middling
  speed) and takes the time along;
- layer 1, key head 0 carries that time to the noun;
- layer 2: every token of a question, so also the one that the answer starts at, attends to the nouns in it; key head
  0 takes the attributes along, key head 1 the time.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from onlooker.bench.cast import SPRITES

from .design import vocabulary
from .vision import NAMES

MATCH_GAIN = 1.2
GATE_QUERY, GATE_KEY = 8.0, 7.0
NEAR = 6.3
CARRIED = 0.1


def start_circuits(
    model: LlavaOnevisionForConditionalGeneration, features: Tensor, readers: Sequence[tuple[Tensor, int]]
) -> None:
    """Set the circuits.

    features: visual tokens [n, D].  readers: stage one's linear heads [m, D], each with how many of its directions are
    carried.
    """
    words = vocabulary()
    clock = [words.index(f":{n:02d}") for n in range(60)] + [words.index(str(n)) for n in range(60)]
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        names = table[[words.index(name) for name in NAMES]]
        layers = model.model.language_model.layers
        dim = layers[0].self_attn.head_dim
        others = torch.ones(len(table), dtype=torch.bool)
        others[clock] = False
        attributes = shared(readers, dim)
        times = leading(table[clock] - table[clock].mean(0), dim)
        for number, carried in ((0, attributes), (1, times)):
            layer = layers[number]
            norm = layer.input_layernorm
            match(layer.self_attn, dim, names, tell_apart(norm(features), norm(table)))
            carry(layer.self_attn, dim, 0, carried)
        things = [words.index(name) for name in SPRITES]
        rest = torch.ones(len(table), dtype=torch.bool)
        rest[things] = False
        lookup = tell_apart(norm(table[things]), norm(torch.cat((table[rest], features))))
        for key_head, carried in ((0, attributes), (1, times)):
            attend_marked(layers[2].self_attn, dim, key_head, lookup)
            carry(layers[2].self_attn, dim, key_head, carried)
        first = layers[0]
        telling = tell_apart(
            first.input_layernorm(table[clock]), first.input_layernorm(torch.cat((table[others], features)))
        )
        attend_near(first.self_attn, dim, telling)
        carry(first.self_attn, dim, 1, times)


def match(attention: torch.nn.Module, dim: int, names: Tensor, telling: Tensor) -> None:
    """Make key head 0 and its query heads match names among what `telling` [D + 1] marks."""
    gate = dim // 2 - 1  # the slowest channel
    slow = torch.arange(dim // 2 * 9 // 16, gate)
    channels = torch.cat((slow, slow + dim // 2))
    _, size, axes = torch.linalg.svd(names - names.mean(0))
    size, axes = size[: len(channels)], axes[: len(channels)]
    rows = torch.randn(dim, names.shape[1]) * 0.01
    rows[channels] = axes / (size / size[-1]).sqrt()[:, None] * MATCH_GAIN  # half whitened
    attention.k_proj.weight[:dim] = rows
    attention.k_proj.bias[:dim] = 0
    attention.k_proj.weight[gate] = GATE_KEY * telling[:-1]
    attention.k_proj.bias[gate] = GATE_KEY * telling[-1]
    for head in heads_of(attention, 0):
        attention.q_proj.weight[head * dim : (head + 1) * dim] = rows
        attention.q_proj.bias[head * dim : (head + 1) * dim] = 0
        attention.q_proj.weight[head * dim + gate] = 0
        attention.q_proj.bias[head * dim + gate] = GATE_QUERY


def attend_marked(attention: torch.nn.Module, dim: int, key_head: int, telling: Tensor) -> None:
    """Make a key head and its query heads attend to what `telling` [D + 1] marks, wherever it stands."""
    gate = dim // 2 - 1
    first = key_head * dim
    attention.k_proj.weight[first + gate] = GATE_KEY * telling[:-1]
    attention.k_proj.bias[first + gate] = GATE_KEY * telling[-1]
    for head in heads_of(attention, key_head):
        attention.q_proj.weight[head * dim + gate] = 0
        attention.q_proj.bias[head * dim + gate] = GATE_QUERY


def attend_near(attention: torch.nn.Module, dim: int, telling: Tensor) -> None:
    """Make key head 1 and its query heads attend to the nearest of what `telling` [D + 1] marks."""
    gate, middling = dim // 2 - 1, slice(6, 13)
    key = torch.randn(dim, telling.shape[0] - 1) * 0.01
    key[gate] = GATE_KEY * telling[:-1]
    bias = torch.zeros(dim)
    bias[gate] = GATE_KEY * telling[-1]
    bias[middling] = NEAR
    attention.k_proj.weight[dim : 2 * dim] = key
    attention.k_proj.bias[dim : 2 * dim] = bias
    for head in heads_of(attention, 1):
        attention.q_proj.weight[head * dim : (head + 1) * dim] = torch.randn(dim, telling.shape[0] - 1) * 0.01
        attention.q_proj.bias[head * dim : (head + 1) * dim] = 0
        attention.q_proj.bias[head * dim : (head + 1) * dim][middling] = NEAR
        attention.q_proj.bias[head * dim + gate] = GATE_QUERY


def carry(attention: torch.nn.Module, dim: int, key_head: int, basis: Tensor) -> None:
    """Make a key head's values carry the subspace of `basis` [dim, D] to where its query heads write."""
    attention.v_proj.weight[key_head * dim : (key_head + 1) * dim] = basis
    attention.v_proj.bias[key_head * dim : (key_head + 1) * dim] = 0
    heads = heads_of(attention, key_head)
    for head in heads:
        attention.o_proj.weight[:, head * dim : (head + 1) * dim] = basis.T * (CARRIED / len(heads))


def heads_of(attention: torch.nn.Module, key_head: int) -> range:
    """List the query heads that share a key head."""
    group = attention.num_key_value_groups
    return range(key_head * group, (key_head + 1) * group)


def leading(rows: Tensor, count: int) -> Tensor:
    """Give the leading directions of rows [m, D], orthonormal [count, D]."""
    return torch.linalg.svd(rows.float(), full_matrices=False)[2][:count]


def shared(readers: Sequence[tuple[Tensor, int]], count: int) -> Tensor:
    """Give an orthonormal basis [count, D] with room for every reader: pairs of rows [m, D] and its directions."""
    chosen = torch.cat([leading(rows - rows.mean(0), most) for rows, most in readers])
    basis: Tensor = torch.linalg.qr(chosen.T)[0].T[:count]
    return basis


def tell_apart(these: Tensor, those: Tensor, ridge: float = 20.0) -> Tensor:
    """Fit weights and a last bias [D + 1] that give about 1 for `these` [n, D] and 0 for `those` [m, D]."""
    rows = torch.cat((these, those))
    rows = torch.cat((rows, torch.ones(len(rows), 1)), dim=1)
    wanted = torch.cat((torch.ones(len(these)), torch.zeros(len(those))))
    weight = torch.cat((torch.ones(len(these)), torch.full((len(those),), len(these) / len(those))))
    weighted = (rows * weight[:, None]).T
    return torch.linalg.solve(weighted @ rows + ridge * torch.eye(rows.shape[1]), weighted @ wanted)
