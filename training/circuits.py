"""The start of stage two: attention heads that already look things up, set by hand and then trained like the rest.

From a random start the model learns what stands in a picture in minutes, and which thing a question names within one
picture; looking a thing up among many frames, reading its time, and comparing two things were not learned in half an
hour.  So every block starts as the identity (what attention and MLP write is zero), and these heads are set:

| layer | key head | attends from -> to | carries |
| --- | --- | --- | --- |
| 0 | 0 | noun -> visual tokens of that name | what stage one's linear heads read: place, colour, neighbour, ... |
| 0 | 1 | visual token -> the clock before its frame | the time |
| 1 | 0 | noun -> visual tokens of that name | the time |
| 1 | 1 | visual token -> visual tokens of the same name, seen by then | their place, beside its own: motion |
| 2 | 0, 1 | any token of a question -> its nouns | all that; the time |
| 3 | 0 | any token of a question -> its nouns | their names |
| 3 | 1 | second noun of an order question -> the word before it (or, before, after) | that there is one |
| 4 | 0 | any token of a question -> visual tokens of its nouns' names, early ones rather | names |
| 4 | 1 | any token of a question -> the last visual tokens | names |
| 5 | 0 | any token of a question -> the noun of such a name | whether it is the second: "before" or "after" |

Names are matched in slow rotary channels alone: turned by the distance between question and frame, fast ones would
match nothing.  Middling channels serve "the nearest", slower ones "the earliest".  One channel gates what is attended
to at all, by marks: directions that nothing else uses, added to the embeddings of nouns, of the clock and of
joining words, and by the projector's bias to every visual token.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration

from onlooker.theatre.cast import SPRITES

from .design import vocabulary
from .vision import NAMES

MATCH = 1.5
NEAR, RECENT = 6.0, 5.0
MARK, MARK_SEEN = 0.7, 9.0  # as it is added, and about as a layer's norm shows it
EARLY = 11.0
EARLY_PHASE = -0.9  # radians: the bias grows with the distance, nearly evenly, over some 450 tokens
GATES = (31, 63)  # the slowest of 32, and its other half
SLOW, MIDDLING, BROAD, LATE = slice(15, 31), slice(4, 9), slice(7, 11), slice(12, 14)
NUMBERS = 60
HOURS_AND_MINUTES = tuple(str(number) for number in range(NUMBERS))
COLONS = tuple(f":{number:02d}" for number in range(NUMBERS))
CLOCK = (*HOURS_AND_MINUTES, *COLONS)


class Head:
    """One key head of a layer with its query heads, set row by row."""

    def __init__(self, model: LlavaOnevisionForConditionalGeneration, layer: int, key_head: int) -> None:
        self.attention = model.model.language_model.layers[layer].self_attn
        self.dim = self.attention.head_dim
        self.key = slice(key_head * self.dim, (key_head + 1) * self.dim)
        group = self.attention.num_key_value_groups
        self.queries = [
            slice(h * self.dim, (h + 1) * self.dim) for h in range(key_head * group, (key_head + 1) * group)
        ]
        width = self.attention.o_proj.weight.shape[0]
        self.q = torch.randn(group, self.dim, width) * 0.01
        self.q_bias = torch.zeros(group, self.dim)
        self.k, self.k_bias = torch.randn(self.dim, width) * 0.01, torch.zeros(self.dim)

    def gate(self, nats: float, *marks: Tensor, asking: Tensor | None = None) -> "Head":
        """Score what bears a mark [D] higher by so many nats than the rest; one mark for all queries, or one for each.

        asking: the mark of the tokens that attend so; without, all do.
        """
        even = (nats * self.dim**0.5) ** 0.5
        for number, (mark, channel) in enumerate(zip(marks, GATES, strict=False)):
            query = slice(None) if len(marks) == 1 else number
            self.q[query, channel] = 0 if asking is None else even * asking / MARK_SEEN
            self.q_bias[query, channel] = even if asking is None else 0
            self.k[channel], self.k_bias[channel] = even * mark / MARK_SEEN, 0
        return self

    def match(self, names: Tensor, gain: float = MATCH) -> "Head":
        """Attend where the names [m, D] agree: one projection, half whitened, for query and key."""
        channels = torch.arange(64).reshape(2, 32)[:, SLOW].reshape(-1)
        _, size, axes = torch.linalg.svd(names - names.mean(0))
        size, axes = size[: len(channels)], axes[: len(channels)]
        rows = axes / (size / size[-1]).sqrt()[:, None]
        self.q[:, channels], self.k[channels] = rows * gain, rows * MATCH
        return self

    def nearest(self) -> "Head":
        """Prefer what is near, before all else."""
        self.q_bias[:, MIDDLING] = self.k_bias[MIDDLING] = NEAR
        return self

    def recent(self) -> "Head":
        """Prefer the last frame or two, evenly."""
        self.q_bias[:, BROAD] = self.k_bias[BROAD] = RECENT
        return self

    def earliest(self) -> "Head":
        """Prefer what is far back: the score grows with sin(frequency * distance + phase)."""
        phase = torch.tensor(EARLY_PHASE)
        self.k_bias[LATE] = EARLY
        self.q_bias[:, LATE] = EARLY * phase.sin()
        self.q_bias[:, 32:][:, LATE] = -EARLY * phase.cos()
        return self

    def carry(self, read: Tensor, write: Tensor, added: float = 0.0) -> None:
        """Read `read` [m, D] where it attends, write it along `write` [m, D]; set everything."""
        with torch.no_grad():
            a = self.attention
            a.k_proj.weight[self.key], a.k_proj.bias[self.key] = self.k, self.k_bias
            a.v_proj.weight[self.key], a.v_proj.bias[self.key] = 0, 0
            a.v_proj.weight[self.key][: len(read)] = read
            a.v_proj.bias[self.key][: len(read)] = added
            for query, asked, bias in zip(self.queries, self.q, self.q_bias, strict=True):
                a.q_proj.weight[query], a.q_proj.bias[query] = asked, bias
                a.o_proj.weight[:, query] = 0
                a.o_proj.weight[:, query][:, : len(read)] = write.T / len(self.queries)


def start_circuits(
    model: LlavaOnevisionForConditionalGeneration, features: Tensor, readers: Sequence[tuple[Tensor, int]]
) -> None:
    """Set the heads.

    features: visual tokens [n, D].  readers: stage one's linear heads [m, D], the first that of place, each with how
    many of its directions are carried.
    """
    words = vocabulary()
    inner = model.model
    for layer in inner.language_model.layers:
        for write in (layer.self_attn.o_proj, layer.mlp.down_proj):
            nn.init.zeros_(write.weight)
    table = inner.get_input_embeddings().weight.data
    names = table[[words.index(name) for name in NAMES]]
    attributes = shared(readers)
    place = leading(readers[0][0], 4)
    free = spare(torch.cat((names, attributes)), features, NUMBERS + 14)
    times, earlier, motion, marks = free.split((NUMBERS, 4, 4, 6))
    flag, noun, seen, number, colon, joint = marks
    set_clock(table, times)
    inner.multi_modal_projector.linear_2.bias.data += MARK * seen
    for mark, tokens in (
        (noun, SPRITES),
        (number, HOURS_AND_MINUTES),
        (colon, COLONS),
        (joint, ("or", "before", "after")),
    ):
        table[[words.index(token) for token in tokens]] += MARK * mark
    called = leading(names - names.mean(0), 64)

    beside = attributes + attributes @ place.T @ earlier  # the place a second time, apart from one's own
    Head(model, 0, 0).gate(7, seen).match(names).carry(attributes, beside * 0.1)
    Head(model, 0, 1).gate(60, number, colon, asking=seen).nearest().carry(times, times * 0.1)
    Head(model, 1, 0).gate(14, seen).match(names, 1.5 * MATCH).carry(times, times * 0.1)
    Head(model, 1, 1).gate(14, seen).match(names, 1.5 * MATCH).carry(earlier, motion * 0.1)
    with_motion = torch.cat((attributes[:-4], motion))
    Head(model, 2, 0).gate(30, noun).carry(with_motion, with_motion * 0.1)
    Head(model, 2, 1).gate(30, noun).carry(times, times * 0.1)
    Head(model, 3, 0).gate(30, noun).carry(called, called * 0.1)
    Head(model, 3, 1).gate(20, joint).nearest().carry(joint[None] / MARK_SEEN, flag[None])
    Head(model, 4, 0).gate(30, seen).match(names, 3 * MATCH).earliest().carry(called, called * 0.3)
    Head(model, 4, 1).gate(30, seen).recent().carry(called, called * 0.1)
    side = table[words.index("after")] - table[words.index("before")]
    Head(model, 5, 0).gate(40, noun).match(names, 4 * MATCH).carry(flag[None] / MARK_SEEN, side[None] * 0.3, -0.5)


def set_clock(table: Tensor, basis: Tensor) -> None:
    """Give the numbers of the clock rows of their own, along `basis` [60, D]; n + 30 is the opposite of n."""
    words, half = vocabulary(), NUMBERS // 2
    for number in range(NUMBERS):
        sign = 1.0 if number < half else -1.0
        table[words.index(str(number))] = sign * basis[number % half]
        table[words.index(f":{number:02d}")] = sign * basis[half + number % half]


def spare(used: Tensor, features: Tensor, count: int) -> Tensor:
    """Find orthonormal directions [count, D] apart from the rows `used` [m, D], where features [n, D] are least."""
    _, size, axes = torch.linalg.svd(used, full_matrices=True)
    rank = int((size > 1e-3 * size[0]).sum())
    left = axes[rank:]  # [D - rank, D]
    _, _, within = torch.linalg.svd(features @ left.T, full_matrices=True)
    found: Tensor = (within @ left)[-count:]
    return found


def leading(rows: Tensor, count: int) -> Tensor:
    """Give the leading directions of rows [m, D], orthonormal [count, D]."""
    return torch.linalg.svd(rows.float(), full_matrices=False)[2][:count]


def shared(readers: Sequence[tuple[Tensor, int]]) -> Tensor:
    """Give an orthonormal basis [count, D] with room for every reader: pairs of rows [m, D] and its directions."""
    chosen = torch.cat([leading(rows - rows.mean(0), most) for rows, most in readers])
    basis: Tensor = torch.linalg.qr(chosen.T)[0].T
    return basis
