"""Order, set into a model that tells times: three idle key heads, and a little of one in use, by least squares.

Training alone got which of two things came first right four times in five.  Both nouns of a question know their time,
so the times can be compared, in attention: a score is a product, and sin(a - b) = sin a cos b - cos a sin b.

| layer | part | attends, from -> to | writes |
| --- | --- | --- | --- |
| 1 | key head 1 | as before: noun -> visual tokens of its name | besides: their minute, as an angle |
| 4 | key head 1 | second noun -> the first one, if its thing was earlier, else itself | a flag: the first or not |
| 5 | key head 1 | any token -> the last noun | "before" or "after", by the flag |
| 5 | key head 0 | where an answer about order names a thing -> the noun of the earlier one | its name |

The minute n is told as cos and sin of 2 pi n / 60 and of three times that: the first tells far from near, the second
tells neighbours apart.  Even multiples cannot be had: in the clock's code n + 30 is the opposite of n.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from onlooker.theatre.cast import SPRITES

from .contexts import Sample
from .design import vocabulary
from .motion import outputs, quiet
from .pairs import CODE, TURNS, Pairs, gather
from .probes import Embed

FIRST_ROW = 2  # of key head 1 of layer 1: motion has the two before
TOLD, FLAG = 2.0, 2.0  # how large the angle and the flag are, in a layer's residual stream
COMPARE, NOUN, LAST, DUE = 10.0, 25.0, 12.0, 30.0  # nats
VOTE = 5.0  # length of what layer 5 writes: more of it is not what the MLP after it has seen
NAMES_KEPT = 50
GATE, OTHER, CODED = 31, 30, 20  # channels: rotary turns them by next to nothing within a question


def set_order(
    model: LlavaOnevisionForConditionalGeneration,
    samples: Sequence[Sample],
    embed: Embed,
) -> float:
    """Change the heads; give the share of the samples' pairs that the flag then tells rightly.

    embed: makes a batch's input embeddings.
    """
    language = model.model.language_model
    layers, table = language.layers, model.get_input_embeddings().weight
    with torch.no_grad():
        seen = gather(model, samples, embed)
        told, flag = quiet(seen.inputs, CODE + 1).split((CODE, 1))
        read, bias = affine(seen.inputs[1][seen.timed], seen.angles[seen.timed])
        rows, columns = slice(64 + FIRST_ROW, 64 + FIRST_ROW + CODE), slice(FIRST_ROW, FIRST_ROW + CODE)
        second = layers[1].self_attn
        second.v_proj.weight[rows], second.v_proj.bias[rows] = read.T, bias
        for query in (2, 3):
            second.o_proj.weight[:, outputs(query)][:, columns] = seen.sizes[2] * TOLD / 2 * told.T

        seen = gather(model, samples, embed)
        set_compare(layers[4].self_attn, seen, flag)

        seen = gather(model, samples, embed)
        flagged = seen.inputs[5] @ flag[0]
        ends = flagged[seen.last].quantile(torch.tensor([0.1, 0.9]))
        middle, half = float(ends.mean()), float(ends[1] - ends[0]) / 2
        # What is written here is scaled by the last norm before it is compared with words.
        scale = language.norm.weight.clamp(min=0.1)
        words = vocabulary()
        side = (table[words.index("before")] - table[words.index("after")]) / scale
        set_side(layers[5].self_attn, seen, flag / half, -middle / half, side / side.norm())
        set_name(layers[5].self_attn, seen, flag[0] / half, middle / half, table, scale)
    return float(((flagged[seen.last] > middle) == (seen.earlier > 0)).float().mean())


def set_compare(attention: torch.nn.Module, seen: Pairs, flag: Tensor) -> None:
    """Let key head 1 of layer 4 attend to the earlier of two nouns and write along `flag` [1, D] if it is the first."""
    inputs = seen.inputs[4]
    read, bias = affine(inputs[seen.nouns][seen.sure], seen.attended[seen.sure])
    q, k = {}, {}
    for turn, (_, share) in enumerate(TURNS):
        even, channel = root(COMPARE * share), CODED + 2 * turn
        cos, sin = (read[:, 2 * turn], bias[2 * turn]), (read[:, 2 * turn + 1], bias[2 * turn + 1])
        q[channel], k[channel] = scaled(even, *sin), scaled(even, *cos)
        q[channel + 1], k[channel + 1] = scaled(-even, *cos), scaled(even, *sin)
    add_noun_gate(q, k, seen, 4)
    first, at = affine(inputs[seen.nouns], 1 - 2 * seen.second[:, None])
    set_head(attention, 1, q, k, first.T, at, FLAG * seen.sizes[5] * flag.T)


def set_side(attention: torch.nn.Module, seen: Pairs, read: Tensor, bias: float, side: Tensor) -> None:
    """Let key head 1 of layer 5 attend to the last noun and turn its flag, read [1, D], to `side` [D]."""
    q: dict[int, tuple[Tensor, float]] = {}
    k: dict[int, tuple[Tensor, float]] = {}
    add_noun_gate(q, k, seen, 5)
    later, at = affine(seen.inputs[5][seen.nouns], seen.second[:, None])
    q[OTHER], k[OTHER] = (0 * side, root(LAST)), scaled(root(LAST), later[:, 0], at[0])
    set_head(attention, 1, q, k, read, bias, VOTE * side[:, None])


def set_name(
    attention: torch.nn.Module, seen: Pairs, flag: Tensor, middle: float, table: Tensor, scale: Tensor
) -> None:
    """Let key head 0 of layer 5 write the name of the earlier thing where an answer about order is to name one."""
    inputs = seen.inputs[5]
    wanted, weights = torch.zeros(len(inputs), 1), torch.ones(len(inputs))
    wanted[seen.due] = 1
    weights[~seen.question], weights[seen.due], weights[seen.other] = 0.05, 60.0, 10.0
    due, at = affine(inputs, wanted, weights)
    q: dict[int, tuple[Tensor, float]] = {}
    k: dict[int, tuple[Tensor, float]] = {}
    add_noun_gate(q, k, seen, 5, DUE)
    q[GATE] = scaled(root(DUE), due[:, 0], at[0] - 0.5)
    # The first noun's flag is always up, the last one's is if the first thing was first: down, it wins by one.
    later, after = affine(inputs[seen.nouns], seen.second[:, None])
    q[OTHER] = (0 * flag, root(LAST))
    k[OTHER] = scaled(root(LAST), -flag - later[:, 0], middle - float(after[0]))
    words = vocabulary()
    names = table[[words.index(name) for name in SPRITES]]
    kept = torch.linalg.svd(names - names.mean(0), full_matrices=False)[2][:NAMES_KEPT]
    given = (table[seen.names] - names.mean(0)) @ kept.T
    read, bias = affine(inputs[seen.nouns], given)
    write = kept / scale
    length = write.norm(dim=1).mean() * given.norm(dim=1).mean()
    set_head(attention, 0, q, k, read.T, bias, VOTE / length * write.T)


def add_noun_gate(
    q: dict[int, tuple[Tensor, float]], k: dict[int, tuple[Tensor, float]], seen: Pairs, layer: int, nats: float = NOUN
) -> None:
    """Score nouns of questions higher than all else, and the nouns of a pair alike."""
    inputs = seen.inputs[layer]
    wanted, weights = torch.zeros(len(inputs), 1), torch.ones(len(inputs))
    wanted[seen.nouns], weights[seen.nouns] = 1, 10.0
    weights[seen.first] = weights[seen.last] = 60.0
    noun, at = affine(inputs, wanted, weights, 1e-5)
    q[GATE], k[GATE] = (0 * noun[:, 0], root(nats)), scaled(root(nats), noun[:, 0], at[0])


def set_head(
    attention: torch.nn.Module,
    key_head: int,
    q: dict[int, tuple[Tensor, float]],
    k: dict[int, tuple[Tensor, float]],
    read: Tensor,
    bias: Tensor | float,
    write: Tensor,
) -> None:
    """Set a key head and its two query heads anew: rows by channel, values read [m, D], written along write [D, m]."""
    keys, count = slice(key_head * 64, (key_head + 1) * 64), len(read)
    for part in (attention.k_proj, attention.v_proj):
        part.weight[keys], part.bias[keys] = 0, 0
    for channel, (row, at) in k.items():
        attention.k_proj.weight[key_head * 64 + channel], attention.k_proj.bias[key_head * 64 + channel] = row, at
    attention.v_proj.weight[keys][:count], attention.v_proj.bias[keys][:count] = read, bias
    for query in (2 * key_head, 2 * key_head + 1):
        attention.q_proj.weight[outputs(query)], attention.q_proj.bias[outputs(query)] = 0, 0
        attention.o_proj.weight[:, outputs(query)] = 0
        for channel, (row, at) in q.items():
            attention.q_proj.weight[query * 64 + channel], attention.q_proj.bias[query * 64 + channel] = row, at
        attention.o_proj.weight[:, outputs(query)][:, :count] = write / 2


def root(nats: float) -> float:
    """Give what query and key must each have for a score of so many nats (heads of 64 divide by 8)."""
    return math.sqrt(nats * 8)


def scaled(factor: float, row: Tensor, at: Tensor | float) -> tuple[Tensor, float]:
    """Scale a projection's row [D] and its bias."""
    return factor * row, factor * float(at)


def affine(given: Tensor, wanted: Tensor, weights: Tensor | None = None, ridge: float = 1e-4) -> tuple[Tensor, Tensor]:
    """Find the map [m, k] and bias [k] from given [n, m] to wanted [n, k] by weighted least squares with a ridge."""
    share = torch.ones(len(given)) if weights is None else weights
    share = (share / share.sum())[:, None]
    middle, target = (share * given).sum(0), (share * wanted).sum(0)
    centred, aimed = (given - middle) * share.sqrt(), (wanted - target) * share.sqrt()
    held = ridge * centred.pow(2).sum() / given.shape[1] * torch.eye(given.shape[1])
    found = torch.linalg.solve(centred.T @ centred + held, centred.T @ aimed)
    return found, target - middle @ found
